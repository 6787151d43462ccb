"""Order, checks and calls into Python: group and tuple, print, assertions, py_func.

The names `tuple` and `print` of TensorFlow are defined at the end of this module; above it uses Python's by `builtins`.
"""

from __future__ import annotations

import builtins
import itertools
import pprint
import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from graphflow import dtypes, errors
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import InvalidArgumentError
from graphflow.graph import (
    IndexedSlices,
    Operation,
    Tensor,
    control_dependencies,
    get_default_graph,
    graph_of,
    name_scope,
)
from graphflow.opdef import constant_value, convert_to_tensor, emit, op
from graphflow.ops.reduction import reduce_all
from graphflow.ops.rules import FLOATS, Array, no_output, rank_exactly, same_as_first, scalar
from graphflow.shapes import SCALAR, UNKNOWN, TensorShape

# ---------------------------------------------------------------------------- order


def _flat(items: Any) -> Iterator[Any]:
    for item in items:
        if isinstance(item, list | builtins.tuple):
            yield from _flat(item)
        else:
            yield item


def group(*inputs: Any, **kwargs: Any) -> Operation:
    """Returns an operation that is done when all of some operations and tensors are.

    Args:
      *inputs: operations, tensors or variables, perhaps in lists; None is left out.
      **kwargs: `name`.

    Raises:
      TypeError: for anything else.
    """
    name = kwargs.pop("name", None)
    if kwargs:
        raise TypeError(f"Unknown keyword arguments: {', '.join(kwargs)}")
    members = [item for item in _flat(inputs) if item is not None]
    for item in members:
        if not isinstance(item, Operation | Tensor | IndexedSlices) and not hasattr(
            item, "_as_graph_element"
        ):
            raise TypeError(f"'inputs' should be zero or more (nested) Tensors or Operations, got {item!r}")
    default = name or "group_deps"
    if not members:
        result: Operation = emit.NoOp(name=default)
        return result
    graph = graph_of(members)
    with graph.as_default(), control_dependencies(members):
        result = emit.NoOp(name=default)
    return result


def with_dependencies(dependencies: Sequence[Any], output_tensor: Any, name: str | None = None) -> Any:
    """Returns a tensor (or IndexedSlices) with the same value that waits for `dependencies`."""
    with name_scope(name, "control_dependency", [*dependencies, output_tensor]) as scope:
        with control_dependencies(dependencies):
            if isinstance(output_tensor, IndexedSlices):
                values = emit.Identity(output_tensor.values, name=scope)
                return IndexedSlices(values, output_tensor.indices, output_tensor.dense_shape)
            return emit.Identity(convert_to_tensor(output_tensor), name=scope)


# ---------------------------------------------------------------------------- text of tensors


def _element(value: Any, quoted: bool) -> str:
    if isinstance(value, bytes):
        text = value.decode("utf-8", "backslashreplace")
        return f'"{text}"' if quoted else text
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, complex | np.complexfloating):
        return f"({_element(value.real, quoted)},{_element(value.imag, quoted)})"
    dtype = getattr(value, "dtype", None)
    if isinstance(value, float) or (dtype is not None and as_dtype(dtype).is_floating):
        # As few digits as a C program prints by default, or as many as tell the number apart.
        short, long = (15, 17) if dtype is None or dtype == np.float64 else (6, 9)
        number = float(value)
        text = f"{number:.{short}g}"
        exact = float(text) == number if short == 15 else np.float32(text) == np.float32(number)
        return text if exact or number != number else f"{number:.{long}g}"
    return str(value)


def summarize_value(value: Array, most: int) -> str:
    """The first elements of an array, as TensorFlow's Print and Assert show them.

    Args:
      value: the array.
      most: how many elements to show; all if negative.
    """
    value = np.asarray(value)
    limit = value.size if most < 0 else min(most, value.size)
    if value.ndim == 0:
        return _element(value[()], False) if limit else "..."
    parts: list[str] = []
    flat = value.reshape(-1)
    at = 0

    def walk(axis: int) -> None:
        nonlocal at
        if at >= limit:
            return
        for i in range(value.shape[axis]):
            if axis == value.ndim - 1:
                if at >= limit:
                    if axis:
                        parts.append("...")
                    return
                parts.append((" " if i else "") + _element(flat[at], False))
                at += 1
                continue
            opened = at < limit
            if opened:
                parts.append("[")
            walk(axis + 1)
            if opened:
                parts.append("]")

    walk(0)
    return "".join(parts) + ("..." if value.size > limit else "")


def format_value(value: Array, ends: int) -> str:
    """An array with at most `ends` elements at each end of each axis (all if negative), as `print` shows it."""
    value = np.asarray(value)
    ends = max(value.shape, default=0) if ends < 0 else ends

    def gap(axis: int) -> str:
        return " " if axis == value.ndim - 1 else "\n" * (value.ndim - axis - 1) + " " * (axis + 1)

    def walk(part: Any, axis: int) -> str:
        if axis == value.ndim:
            return _element(part if axis else part[()], True)
        size = part.shape[0]
        shown = [walk(part[i], axis + 1) for i in range(min(ends, size))]
        if size > 2 * ends:
            shown.append("...")
        shown += [walk(part[i], axis + 1) for i in range(max(ends, size - ends), size)]
        return "[" + gap(axis).join(shown) + "]"

    return walk(value, 0)


