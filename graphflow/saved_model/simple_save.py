"""simple_save: a model with one signature, in one call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from graphflow.graph import GraphKeys, Operation, get_collection
from graphflow.saved_model import signature_constants, tag_constants
from graphflow.saved_model.builder import SavedModelBuilder
from graphflow.saved_model.signature_def_utils import predict_signature_def
from graphflow.session import Session


def simple_save(
    session: Session,
    export_dir: str | os.PathLike[str],
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    legacy_init_op: Operation | None = None,
) -> None:
    """Writes a SavedModel for serving, with the signature "serving_default".

    Args:
      session: the session with the graph and the values.
      export_dir: the folder; it must not exist, or be empty.
      inputs: tensors by the name that requests use.
      outputs: tensors by the name that answers use.
      legacy_init_op: an operation to run after loading.
    """
    builder = SavedModelBuilder(export_dir)
    builder.add_meta_graph_and_variables(
        session,
        tags=[tag_constants.SERVING],
        signature_def_map={
            signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY: predict_signature_def(inputs, outputs)
        },
        assets_collection=get_collection(GraphKeys.ASSET_FILEPATHS),
        main_op=legacy_init_op,
        clear_devices=True,
    )
    builder.save()
