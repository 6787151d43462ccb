"""Slots: the variables that an optimizer or a moving average keeps for each variable it works on."""

from __future__ import annotations

from typing import Any

from graphflow.dtypes import as_dtype
from graphflow.graph import colocate_with, control_dependencies
from graphflow.initializers import zeros_initializer
from graphflow.opdef import emit
from graphflow.shapes import TensorShape
from graphflow.variable_scope import get_variable, variable_scope
from graphflow.variables import SaveSliceInfo, Variable


def create_slot(primary: Any, val: Any, name: str, colocate_with_primary: bool = True) -> Variable:
    """Makes a slot with a given initial value.

    Args:
      primary: the variable (or tensor) it belongs to.
      val: a tensor, the initial value; decides shape and dtype.
      name: the slot is called "<primary>/<name>", made unique.
      colocate_with_primary: whether it asks for the primary's device.
    """
    return _create(primary, val, name, colocate_with_primary, val.shape.is_fully_defined(), None, None)


def create_slot_with_initializer(
    primary: Any, initializer: Any, shape: Any, dtype: Any, name: str, colocate_with_primary: bool = True
) -> Variable:
    """Makes a slot of a given shape and dtype from an initializer; see `create_slot`."""
    shape = TensorShape(shape)
    return _create(primary, initializer, name, colocate_with_primary, shape.is_fully_defined(), shape, dtype)


def create_zeros_slot(
    primary: Any, name: str, dtype: Any = None, colocate_with_primary: bool = True
) -> Variable:
    """Makes a slot of zeros, of the primary's shape and (by default) dtype; see `create_slot`."""
    chosen = as_dtype(dtype or primary.dtype)
    if primary.shape.is_fully_defined():
        zeros = zeros_initializer()
        return create_slot_with_initializer(
            primary, zeros, primary.shape, chosen, name, colocate_with_primary
        )
    like = primary.initialized_value() if isinstance(primary, Variable) else primary
    if like.dtype is not chosen:
        like = emit.Cast(like, DstT=chosen)
    return create_slot(primary, emit.ZerosLike(like), name, colocate_with_primary)


def _create(
    primary: Any, value: Any, name: str, colocate: bool, validate_shape: bool, shape: Any, dtype: Any
) -> Variable:
    # A default name lets a reusing scope share the slot; a second optimizer's slot becomes "<name>_1".
    with control_dependencies(None), variable_scope(None, f"{primary.op.name}/{name}"):
        with colocate_with(primary.op if colocate else None):
            slot = get_variable(
                "",
                initializer=value,
                trainable=False,
                validate_shape=validate_shape,
                shape=shape,
                dtype=dtype,
            )
    assert isinstance(slot, Variable)
    whole = primary._save_slice_info if isinstance(primary, Variable) else None
    if whole is not None and slot.shape.as_list() == primary.shape.as_list():
        # The slots of the parts of a variable are the parts of a slot.
        own = slot.op.name.removeprefix(f"{primary.op.name}/")
        slot._set_save_slice_info(
            SaveSliceInfo(f"{whole.full_name}/{own}", whole.full_shape, whole.var_offset, whole.var_shape)
        )
    return slot