@op("StringFormat", "inputs:list(T)", "output:string",
    "T:list(type)>=0; template:string=%s; placeholder:string=%s; summarize:int=3",
    infer=scalar, differentiable=False)  # fmt: skip
def string_format_op(
    inputs: list[Array], *, template: str = "%s", placeholder: str = "%s", summarize: int = 3
) -> Array:
    """The template with each placeholder replaced by the text of a tensor."""
    pieces = template.split(placeholder)
    if len(pieces) != len(inputs) + 1:
        raise InvalidArgumentError(
            None, None,
            f"num placeholders in template and num inputs must match: {len(pieces) - 1} vs. {len(inputs)}",
        )  # fmt: skip
    text = pieces[0] + "".join(
        format_value(x, summarize) + piece for x, piece in zip(inputs, pieces[1:], strict=True)
    )
    return np.array(text.encode(), object)


def string_format(
    template: str, inputs: Any, placeholder: str = "{}", summarize: int = 3, name: str | None = None
) -> Tensor:
    """Returns the template with each placeholder replaced by the text of a tensor.

    Args:
      template: the text.
      inputs: a tensor or a list of them.
      placeholder: what stands for a tensor.
      summarize: how many elements to show at each end of each axis; all if negative.
      name: a name.

    Raises:
      ValueError: if the numbers of placeholders and tensors differ.
    """
    tensors = list(inputs) if isinstance(inputs, list | builtins.tuple) else [inputs]
    if template.count(placeholder) != len(tensors):
        raise ValueError(
            f"{len(tensors)} placeholder(s) expected in template, got {template.count(placeholder)}"
        )
    result: Tensor = emit.StringFormat(
        tensors, template=template, placeholder=placeholder, summarize=summarize, name=name
    )
    return result


# ---------------------------------------------------------------------------- printing

# How often each Print has spoken, per session.
_spoken: weakref.WeakKeyDictionary[Any, Counter[str]] = weakref.WeakKeyDictionary()


@op("Print", "input:T; data:list(U)", "output:T",
    "T:type; U:list(type)>=0; message:string=; first_n:int=-1; summarize:int=3",
    infer=same_as_first, effects="host")  # fmt: skip
def print_op(
    input: Any, data: list[Array], *, message: str = "", first_n: int = -1, summarize: int = 3, context: Any,
    node_name: str,
) -> Any:  # fmt: skip
    """The input; writes a message and some data to the standard error stream."""
    if first_n >= 0:
        spoken = _spoken.setdefault(context, Counter())
        spoken[node_name] += 1
        if spoken[node_name] > first_n:
            return input
    text = message + "".join(f"[{summarize_value(value, summarize)}]" for value in data)
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
    return input


@print_op.gradient
def print_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The output's gradient is the input's."""
    return [dy] + [None] * (len(op.inputs) - 1)


@op("PrintV2", "input:string", "", "output_stream:string=stderr; end:string=\n", infer=no_output, effects="host",
    differentiable=False)  # fmt: skip
def print_v2_op(input: Array, *, output_stream: str = "stderr", end: str = "\n") -> None:
    """Writes a line to a stream, a log or a file."""
    text = bytes(input[()]).decode("utf-8", "backslashreplace")
    if output_stream.startswith("log("):
        import logging  # takes longer to load than most programs' ops

        level = {"log(info)": logging.INFO, "log(warning)": logging.WARNING, "log(error)": logging.ERROR}
        logging.getLogger("graphflow").log(level[output_stream], "%s", text)
    else:
        stream = sys.stdout if output_stream == "stdout" else sys.stderr
        stream.write(text + end)
        stream.flush()


def Print(
    input_: Any, data: Sequence[Any], message: str | None = None, first_n: int | None = None,
    summarize: int | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns the input; when it is computed, a message and some tensors are written to the standard error stream.

    Unlike TensorFlow's, it speaks in every run that computes its operands, whether or not its result is used.

    Args:
      input_: a tensor.
      data: the tensors to show.
      message: put before them.
      first_n: speak only so often; always if None or negative.
      summarize: how many elements of each tensor to show; three if None, all if negative.
      name: a name.
    """
    result: Tensor = emit.Print(
        input_, list(data), message=message, first_n=first_n, summarize=summarize, name=name
    )
    result.graph.registries.setdefault("prints", []).append(result.op)
    return result


# ---------------------------------------------------------------------------- assertions


@op("Assert", "condition:bool; data:list(T)", "", "T:list(type)>=1; summarize:int=3",
    infer=lambda node: (rank_exactly(node, 0, 0, "the condition"), [])[1], effects="host",
    differentiable=False)  # fmt: skip
