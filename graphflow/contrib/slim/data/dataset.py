"""What is known of a data set: its files, its reader, its decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphflow.contrib.slim.data.data_decoder import DataDecoder


class Dataset:
    """A data set.

    Args:
      data_sources: a file, a pattern, or a list of them.
      reader: the class of the reader, such as `gf.TFRecordReader`.
      decoder: makes items of a record.
      num_samples: how many examples there are.
      items_to_descriptions: what the items are, by name.
      **kwargs: what else is to be known; attributes of these names.
    """

    def __init__(
        self, data_sources: Any, reader: Any, decoder: DataDecoder, num_samples: int,
        items_to_descriptions: Mapping[str, str] | None, **kwargs: Any,
    ) -> None:  # fmt: skip
        self.data_sources = data_sources
        self.reader = reader
        self.decoder = decoder
        self.num_samples = num_samples
        self.items_to_descriptions = items_to_descriptions
        vars(self).update(kwargs)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this data set was made without {name!r}; it has {sorted(vars(self))}")