def assert_op(condition: Array, data: list[Array], *, summarize: int = 3) -> None:
    """Fails with some data unless the condition holds."""
    if not condition:
        shown = " ".join(f"[{summarize_value(value, summarize)}]" for value in data)
        raise InvalidArgumentError(None, None, f"assertion failed: {shown}")


def Assert(
    condition: Any, data: Sequence[Any], summarize: int | None = None, name: str | None = None
) -> Operation:
    """Returns an operation that fails unless the condition holds.

    Args:
      condition: boolean scalar.
      data: tensors to show in the error.
      summarize: how many elements of each to show; three if None.
      name: a name.
    """
    with name_scope(name, "Assert", [condition, *data]):
        result: Operation = emit.Assert(condition, list(data), summarize=summarize, name="Assert")
        return result


def _refuse_if_false(condition: Array | None, data: Sequence[Any]) -> bool:
    """Raises where a condition is known to be false; returns whether it is known to hold."""
    if condition is None:
        return False
    if condition:
        return True
    shown = []
    for item in data:
        value = constant_value(item) if isinstance(item, Tensor) else item
        shown.append(str(item) if value is None else str(value))
    raise InvalidArgumentError(None, None, "\n".join(shown))


def _checked(condition: Tensor, known: Array | None, data: Sequence[Any], summarize: int | None) -> Operation:
    if _refuse_if_false(known, data):
        result: Operation = emit.NoOp(name="static_checks_determined_all_ok")
        return result
    return Assert(condition, data, summarize=summarize)


def _compare(
    op_type: str, symbol: str, holds: Callable[[Array, Array], Any], name: str | None, default: str, x: Any, y: Any,
    data: Sequence[Any] | None, summarize: int | None, message: str | None,
) -> Operation:  # fmt: skip
    with name_scope(name, default, [x, y, data or ()]):
        if isinstance(y, Tensor) and not isinstance(x, Tensor):
            y = convert_to_tensor(y, name="y")
            x = convert_to_tensor(x, y.dtype, name="x")
        else:
            x = convert_to_tensor(x, name="x")
            y = convert_to_tensor(y, x.dtype, name="y")
        shown = list(data) if data is not None else [
            f"Condition x {symbol} y did not hold element-wise:", f"x ({x.name}) = ", x, f"y ({y.name}) = ", y,
        ]  # fmt: skip
        if message:
            shown = [message, *shown]
        a, b = constant_value(x), constant_value(y)
        known = None if a is None or b is None else np.asarray(np.all(holds(a, b)))
        condition = reduce_all(getattr(emit, op_type)(x, y))
        return _checked(condition, known, shown, summarize)


def assert_equal(
    x: Any, y: Any, data: Sequence[Any] | None = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None,
) -> Operation:  # fmt: skip
    """Returns an operation that fails unless x == y everywhere.

    Args:
      x: a tensor.
      y: a tensor of its dtype that broadcasts.
      data: tensors to show in the error; by default both.
      summarize: how many elements of each to show.
      message: put before them.
      name: a name.

    Raises:
      InvalidArgumentError: at once, if both are known and differ.
    """
    return _compare("Equal", "==", np.equal, name, "assert_equal", x, y, data, summarize, message)


def assert_none_equal(
    x: Any, y: Any, data: Sequence[Any] | None = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None,
) -> Operation:  # fmt: skip
    """Returns an operation that fails unless x != y everywhere; see `assert_equal`."""
    return _compare("NotEqual", "!=", np.not_equal, name, "assert_none_equal", x, y, data, summarize, message)


def assert_less(
    x: Any, y: Any, data: Sequence[Any] | None = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None,
) -> Operation:  # fmt: skip
    """Returns an operation that fails unless x < y everywhere; see `assert_equal`."""
    return _compare("Less", "<", np.less, name, "assert_less", x, y, data, summarize, message)


def assert_less_equal(
    x: Any, y: Any, data: Sequence[Any] | None = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None,
) -> Operation:  # fmt: skip
    """Returns an operation that fails unless x <= y everywhere; see `assert_equal`."""
    return _compare(
        "LessEqual", "<=", np.less_equal, name, "assert_less_equal", x, y, data, summarize, message
    )


def assert_greater(
    x: Any, y: Any, data: Sequence[Any] | None = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None,
) -> Operation:  # fmt: skip
    """Returns an operation that fails unless x > y everywhere; see `assert_equal`."""
    return _compare("Greater", ">", np.greater, name, "assert_greater", x, y, data, summarize, message)


def assert_greater_equal(
    x: Any, y: Any, data: Sequence[Any] | None = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None,
) -> Operation:  # fmt: skip
    """Returns an operation that fails unless x >= y everywhere; see `assert_equal`."""
    return _compare(
        "GreaterEqual", ">=", np.greater_equal, name, "assert_greater_equal", x, y, data, summarize, message
    )


def _compare_with_zero(
    op_type: str, symbol: str, holds: Callable[[Array, Array], Any], name: str | None, default: str, x: Any,
    data: Sequence[Any] | None, summarize: int | None, message: str | None,
) -> Operation:  # fmt: skip
    with name_scope(name, default, [x, data or ()]):
        x = convert_to_tensor(x, name="x")
        zero = convert_to_tensor(np.zeros((), x.dtype.as_numpy_dtype))
        shown = [f"Condition x {symbol} 0 did not hold element-wise:", f"x ({x.name}) = ", x]
        if message:
            shown = [message, *shown]
        chosen = shown if data is None else data
        return _compare(op_type, symbol, holds, None, default, x, zero, chosen, summarize, None)


def assert_negative(
    x: Any, data: Sequence[Any] | None = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None,
) -> Operation:  # fmt: skip
    """Returns an operation that fails unless x < 0 everywhere; see `assert_equal`."""
    return _compare_with_zero("Less", "<", np.less, name, "assert_negative", x, data, summarize, message)


def assert_positive(
    x: Any, data: Sequence[Any] | None = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None,
) -> Operation:  # fmt: skip
    """Returns an operation that fails unless x > 0 everywhere; see `assert_equal`."""
    return _compare_with_zero(
        "Greater", ">", np.greater, name, "assert_positive", x, data, summarize, message
    )


def assert_non_negative(
    x: Any, data: Sequence[Any] | None = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None,
) -> Operation:  # fmt: skip
    """Returns an operation that fails unless x >= 0 everywhere; see `assert_equal`."""
    return _compare_with_zero(
        "GreaterEqual", ">=", np.greater_equal, name, "assert_non_negative", x, data, summarize, message
    )


def assert_non_positive(
    x: Any, data: Sequence[Any] | None = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None,
) -> Operation:  # fmt: skip
    """Returns an operation that fails unless x <= 0 everywhere; see `assert_equal`."""
    return _compare_with_zero(
        "LessEqual", "<=", np.less_equal, name, "assert_non_positive", x, data, summarize, message
    )


def assert_near(
    x: Any, y: Any, rtol: Any = None, atol: Any = None, data: Sequence[Any] | None = None, summarize: int | None = None,
    message: str | None = None, name: str | None = None,
) -> Operation:  # fmt: skip
    """Returns an operation that fails unless |x - y| <= atol + rtol * |y| everywhere.

    Both tolerances are ten times the dtype's epsilon by default; see `assert_equal` for the rest.
    """
    with name_scope(name, "assert_near", [x, y, rtol, atol, data or ()]):
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, x.dtype, name="y")
        default = 10 * np.finfo(x.dtype.as_numpy_dtype).eps if x.dtype is not dtypes.bfloat16 else 0.078125
        rtol = convert_to_tensor(default if rtol is None else rtol, x.dtype, name="rtol")
        atol = convert_to_tensor(default if atol is None else atol, x.dtype, name="atol")
        shown = list(data) if data is not None else [
            "x and y not equal to tolerance rtol, atol", f"x ({x.name}) = ", x, f"y ({y.name}) = ", y,
        ]  # fmt: skip
        if message:
            shown = [message, *shown]
        close = emit.LessEqual(emit.Abs(x - y), atol + rtol * emit.Abs(y))
        known = constant_value(close)
        return _checked(
            reduce_all(close), None if known is None else np.asarray(known.all()), shown, summarize
        )


def _rank_check(
    x: Any, rank: Any, holds: Callable[[Any, Any], Any], op_type: str, wanted: str, data: Sequence[Any] | None,
    summarize: int | None, message: str | None, name: str | None, default: str,
) -> Operation:  # fmt: skip
    with name_scope(name, default, [x, rank, data or ()]) as scope:
        if not isinstance(x, Tensor):
            x = convert_to_tensor(x, name="x")
        rank = convert_to_tensor(rank, dtypes.int32, name="rank")
        value = constant_value(rank)
        if value is not None:
            if value.ndim != 0:
                raise ValueError(f"Rank must be a scalar, got {value!r}")
            if x.shape.rank is not None:
                if not holds(x.shape.rank, int(value)):
                    prefix = f"{message}.  " if message else ""
                    raise ValueError(
                        f"{prefix}Tensor {x.name} must have rank {wanted}{int(value)}.  Received rank {x.shape.rank}, "
                        f"shape {x.shape}"
                    )
                result: Operation = emit.NoOp(name=f"{scope}static_checks_determined_all_ok/")
                return result
        shown = list(data) if data is not None else [
            message or "", f"Tensor {x.name} must have rank {wanted.strip()}", rank, "Received shape: ", emit.Shape(x),
        ]  # fmt: skip
        return Assert(getattr(emit, op_type)(emit.Rank(x), rank), shown, summarize)


def assert_rank(
    x: Any, rank: Any, data: Sequence[Any] | None = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None,
) -> Operation:  # fmt: skip
    """Returns an operation that fails unless x has this rank.

    Raises:
      ValueError: at once, if the rank is known and another.
    """
    return _rank_check(
        x, rank, lambda a, b: a == b, "Equal", "", data, summarize, message, name, "assert_rank"
    )


def assert_rank_at_least(
    x: Any, rank: Any, data: Sequence[Any] | None = None, summarize: int | None = None, message: str | None = None,
    name: str | None = None,
) -> Operation:  # fmt: skip
    """Returns an operation that fails unless x has at least this rank; see `assert_rank`."""
    return _rank_check(
        x, rank, lambda a, b: a >= b, "GreaterEqual", "at least ", data, summarize, message, name,
        "assert_rank_at_least",
    )  # fmt: skip


def assert_rank_in(
    x: Any, ranks: Sequence[Any], data: Sequence[Any] | None = None, summarize: int | None = None,
    message: str | None = None, name: str | None = None,
) -> Operation:  # fmt: skip
    """Returns an operation that fails unless x has one of these ranks; see `assert_rank`."""
    with name_scope(name, "assert_rank_in", [x, *ranks, data or ()]):
        if not isinstance(x, Tensor):
            x = convert_to_tensor(x, name="x")
        tensors = [convert_to_tensor(rank, dtypes.int32, name="rank") for rank in ranks]
        values = [constant_value(rank) for rank in tensors]
        known = [int(value) for value in values if value is not None]
        if len(known) == len(values) and x.shape.rank is not None:
            if x.shape.rank not in known:
                prefix = f"{message}.  " if message else ""
                raise ValueError(
                    f"{prefix}Tensor {x.name} must have rank in {known}.  Received rank {x.shape.rank}, "
                    f"shape {x.shape}"
                )
            result: Operation = emit.NoOp(name="static_checks_determined_all_ok")
            return result
        shown = list(data) if data is not None else [
            message or "", f"Tensor {x.name} must have rank in", *tensors, "Received shape: ", emit.Shape(x),
        ]  # fmt: skip
        either = emit.Any(emit.Equal(emit.Rank(x), emit.Pack(tensors)), 0)
        return Assert(either, shown, summarize)


def assert_type(tensor: Any, tf_type: Any, message: str | None = None, name: str | None = None) -> Operation:
    """Returns an operation that does nothing.

    Raises:
      TypeError: if the tensor has another dtype.
    """
    with name_scope(name, "assert_type", [tensor]):
        tensor = convert_to_tensor(tensor, name="tensor")
        wanted = as_dtype(tf_type)
        if tensor.dtype is not wanted:
            prefix = f"{message}  " if message else ""
            raise TypeError(f"{prefix}{tensor.name} must be of type {wanted!r}, is {tensor.dtype!r}")
        result: Operation = emit.NoOp(name="statically_determined_correct_type")
        return result


def assert_integer(x: Any, message: str | None = None, name: str | None = None) -> Operation:
    """Returns an operation that does nothing.

    Raises:
      TypeError: if x is not of an integer dtype.
    """
    with name_scope(name, "assert_integer", [x]):
        x = convert_to_tensor(x, name="x")
        if not x.dtype.is_integer:
            prefix = f"{message}  " if message else ""
            raise TypeError(f'{prefix}Expected "x" to be integer type.  Found: {x.dtype!r}')
        result: Operation = emit.NoOp(name="statically_determined_was_integer")
        return result


def assert_scalar(tensor: Any, name: str | None = None, message: str | None = None) -> Tensor:
    """Returns the tensor.

    Raises:
      ValueError: if it is known to be no scalar.
    """
    with name_scope(name, "assert_scalar", [tensor]):
        tensor = convert_to_tensor(tensor, name="tensor")
        if tensor.shape.rank not in (None, 0):
            prefix = f"{message or ''}"
            raise ValueError(f"{prefix}Expected scalar shape for {tensor.name}, saw shape: {tensor.shape}.")
        return tensor


def assert_proper_iterable(values: Any) -> None:
    """Refuses tensors, arrays, strings and what cannot be iterated over.

    Raises:
      TypeError: for these.
    """
    if isinstance(values, Tensor | IndexedSlices | np.ndarray | bytes | str) or not hasattr(
        values, "__iter__"
    ):
        raise TypeError(f"Expected argument 'values' to be a 'proper' iterable.  Found: {type(values)}")


def is_numeric_tensor(tensor: Any) -> bool:
    """Returns whether something is a tensor of numbers."""
    return isinstance(tensor, Tensor) and (
        tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_complex
    )


def _neighbours(x: Any) -> builtins.tuple[Tensor, Tensor]:
    flat = emit.Reshape(convert_to_tensor(x, name="x"), np.array([-1], np.int32))
    later = emit.StridedSlice(flat, [1], [0], [1], end_mask=1)
    earlier = emit.StridedSlice(flat, [0], [-1], [1], begin_mask=1)
    return earlier, later


def is_non_decreasing(x: Any, name: str | None = None) -> Tensor:
    """Returns whether the elements, in row-major order, never fall; a boolean scalar."""
    with name_scope(name, "is_non_decreasing", [x]):
        earlier, later = _neighbours(x)
        return reduce_all(emit.LessEqual(earlier, later))


def is_strictly_increasing(x: Any, name: str | None = None) -> Tensor:
    """Returns whether each element, in row-major order, is larger than the one before; a boolean scalar."""
    with name_scope(name, "is_strictly_increasing", [x]):
        earlier, later = _neighbours(x)
        return reduce_all(emit.Less(earlier, later))


# ---------------------------------------------------------------------------- NaN and infinity


def _refuse_not_finite(tensor: Array, message: str, signed: bool) -> None:
    with np.errstate(all="ignore"):
        wide = tensor.astype(np.float64)
    found = []
    if signed:
        found += [name for name, hit in (("-Inf", wide == -np.inf), ("+Inf", wide == np.inf)) if hit.any()]
    elif np.isinf(wide).any():
        found.append("Inf")
    if np.isnan(wide).any():
        found.append("NaN")
    if found:
        listed = " and ".join(found) if len(found) < 3 else ", ".join(found[:-1]) + ", and " + found[-1]
        raise InvalidArgumentError(None, None, f"{message} : Tensor had {listed} values")


@op("CheckNumerics", "tensor:T", "output:T", f"T:type{{{FLOATS}}}; message:string", infer=same_as_first,
    effects="host")  # fmt: skip
def check_numerics_op(tensor: Array, *, message: str) -> Array:
    """The input; fails if it has a NaN or an infinity."""
    _refuse_not_finite(tensor, message, False)
    return tensor


@check_numerics_op.gradient
def check_numerics_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The gradient is checked too."""
    message = f"Not a number (NaN) or infinity (Inf) values detected in gradient. {op.attrs['message']}"
    return [emit.CheckNumerics(dy, message=message)]


@op("CheckNumericsV2", "tensor:T", "output:T", f"T:type{{{FLOATS}}}; message:string", infer=same_as_first,
    effects="host")  # fmt: skip
def check_numerics_v2_op(tensor: Array, *, message: str) -> Array:
    """The input; fails if it has a NaN or an infinity, and says of which sign."""
    _refuse_not_finite(tensor, message, True)
    return tensor


@check_numerics_v2_op.gradient
def check_numerics_v2_gradient(op: Any, dy: Tensor) -> list[Any]:
    """The gradient is checked too."""
    message = f"Not a number (NaN) or infinity (Inf) values detected in gradient. {op.attrs['message']}"
    return [emit.CheckNumericsV2(dy, message=message)]


def check_numerics(tensor: Any, message: str, name: str | None = None) -> Tensor:
    """Returns the tensor; computing it fails, with the message, if it has a NaN or an infinity."""
    result: Tensor = emit.CheckNumerics(tensor, message=message, name=name)
    return result


def verify_tensor_all_finite(
    t: Any = None, msg: str | None = None, name: str | None = None, x: Any = None, message: str | None = None
) -> Tensor:
    """Returns the tensor; computing it fails, with the message, if it has a NaN or an infinity."""
    value, text = (t if x is None else x), (msg if message is None else message)
    with name_scope(name, "VerifyFinite", [value]):
        value = convert_to_tensor(value, name="t")
        return with_dependencies([check_numerics(value, text or "")], value)


def add_check_numerics_ops() -> Operation:
    """Returns an operation that checks every floating tensor of the graph so far, in the order they were made."""
    check: list[Any] = []
    for operation in get_default_graph().get_operations():
        for output in operation.outputs:
            if output.dtype.name in ("float16", "float32", "float64", "bfloat16"):
                with control_dependencies(check):
                    check = [check_numerics(output, f"{operation.name}:{output.value_index}")]
    return group(*check)


# ---------------------------------------------------------------------------- Python functions


class _Function:
    """A Python function that operations name by a token; its graph keeps it alive."""

    def __init__(self, call: Callable[..., Any], viewed: bool) -> None:
        self.call = call
        self.viewed = viewed


_functions: weakref.WeakValueDictionary[str, _Function] = weakref.WeakValueDictionary()
_tokens = itertools.count()


class EagerArray(np.ndarray[Any, Any]):
    """What a function under `py_function` receives: an array with the method that eager tensors have."""

    def numpy(self) -> Array:
        """Returns the plain array."""
        return self.view(np.ndarray)


def _call(token: str, inputs: Sequence[Array], types: Sequence[DType]) -> list[Array]:
    function = _functions.get(token)
    if function is None:
        raise InvalidArgumentError(
            None, None,
            f"no Python function is registered under {token!r}: a graph that was loaded from a file cannot call the "
            "functions of the program that made it",
        )  # fmt: skip
    given: list[Any] = []
    for value in inputs:
        # The function may write into what it gets.
        own = np.array(value)
        if function.viewed and own.dtype != object:
            given.append(own.view(EagerArray))
        else:
            given.append(own if own.ndim else own[()])
    try:
        returned = function.call(*given)
    except errors.OpError:
        raise
    except Exception as error:
        kinds: dict[type[Exception], type[errors.OpError]] = {
            ValueError: errors.InvalidArgumentError,
            TypeError: errors.InvalidArgumentError,
            StopIteration: errors.OutOfRangeError,
            MemoryError: errors.ResourceExhaustedError,
            NotImplementedError: errors.UnimplementedError,
        }
        kind = next((k for base, k in kinds.items() if isinstance(error, base)), errors.UnknownError)
        raise kind(None, None, f"{type(error).__name__}: {error}") from error
    values = list(returned) if isinstance(returned, list | builtins.tuple) else [returned]
    if returned is None or not types:
        values = []
    if len(values) != len(types):
        raise InvalidArgumentError(
            None, None, f"{token} returns {len(values)} values, but expects to see {len(types)} values."
        )
    return [
        _returned(token, i, value, dtype) for i, (value, dtype) in enumerate(zip(values, types, strict=True))
    ]


def _returned(token: str, index: int, value: Any, wanted: DType) -> Array:
    array = np.asarray(value)
    if array.dtype.kind in "SUO":
        flat = [item.encode() if isinstance(item, str) else item for item in array.astype(object).reshape(-1)]
        result = np.empty(len(flat), object)
        result[:] = flat
        array = result.reshape(array.shape)
    if as_dtype(array.dtype) is not wanted:
        raise InvalidArgumentError(
            None, None,
            f"{index}-th value returned by {token} is {as_dtype(array.dtype).name}, but expects {wanted.name}",
        )  # fmt: skip
    return array


_PY_FUNC = "token:string; Tin:list(type)>=0; Tout:list(type)>=0"


def _unknown_outputs(node: Any) -> list[TensorShape]:
    return [UNKNOWN for _ in node.attrs["Tout"]]


@op("PyFunc", "input:list(Tin)", "output:list(Tout)", _PY_FUNC, infer=_unknown_outputs, effects="host",
    differentiable=False)  # fmt: skip
def py_func_op(input: list[Array], *, token: str, Tout: Sequence[DType]) -> list[Array]:
    """What a Python function returns, which may have side effects."""
    return _call(token, input, Tout)


@op("PyFuncStateless", "input:list(Tin)", "output:list(Tout)", _PY_FUNC, infer=_unknown_outputs, effects="host",
    differentiable=False)  # fmt: skip
def py_func_stateless_op(input: list[Array], *, token: str, Tout: Sequence[DType]) -> list[Array]:
    """What a Python function returns."""
    return _call(token, input, Tout)


@op("EagerPyFunc", "input:list(Tin)", "output:list(Tout)", f"{_PY_FUNC}; is_async:bool=false",
    infer=_unknown_outputs, effects="host", differentiable=False)  # fmt: skip
def eager_py_func_op(input: list[Array], *, token: str, Tout: Sequence[DType]) -> list[Array]:
    """What a Python function returns that was written for eager tensors."""
    return [np.asarray(value) for value in _call(token, input, Tout)]


def _python_call(
    op_type: str, func: Callable[..., Any], inp: Any, types: Any, name: str | None, viewed: bool
) -> Any:
    if not callable(func):
        raise ValueError(f"Expected func to be callable. Received func={func!r} of type {type(func)}.")
    several = isinstance(types, list | builtins.tuple)
    wanted = [as_dtype(t) for t in types] if several else [] if types is None else [as_dtype(types)]
    tensors = [convert_to_tensor(x) for x in (inp if isinstance(inp, list | builtins.tuple) else [inp])]
    token = f"pyfunc_{next(_tokens)}"
    function = _Function(func, viewed)
    _functions[token] = function
    graph = graph_of(tensors)
    graph.registries.setdefault("py_func", {})[token] = function
    with graph.as_default():
        outputs = getattr(emit, op_type)(tensors, token=token, Tout=wanted, name=name)
    if several or types is None:
        # Without outputs the operation itself is what one can run.
        return list(outputs) if wanted else graph.get_operations()[-1]
    return outputs[0]


def py_func(
    func: Callable[..., Any], inp: Any, Tout: Any, stateful: bool = True, name: str | None = None
) -> Any:
    """Calls a Python function on arrays during the run.

    Args:
      func: takes one array (a NumPy scalar for rank 0) per tensor; returns an array or a list of them.
      inp: a tensor or a list of them.
      Tout: the dtype of the result, or a list of dtypes, which gives a list of tensors.
      stateful: False says that the function depends on its arguments alone.
      name: a name.

    Returns:
      A tensor or a list of tensors, of unknown shape; the operation if there are no results. The function stays with
      the graph in this process: files hold only a token for it.
    """
    return _python_call("PyFunc" if stateful else "PyFuncStateless", func, inp, Tout, name, False)


def numpy_function(func: Callable[..., Any], inp: Any, Tout: Any, name: str | None = None) -> Any:
    """Calls a Python function on arrays during the run; see `py_func`."""
    return py_func(func, inp, Tout, True, name)


def py_function(func: Callable[..., Any], inp: Any, Tout: Any, name: str | None = None) -> Any:
    """Calls a Python function on arrays that have a `numpy()` method; see `py_func`."""
    return _python_call("EagerPyFunc", func, inp, Tout, name, True)


@op("Timestamp", "", "ts:float64", "", infer=scalar, effects="host", differentiable=False)
def timestamp_op() -> Array:
    """The seconds since the epoch."""
    return np.asarray(time.time())


def timestamp(name: str | None = None) -> Tensor:
    """Returns the seconds since the epoch, read when it is run; float64."""
    result: Tensor = emit.Timestamp(name=name)
    return result


# ---------------------------------------------------------------------------- names that are Python's too


def _template(inputs: Sequence[Any], sep: str, tensors: list[Tensor]) -> builtins.tuple[str, str]:
    """The text of what is printed with a placeholder for each tensor, which is added to `tensors`."""
    mark = "<graphflow tensor>"

    def replaced(item: Any) -> Any:
        if isinstance(item, Tensor) or hasattr(item, "_as_graph_element"):
            tensors.append(convert_to_tensor(item))
            return mark
        if isinstance(item, dict):
            return {key: replaced(value) for key, value in item.items()}
        if isinstance(item, builtins.tuple) and hasattr(item, "_fields"):
            return type(item)(*(replaced(value) for value in item))
        if isinstance(item, list | builtins.tuple):
            return type(item)(replaced(value) for value in item)
        return item

    parts = []
    for item in inputs:
        shown = replaced(item)
        parts.append(shown if isinstance(shown, str) else pprint.pformat(shown))
    return sep.join(parts).replace(f"'{mark}'", mark), mark


def print(*inputs: Any, **kwargs: Any) -> Operation:
    """Returns an operation that prints.

    Args:
      *inputs: texts, tensors and structures of them.
      **kwargs: `output_stream` (sys.stderr by default, sys.stdout, or a function of `gf.logging`), `summarize` (how
        many elements to show at each end of each axis, 3; -1 for all), `sep` (" "), `end` (a new line), `name`.

    Raises:
      ValueError: for another output stream or keyword.
    """
    stream = kwargs.pop("output_stream", sys.stderr)
    summarize = kwargs.pop("summarize", 3)
    sep = kwargs.pop("sep", " ")
    end = kwargs.pop("end", "\n")
    name = kwargs.pop("name", None)
    if kwargs:
        raise ValueError(f"Unrecognized keyword arguments for print: {kwargs}")
    target = ""
    if any(stream is known for known in (sys.stderr, sys.__stderr__)):
        target = "stderr"
    elif any(stream is known for known in (sys.stdout, sys.__stdout__)):
        target = "stdout"
    else:
        level = getattr(stream, "__name__", "")
        levels = {"info": "info", "warning": "warning", "warn": "warning", "error": "error"}
        if level not in levels:
            raise ValueError(f"Unsupported output stream, logging level, or file.{stream!r}")
        target = f"log({levels[level]})"
    first = inputs[0] if len(inputs) == 1 else None
    if isinstance(first, Tensor) and first.dtype is dtypes.string and first.shape == SCALAR:
        text = first
    else:
        tensors: list[Tensor] = []
        template, mark = _template(inputs, sep, tensors)
        text = emit.StringFormat(tensors, template=template, placeholder=mark, summarize=summarize)
    result: Operation = emit.PrintV2(text, output_stream=target, end=end, name=name)
    return result


def tuple(
    tensors: Sequence[Any], name: str | None = None, control_inputs: Sequence[Any] | None = None
) -> list[Any]:
    """Returns the tensors, each ready only when all are.

    Args:
      tensors: tensors, IndexedSlices, operations or None.
      name: a name.
      control_inputs: further operations to wait for.

    Raises:
      ValueError: if there is nothing to wait for.
      TypeError: if a control input is neither an operation nor a tensor.
    """
    with name_scope(name, "tuple", [t for t in tensors if t is not None]):
        known = Operation | Tensor | IndexedSlices | None
        items = [t if isinstance(t, known) else convert_to_tensor(t) for t in tensors]
        gates = [t if isinstance(t, Operation) else t.op for t in items if t is not None]
        for control in control_inputs or ():
            if not isinstance(control, Operation | Tensor):
                raise TypeError(f"'control_inputs' must only contain Operation or Tensor, got {control!r}")
            gates.append(control.op if isinstance(control, Tensor) else control)
        if not gates:
            raise ValueError(f"'tensors' must have at least one Tensor, got {tensors!r}")
        gate = group(*sorted(set(gates), key=lambda operation: operation._id))
        return [
            None if t is None else gate if isinstance(t, Operation) else with_dependencies([gate], t)
            for t in items
        ]


__all__ = [
    "Assert", "Print", "add_check_numerics_ops", "assert_equal", "assert_greater", "assert_greater_equal",
    "assert_integer", "assert_less", "assert_less_equal", "assert_near", "assert_negative", "assert_non_negative",
    "assert_non_positive", "assert_none_equal", "assert_positive", "assert_proper_iterable", "assert_rank",
    "assert_rank_at_least", "assert_rank_in", "assert_scalar", "assert_type", "check_numerics", "group",
    "is_non_decreasing", "is_numeric_tensor", "is_strictly_increasing", "numpy_function", "print", "py_func",
    "py_function", "timestamp", "tuple", "verify_tensor_all_finite",
]  # fmt: skip
