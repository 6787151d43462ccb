"""One op, one place: the `op` decorator, the registry, and `emit`, which adds operations to a graph by type name.

A signature is written in the notation of TensorFlow's op list::

    inputs   "values:N*T; axis:Tidx"       name:dtype, name:dtype_attr, name:list(dtypes_attr), name:count_attr*dtype
    outputs  "output:T"
    attrs    "N:int>=2; T:type; Tidx:type{int32|int64}=int32"    name:kind{allowed}>=minimum=default
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from graphflow import dtypes
from graphflow.dtypes import DType, as_dtype
from graphflow.errors import DTypeError, ShapeError, UnregisteredOpError
from graphflow.graph import (
    Graph,
    IndexedSlices,
    Operation,
    Tensor,
    get_default_graph,
    inside_body,
    user_frames,
)
from graphflow.records import dataclass
from graphflow.shapes import UNKNOWN, TensorShape, as_shape

Array = np.ndarray[Any, Any]
F = TypeVar("F", bound=Callable[..., Any])

# A value is worked out while building only up to this many elements: shapes, axes, permutations.
_MOST_CONSTANT_ELEMENTS = 4096
_MOST_SHAPE_DEPTH = 64
# The least value, and the one above the greatest; or one such per place in the last axis.
Bounds = tuple[int, int | tuple[int, ...]]
EFFECTS = ("", "reads", "writes", "random", "host")
REDUCTIONS = ("sum", "mean", "prod", "max", "min", "any", "all")


# -- signatures -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ArgDef:
    """One input or output of a signature; exactly one of the three sources of its dtype is set."""

    name: str
    dtype: DType | None = None
    type_attr: str = ""
    type_list_attr: str = ""
    number_attr: str = ""

    @property
    def is_list(self) -> bool:
        """Whether the argument is a list of tensors."""
        return bool(self.number_attr or self.type_list_attr)


@dataclass(frozen=True, slots=True)
class AttrDef:
    """One attribute of a signature."""

    name: str
    kind: str  # int float bool string type shape tensor func, or list(kind)
    default: Any = None
    has_default: bool = False
    allowed: tuple[Any, ...] = ()
    minimum: int | None = None


_ARG = re.compile(r"^(?P<name>\w+):(?:list\((?P<list>\w+)\)|(?:(?P<number>\w+)\*)?(?P<type>\w+))$")
_ATTR = re.compile(
    r"^(?P<name>\w+):(?P<kind>list\(\w+\)|\w+)(?:\{(?P<allowed>[^}]*)\})?(?:>=(?P<minimum>-?\d+))?(?P<default>=.*)?$",
    re.S,
)


def _parse_args(text: str, attrs: dict[str, AttrDef]) -> tuple[ArgDef, ...]:
    result = []
    for part in filter(None, (p.strip() for p in text.split(";"))):
        match = _ARG.match(part)
        if match is None:
            raise ValueError(f"malformed argument {part!r}")
        name, list_attr, number, kind = match["name"], match["list"], match["number"], match["type"]
        if list_attr:
            result.append(ArgDef(name, type_list_attr=list_attr))
        elif kind in attrs:
            result.append(ArgDef(name, type_attr=kind, number_attr=number or ""))
        else:
            result.append(ArgDef(name, dtype=as_dtype(kind), number_attr=number or ""))
    return tuple(result)


def _parse_value(kind: str, text: str) -> Any:
    if kind.startswith("list("):
        inner = kind[5:-1]
        return tuple(_parse_value(inner, item) for item in text.strip("[]").split())
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(text)
    if kind == "bool":
        return text == "true"
    if kind == "type":
        return as_dtype(text)
    if kind == "shape":
        return UNKNOWN if text == "unknown_rank" else TensorShape([int(d) for d in text.strip("[]").split()])
    if kind == "string":
        return text
    if kind == "tensor":  # a vector: uint8[255 0 0 255]
        dtype, _, items = text.removesuffix("]").partition("[")
        return np.array(items.split(), as_dtype(dtype).numpy)
    raise ValueError(f"no default may be written for an attribute of kind {kind!r}")


def _parse_attrs(text: str) -> dict[str, AttrDef]:
    parts = filter(None, (p.strip(" ") for p in text.split(";")))
    return {made.name: made for made in map(_parse_attr, parts)}


@functools.cache  # most ops have attributes that others have too
def _parse_attr(part: str) -> AttrDef:
    match = _ATTR.match(part)
    if match is None:
        raise ValueError(f"malformed attribute {part!r}")
    kind, default = match["kind"], match["default"]
    inner = kind[5:-1] if kind.startswith("list(") else kind
    listed = match["allowed"].split("|") if match["allowed"] else ()
    return AttrDef(
        match["name"],
        kind,
        _parse_value(kind, default[1:]) if default is not None else None,
        default is not None,
        tuple(_parse_value(inner, item) for item in listed),
        int(match["minimum"]) if match["minimum"] is not None else None,
    )


def _as_text(value: Any) -> str | bytes:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, str):
        return value
    raise TypeError(f"expected a string, got {value!r}")


def _as_int(value: Any) -> int:
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(f"expected an int, got {value!r}")
    return int(value)


def _as_bool(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_ | int) or value not in (0, 1):
        raise TypeError(f"expected a bool, got {value!r}")
    return bool(value)


def _as_float(value: Any) -> float:
    if isinstance(value, bool | str | bytes):
        raise TypeError(f"expected a float, got {value!r}")
    # A file holds 32 bits: a graph means the same before it is saved and after.
    with np.errstate(over="ignore"):
        return float(np.float32(value))


_NORMALIZE: dict[str, Callable[[Any], Any]] = {
    "int": _as_int,
    "float": _as_float,
    "bool": _as_bool,
    "string": _as_text,
    "type": as_dtype,
    "shape": as_shape,
    "tensor": np.asarray,
    "func": lambda value: value,
}


class OpDef:
    """What one op type is: its signature, shape rule, NumPy body, gradient and lowering.

    Attributes:
      name: the op type, such as "MatMul".
      inputs, outputs: the arguments of the signature.
      attrs: the attributes of the signature, by name.
      infer: the shape rule, `infer(node) -> TensorShape | list of TensorShapes`.
      body: the NumPy body, which defines the op.
      effects: "" (pure), "reads" or "writes" (variables), "random", or "host" (prints, asserts, calls Python).
      updates: for effects "writes": indices of the handle inputs whose values the body returns anew.
      reads: indices of the handle inputs whose values the body takes.
      reduction: the kind of reduction over the axes of the second input, or "".
      view: whether the output holds the first input's elements in the same row-major order.
      broadcasting: whether the inputs are broadcast against each other.
      differentiable: False says that no gradient flows through; a missing rule is an error otherwise.
      passes_slices: whether the gradient rule takes IndexedSlices; else they are made dense for it.
      lowering: the name of a special lowering in `lowering/`, or "".
      scalar, row, index: the lowering rules, or None.
      row_axis: the input that names the row body's axis, or None.
      row_rule: which rows of a batch the result is made of, or None; `ops/row_rules.py` tells of such rules.
      row_count_inputs: the inputs that may follow from the number of rows.
    """

    def __init__(
        self,
        name: str,
        inputs: str,
        outputs: str,
        attrs: str,
        body: Callable[..., Any],
        *,
        infer: Callable[[Any], Any],
        effects: str = "",
        updates: tuple[int, ...] = (),
        reads: tuple[int, ...] = (),
        reduction: str = "",
        view: bool = False,
        broadcasting: bool = False,
        lowering: str = "",
        differentiable: bool = True,
        passes_slices: bool = False,
    ) -> None:
        if effects not in EFFECTS:
            raise ValueError(f"{name}: effects must be one of {EFFECTS}")
        if reduction and reduction not in REDUCTIONS:
            raise ValueError(f"{name}: reduction must be one of {REDUCTIONS}")
        self.name = name
        self.attrs = _parse_attrs(attrs)
        self.inputs = _parse_args(inputs, self.attrs)
        self.outputs = _parse_args(outputs, self.attrs)
        self.infer = infer
        self.body = body
        self.effects = effects
        self.updates = updates
        self.reads = reads or updates
        self.reduction = reduction
        self.view = view
        self.broadcasting = broadcasting
        self.lowering = lowering
        self.differentiable = differentiable
        self.passes_slices = passes_slices
        self.scalar: Callable[..., Any] | None = None
        self.row: Callable[..., Any] | None = None
        self.row_axis: int | None = None
        self.index: Callable[..., Any] | None = None
        self.expand_rule: Callable[..., Any] | None = None
        self.constant_rule: Callable[[Any], Any] | None = None
        self.draw_rule: Callable[..., Any] | None = None
        self.reserve_rule: Callable[[dict[str, Any]], int] | None = None
        self.bounds_rule: Callable[[Any], dict[int, Bounds]] | None = None
        self.shape_rule: Callable[[Any], TensorShape] | None = None
        self.row_rule: Callable[[Any, Sequence[Any]], Sequence[Any]] | None = None
        self.row_count_inputs: tuple[int, ...] = ()
        self.body_attrs = frozenset(_keyword_only(body))
        self.has_lists = any(arg.is_list for arg in self.inputs)
        self.has_functions = any("func" in attr.kind for attr in self.attrs.values())
        # The attributes that the inputs' dtypes and counts decide.
        self.inferred_attrs = frozenset(
            name
            for arg in self.inputs
            for name in (arg.type_attr, arg.type_list_attr, arg.number_attr)
            if name
        )

    @property
    def stateful(self) -> bool:
        """Whether the op does more than compute its outputs from its inputs."""
        return bool(self.effects)

    @property
    def is_stateful(self) -> bool:
        """The same, by the name that it has in TensorFlow's message."""
        return self.stateful

    # The decorators that attach rules.

    def gradient(self, rule: F) -> F:
        """Attaches the gradient rule `rule(op, *dys) -> one of Tensor, IndexedSlices, None per input`."""
        register_gradient(self.name, rule)
        return rule

    def not_differentiable(self) -> OpDef:
        """Says that no gradient flows through this op."""
        self.differentiable = False
        return self

    def lower(self, rule: F) -> F:
        """Attaches a scalar body."""
        self.scalar = rule
        return rule

    def lower_row(self, rule: F) -> F:
        """Attaches a row body."""
        self.row = rule
        return rule

    def lower_row_along(self, position: int) -> Callable[[F], F]:
        """Attaches a row body along the axis that input `position` names; the body is not handed that input."""

        def attach(rule: F) -> F:
            self.row, self.row_axis = rule, position
            return rule

        return attach

    def lower_index(self, rule: F) -> F:
        """Attaches an affine index map."""
        self.index = rule
        return rule

    def expand(self, rule: F) -> F:
        """Attaches `rule(builder, node, inputs) -> values | None`, which spells the op in primitive ones."""
        self.expand_rule = rule
        return rule

    def draw(self, rule: F) -> F:
        """Attaches `rule(builder, words, table, *constants) -> expressions | None`: numbers of one random sample.

        `words` are the sample's four (u32), `table(array, index)` reads a fixed array, `constants` are the values of
        all inputs but the shape, and None declines.
        """
        self.draw_rule = rule
        return rule

    def reserve(self, rule: F) -> F:
        """Attaches `rule(attrs) -> int`: by how many 128-bit samples a run of a random op moves its counter on.

        Without one it is by what TensorFlow reserves for as many numbers as the op gives.
        """
        self.reserve_rule = rule
        return rule

    def bounds(self, rule: F) -> F:
        """Attaches `rule(node) -> {input: (low, high)}`: the body refuses elements of it outside [low, high).

        Where the last axis holds index vectors, `high` may be a tuple: one bound for each place in them.
        """
        self.bounds_rule = rule
        return rule

    def constant(self, rule: F) -> F:
        """Attaches `rule(node) -> ndarray | None`: the value, where shapes and constant inputs decide it; a list of
        them where the op makes a list."""
        self.constant_rule = rule
        return rule

    def value_as_shape(self, rule: F) -> F:
        """Attaches `rule(node) -> TensorShape`: what is known of an integer vector that is used as a shape."""
        self.shape_rule = rule
        return rule

    def by_row(self, rule: F, *count_inputs: int) -> F:
        """Attaches `rule(node, given) -> places`: where the rows of a batch lie in the outputs.

        Args:
          rule: see `ops/row_rules.py`.
          *count_inputs: the inputs that may follow from the number of rows, such as a shape.
        """
        self.row_rule, self.row_count_inputs = rule, count_inputs
        return rule

    # What everything else asks of a definition.

    def nest(self, flat: Sequence[Any], attrs: dict[str, Any]) -> list[Any]:
        """Groups flat inputs per argument: an argument that is a list becomes a list."""
        if not self.has_lists:
            return list(flat)
        result: list[Any] = []
        at = 0
        for arg in self.inputs:
            if arg.number_attr:
                count = attrs[arg.number_attr]
            elif arg.type_list_attr:
                count = len(attrs[arg.type_list_attr])
            else:
                result.append(flat[at])
                at += 1
                continue
            result.append(list(flat[at : at + count]))
            at += count
        return result

    def input_dtypes(self, attrs: dict[str, Any]) -> list[DType]:
        """Returns the dtype of each flat input."""
        return _arg_dtypes(self.inputs, attrs)

    def output_dtypes(self, attrs: dict[str, Any]) -> list[DType]:
        """Returns the dtype of each flat output."""
        return _arg_dtypes(self.outputs, attrs)

    def run(self, inputs: Sequence[Array], attrs: dict[str, Any], **extra: Any) -> list[Array]:
        """Runs the NumPy body.

        Args:
          inputs: one array per flat input (for handles in `reads`, the variable's value).
          attrs: all attributes.
          **extra: what a random body asks for (`key`, `counter`), or a host body (`context`).

        Returns:
          One array per value that the body returns: the new values of `updates` first, then the outputs.
        """
        values = self.run_body(inputs, attrs, **extra)
        if not values:
            return values
        wanted = [None] * len(self.updates) + self.output_dtypes(attrs)
        if len(values) != len(wanted):
            raise RuntimeError(
                f"the body of {self.name} returned {len(values)} values, {len(wanted)} were declared"
            )
        for i, dtype in enumerate(wanted):
            if dtype is None:
                values[i] = np.asarray(values[i], np.asarray(inputs[self.updates[i]]).dtype)
            elif dtype.is_numpy_compatible:
                values[i] = np.asarray(values[i], dtype.numpy)
        return values

    def run_body(self, inputs: Sequence[Array], attrs: dict[str, Any], **extra: Any) -> list[Any]:
        """Runs the NumPy body as it is; see `run`, which sees to it that dtypes and numbers of outputs are right."""
        chosen = {name: value for name, value in (attrs | extra).items() if name in self.body_attrs}
        result = self.body(*self.nest(inputs, attrs), **chosen)
        values: list[Any] = []
        if result is None:
            return values
        if isinstance(result, tuple):
            for item in result:
                values.extend(item) if isinstance(item, list) else values.append(item)
        elif isinstance(result, list):
            values.extend(result)
        else:
            values.append(result)
        return values

    def __repr__(self) -> str:
        return f"<OpDef {self.name}>"


def _keyword_only(function: Callable[..., Any]) -> Iterable[str]:
    code = getattr(function, "__code__", None)
    if code is not None and not hasattr(function, "__wrapped__"):
        # A plain function says so itself; `inspect` is slow, and there are hundreds of bodies.
        names: Sequence[str] = code.co_varnames
        return names[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    return (
        name
        for name, p in inspect.signature(function).parameters.items()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    )


def _arg_dtypes(args: Sequence[ArgDef], attrs: dict[str, Any]) -> list[DType]:
    result: list[DType] = []
    for arg in args:
        if arg.type_list_attr:
            result.extend(attrs[arg.type_list_attr])
            continue
        dtype = arg.dtype or attrs[arg.type_attr]
        if arg.number_attr:
            result.extend([dtype] * attrs[arg.number_attr])
        else:
            result.append(dtype)
    return result


# -- the registry -----------------------------------------------------------------------------------

_REGISTRY: dict[str, OpDef] = {}
_load_families: list[Callable[[], None]] = []
_loading = threading.RLock()
_GRADIENTS: dict[str, Callable[..., Any]] = {}


def op(
    name: str, inputs: str = "", outputs: str = "", attrs: str = "", **options: Any
) -> Callable[[Callable[..., Any]], OpDef]:
    """Registers an op type; decorates its NumPy body and returns the `OpDef`.

    Args:
      name: the op type.
      inputs, outputs, attrs: the signature, see the module.
      **options: `infer` and the other keywords of `OpDef`.

    Raises:
      ValueError: if the type is registered already.
    """

    def register(body: Callable[..., Any]) -> OpDef:
        if name in _REGISTRY:
            raise ValueError(f"op {name!r} is registered already")
        definition = OpDef(name, inputs, outputs, attrs, body, **options)
        definition.__doc__ = body.__doc__
        _REGISTRY[name] = definition
        return definition

    return register


def set_families(loads: Iterable[Callable[[], None]]) -> None:
    """Says how the families of ops are loaded that are not there yet, in the order in which they are tried."""
    _load_families[:] = loads


def find_op(name: str) -> OpDef | None:
    """Returns the definition of an op type, or None if there is none."""
    found = _REGISTRY.get(name)
    if found is None and _load_families:
        with _loading:
            while (found := _REGISTRY.get(name)) is None and _load_families:
                _load_families.pop(0)()
    return found


def get_op(name: str) -> OpDef:
    """Returns the definition of an op type.

    Raises:
      UnregisteredOpError: if there is none; near names are listed.
    """
    found = find_op(name)
    if found is None:
        near = difflib.get_close_matches(name, _REGISTRY, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UnregisteredOpError(f"Op type not registered: {name!r}{hint}")
    return found


def registered_ops() -> dict[str, OpDef]:
    """Returns all definitions by type."""
    with _loading:
        while _load_families:
            _load_families.pop(0)()
    return dict(_REGISTRY)


def register_gradient(name: str, rule: Callable[..., Any]) -> None:
    """Registers a gradient rule under an op type, or under a name for `gradient_override_map`.

    Raises:
      KeyError: if the name has a rule already.
    """
    if name in _GRADIENTS:
        raise KeyError(f"Registering two gradient with name {name!r}!")
    _GRADIENTS[name] = rule


def gradient_rule(name: str) -> Callable[..., Any] | None:
    """Returns the gradient rule registered under a name, or None."""
    return _GRADIENTS.get(name)


_MOST_ELEMENTS = 2**59  # whose bytes can still be counted in 63 bits
_MOST_FILLED_BYTES = 2**31  # of a constant that repeats its last element


# -- what is known while building ---------------------------------------------------------------------


class InferContext:
    """What a shape rule sees of a node: typed inputs, attributes, and the values known by now.

    Attributes:
      op_def: the definition.
      inputs: the flat inputs, each with `.dtype`, `.shape` (handles also `.handle_dtype`, `.handle_shape`).
      attrs: all attributes.
    """

    __slots__ = ("_constant", "_shape", "attrs", "inputs", "op_def")

    def __init__(
        self,
        op_def: OpDef,
        inputs: Sequence[Any],
        attrs: dict[str, Any],
        constant: Callable[[Any], Array | None],
        shape: Callable[[Any], TensorShape],
    ) -> None:
        self.op_def = op_def
        self.inputs = inputs
        self.attrs = attrs
        self._constant = constant
        self._shape = shape

    @property
    def args(self) -> list[Any]:
        """The inputs per argument: an argument that is a list is a list here."""
        return self.op_def.nest(self.inputs, self.attrs)

    def part(self, op_def: OpDef, inputs: Sequence[Any], attrs: dict[str, Any]) -> InferContext:
        """Returns what the rule of another op sees that is a part of this one."""
        return InferContext(op_def, inputs, attrs, self._constant, self._shape)

    def constant(self, index: int) -> Array | None:
        """Returns the value of flat input `index` if it is known, else None."""
        return self._constant(self.inputs[index])

    def constant_shape(self, index: int) -> TensorShape:
        """Returns what is known of flat input `index` read as a shape."""
        return self._shape(self.inputs[index])


def run_infer(context: InferContext) -> list[TensorShape]:
    """Runs a shape rule; returns one shape per flat output.

    Raises:
      ShapeError: if the inputs do not fit, or a result could have no place in any memory; names no op yet.
    """
    try:
        result = context.op_def.infer(context)
    except ShapeError:
        raise
    except ValueError as error:  # of a size or a number
        raise ShapeError(str(error)) from error
    except (ArithmeticError, LookupError) as error:  # of sizes and attributes that no rule has thought of
        raise ShapeError(f"its sizes and attributes cannot be calculated with: {error}") from error
    shapes = [result] if isinstance(result, TensorShape) else list(result)
    for shape in shapes:
        dims = shape.as_tuple()
        if dims and None not in dims and math.prod(dims) > _MOST_ELEMENTS:
            raise ShapeError(f"the result would have shape {shape}, {math.prod(dims)} elements")
    return shapes


def describe(value: Any) -> str:
    """Returns `float32[2,?]` for a typed value."""
    dims = value.shape.as_tuple()
    inside = "<unknown>" if dims is None else ",".join("?" if d is None else str(d) for d in dims)
    return f"{value.dtype.name}[{inside}]"


def _context(operation: Operation) -> InferContext:
    return InferContext(
        operation.op_def, operation.inputs, operation.attrs, constant_value, constant_value_as_shape
    )


_UNKNOWN_VALUE = object()


def constant_value(tensor: Any) -> Array | None:
    """Returns the value of a tensor if it is already known while building, else None.

    Known are constants and small pure functions of them, and what fully known shapes decide.
    """
    cached = tensor._constant
    if cached is not None:
        return None if cached is _UNKNOWN_VALUE else cached
    stack: list[Tensor] = [tensor]
    while stack:
        current = stack[-1]
        if current._constant is not None:
            stack.pop()
            continue
        operation = current.op
        definition: OpDef = operation.op_def
        if definition.constant_rule is not None:
            # Rules look at shapes and at single inputs, so they can be asked at once; unknown may become known
            # through set_shape, hence nothing is remembered.
            value = definition.constant_rule(_context(operation))
            if value is not None:
                current._constant = np.asarray(
                    value[current.value_index] if isinstance(value, list) else value
                )
                stack.pop()
                continue
            return None
        if definition.stateful or not operation.inputs or not _is_small(current):
            current._constant = _UNKNOWN_VALUE
            stack.pop()
            continue
        pending = [t for t in operation.inputs if t._constant is None]
        if pending:
            known_unknown = any(t._constant is _UNKNOWN_VALUE for t in operation.inputs)
            if not known_unknown:
                stack.extend(pending)
                continue
        values = [t._constant for t in operation.inputs]
        if any(value is _UNKNOWN_VALUE for value in values):
            current._constant = _UNKNOWN_VALUE
            stack.pop()
            continue
        try:
            results = definition.run(values, operation.attrs)
        except Exception:
            # A body that refuses its operands (a division by zero, say) has to do so in the run, not here.
            current._constant = _UNKNOWN_VALUE
            stack.pop()
            continue
        for output, value in zip(operation.outputs, results, strict=True):
            output._constant = value
        stack.pop()
    cached = tensor._constant
    return None if cached is _UNKNOWN_VALUE else cached


def _is_small(tensor: Tensor) -> bool:
    if not tensor.dtype.is_numpy_compatible:
        return False
    count = tensor.shape.num_elements()
    return count is not None and count <= _MOST_CONSTANT_ELEMENTS


def constant_value_as_shape(tensor: Any, _depth: int = 0) -> TensorShape:
    """Returns what is known of an integer vector that is used as a shape; -1 counts as unknown.

    Raises:
      ValueError: if the tensor can't be a shape.
    """
    value = constant_value(tensor)
    if value is not None:
        if value.ndim == 0:
            if int(value) == -1:
                return UNKNOWN
            raise ShapeError(f"a shape must be a vector, got the scalar {int(value)}")
        if value.ndim != 1 or value.dtype.kind not in "iu":
            raise ShapeError(f"a shape must be an integer vector, got {describe(tensor)}")
        if (value < -1).any():
            raise ShapeError(f"a shape must not have negative sizes, got {value.tolist()}")
        return TensorShape([None if d < 0 else int(d) for d in value])
    operation = tensor.op
    rule = operation.op_def.shape_rule
    if rule is not None and _depth < _MOST_SHAPE_DEPTH:
        context = InferContext(
            operation.op_def,
            operation.inputs,
            operation.attrs,
            constant_value,
            lambda t: constant_value_as_shape(t, _depth + 1),
        )
        found: TensorShape = rule(context)
        return found
    dims = tensor.shape.as_tuple()
    if dims is None or len(dims) != 1 or dims[0] is None:
        return UNKNOWN
    return TensorShape([None] * dims[0])


# -- conversion -----------------------------------------------------------------------------------------

ConversionFunction = Callable[..., Any]
_CONVERSIONS: list[tuple[int, Any, ConversionFunction]] = []


def register_tensor_conversion_function(
    base_type: Any, conversion_func: ConversionFunction, priority: int = 100
) -> None:
    """Registers how objects of a type become tensors.

    Args:
      base_type: a type or tuple of types.
      conversion_func: `f(value, dtype=None, name=None, as_ref=False) -> Tensor | NotImplemented`.
      priority: smaller ones are asked first.
    """
    _CONVERSIONS.append((priority, base_type, conversion_func))
    _CONVERSIONS.sort(key=lambda entry: entry[0])


def _contains_tensor(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_contains_tensor(item) for item in value)
    return isinstance(value, Tensor) or hasattr(value, "_as_graph_element")


def to_array(value: Any, dtype: DType | None = None) -> Array:
    """Returns a Python value as an array, by TensorFlow's rules: floats become float32 and ints int32.

    Raises:
      TypeError: if the value does not fit the dtype (a fraction or a string for an integer, say).
      ValueError: for a ragged list, and for None.
    """
    if value is None:
        raise ValueError("None values not supported.")
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if dtype is None:
            return _text_array(array) if array.dtype.kind in "SUO" else array
    elif isinstance(value, TensorShape):
        if not value.is_fully_defined():
            raise ValueError(f"Cannot convert a partially known TensorShape to a Tensor: {value}")
        sizes = value.as_list()
        wide = any(size is not None and size > 2**31 - 1 for size in sizes)
        array = np.array(sizes, np.int64 if wide else np.int32)
    else:
        if hasattr(value, "value") and type(value).__name__ == "Dimension":
            value = int(value)
        try:
            # An array of fixed-width text would drop trailing zero bytes.
            array = np.array(
                _plain(value), dtype=object if isinstance(_first_leaf(value), str | bytes) else None
            )
        except ValueError as error:
            raise ValueError(f"Can't convert non-rectangular Python sequence to Tensor: {error}") from None
        if dtype is None:
            if array.dtype.kind == "f" and not _has_numpy_scalar(value):
                array = array.astype(np.float32)
            elif array.dtype.kind == "i" and not _has_numpy_scalar(value):
                if array.size and (array.max() > 2**31 - 1 or array.min() < -(2**31)):
                    return array
                array = array.astype(np.int32)
            elif array.dtype.kind == "f" and array.size == 0:
                array = array.astype(np.float32)
    if dtype is None:
        if array.dtype.kind in "SUO":
            return _text_array(array)
        as_dtype(array.dtype)
        return array
    if dtype is dtypes.string:
        if array.dtype.kind not in "SUO":
            raise TypeError(f"Expected string, got {value!r} of type '{type(value).__name__}' instead.")
        return _text_array(array)
    if array.dtype.kind in "SUO":
        raise TypeError(f"Expected {dtype.name}, got {value!r} of type '{type(value).__name__}' instead.")
    target = dtype.numpy
    if array.dtype != target:
        kinds = array.dtype.kind + ("f" if dtype.is_floating else target.kind)
        is_array = isinstance(value, np.ndarray)
        if (
            not is_array
            and array.size
            and kinds in ("fi", "fu", "fb", "cf", "ci", "cu", "ib", "bi", "bu", "bf", "ub")
        ):
            raise TypeError(f"Expected {dtype.name}, got {value!r} of type '{type(value).__name__}' instead.")
        if not is_array and dtype.is_integer and array.size and array.dtype.kind in "iu":
            if int(array.max()) > dtype.max or int(array.min()) < dtype.min:
                raise TypeError(f"{value!r} is out of the range of {dtype.name}")
        array = array.astype(target)
    return array


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if type(value).__name__ == "Dimension":
        return int(value)
    return value


def _first_leaf(value: Any) -> Any:
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return value


def _has_numpy_scalar(value: Any) -> bool:
    return isinstance(_first_leaf(value), np.generic | np.ndarray)


def _text_array(array: Array) -> Array:
    result = np.empty(array.shape, object)
    flat = result.reshape(-1)
    for i, item in enumerate(array.reshape(-1).tolist()):
        if isinstance(item, str):
            item = item.encode()
        elif not isinstance(item, bytes):
            raise TypeError(f"Failed to convert object of type {type(item).__name__} to Tensor: {item!r}")
        flat[i] = item
    return result


def constant(
    value: Any, dtype: Any = None, shape: Any = None, name: str = "Const", verify_shape: bool = False
) -> Tensor:
    """Returns a constant tensor.

    Args:
      value: a number, string, (nested) list or array.
      dtype: the dtype; None takes it from the value (floats are float32, ints int32).
      shape: the shape; a value with fewer elements is filled up with its last one.
      name: the operation's name.
      verify_shape: whether `shape` must equal the value's shape.

    Raises:
      TypeError: if the value does not fit the dtype or the shape.
      ValueError: if the value has more elements than the shape.
    """
    array = to_array(value, None if dtype is None else as_dtype(dtype))
    if shape is not None:
        sizes = tuple(int(d) for d in as_shape(shape).as_list() if d is not None)
        if verify_shape and array.shape != sizes:
            raise TypeError(f"Expected Tensor's shape: {sizes}, got {array.shape}.")
        if array.shape != sizes:
            count = math.prod(sizes)
            if array.size > max(count, 1):
                raise ValueError(
                    f"Too many elements provided. Needed at most {count}, but received {array.size}"
                )
            if array.size == 0 and count:
                raise ValueError(f"Cannot fill shape {sizes} from a value without elements")
            if count * array.dtype.itemsize > _MOST_FILLED_BYTES:
                raise ValueError(
                    f"Constant {name!r} of shape {sizes} would be larger than 2 GB; gf.fill makes it in the run"
                )
            flat = array.reshape(-1)[:count]
            if array.size < count:
                flat = np.concatenate([flat, np.repeat(flat[-1:], count - array.size)])
            array = flat.reshape(sizes)
    return emit_constant(array, name)


def emit_constant(array: Array, name: str = "Const", graph: Graph | None = None) -> Tensor:
    """Adds a Const with exactly this array."""
    array = np.array(array, order="C")  # own copy: the caller may go on writing into his
    array.flags.writeable = False
    graph = graph or get_default_graph()
    operation = graph.add_operation(
        get_op("Const"),
        (),
        {"dtype": as_dtype(array.dtype), "value": array},
        (as_dtype(array.dtype),),
        (TensorShape(array.shape),),
        graph.operation_name(name or "Const"),
    )
    tensor = operation.outputs[0]
    tensor._constant = array
    return tensor


def convert_to_tensor(
    value: Any,
    dtype: Any = None,
    name: str | None = None,
    preferred_dtype: Any = None,
    dtype_hint: Any = None,
) -> Tensor:
    """Returns `value` as a Tensor.

    Args:
      value: a Tensor, variable, number, string, array, or nested list of these.
      dtype: the dtype it must have; None takes what the value has.
      name: a name for a constant that has to be made.
      preferred_dtype: tried first where `dtype` is None.
      dtype_hint: the same, under its later name.

    Raises:
      TypeError: if nothing converts the value.
      ValueError: if the tensor has another dtype.
    """
    wanted = None if dtype is None else as_dtype(dtype)
    if isinstance(value, Tensor):
        tensor = _value_of_handle(value, wanted)
        if wanted is not None and tensor.dtype is not wanted:
            made = f"; made at {tensor.op.user_line}" if tensor.op.user_line else ""
            raise ValueError(
                f"Tensor conversion requested dtype {wanted.name} for Tensor with dtype {tensor.dtype.name}: "
                f"{tensor!r}{made}"
            )
        return tensor
    preferred = preferred_dtype if preferred_dtype is not None else dtype_hint
    for _, base, function in _CONVERSIONS:
        if isinstance(value, base):
            if wanted is None and preferred is not None:
                try:
                    result = function(value, dtype=as_dtype(preferred), name=name, as_ref=False)
                except (TypeError, ValueError):
                    result = NotImplemented
                if result is not NotImplemented:
                    assert isinstance(result, Tensor)
                    return result
            result = function(value, dtype=wanted, name=name, as_ref=False)
            if result is not NotImplemented:
                assert isinstance(result, Tensor)
                return result
    if isinstance(value, list | tuple) and _contains_tensor(value):
        return _pack(value, wanted, name)
    if value is None or isinstance(value, dict | set):
        raise (
            ValueError("None values not supported.")
            if value is None
            else TypeError(
                f"Failed to convert object of type {type(value).__name__} to Tensor. Contents: {value!r}"
            )
        )
    if wanted is None and preferred is not None:
        try:
            return emit_constant(to_array(value, as_dtype(preferred)), name or "Const")
        except (TypeError, ValueError):
            pass
    try:
        array = to_array(value, wanted)
    except TypeError as error:
        raise TypeError(str(error)) from None
    return emit_constant(array, name or "Const")


def _pack(values: Sequence[Any], dtype: DType | None, name: str | None) -> Tensor:
    """Stacks a (nested) list that holds tensors."""

    def first_dtype(items: Sequence[Any]) -> DType | None:
        for item in items:
            if isinstance(item, list | tuple):
                found = first_dtype(item)
                if found is not None:
                    return found
            elif isinstance(item, Tensor) or hasattr(item, "_as_graph_element"):
                return as_dtype(item.dtype)
        return None

    dtype = dtype or first_dtype(values)
    items = [
        _pack(item, dtype, None)
        if isinstance(item, list | tuple) and _contains_tensor(item)
        else convert_to_tensor(item, dtype)
        for item in values
    ]
    result = emit.Pack(items, name=name or "packed")
    assert isinstance(result, Tensor)
    return result


def convert_n_to_tensor(values: Iterable[Any], dtype: Any = None, name: str | None = None) -> list[Tensor]:
    """Returns each value as a tensor; see `convert_to_tensor`."""
    return [
        convert_to_tensor(value, dtype, None if name is None else f"{name}_{i}")
        for i, value in enumerate(values)
    ]


def _value_of_handle(tensor: Tensor, wanted: DType | None) -> Tensor:
    """Reads a variable whose handle stands where a value is wanted: `graph.get_tensor_by_name("w:0") * 2`."""
    if tensor.dtype is not dtypes.resource or wanted is dtypes.resource or tensor.op.type != "VarHandleOp":
        return tensor
    result: Tensor = emit.ReadVariableOp(tensor, dtype=tensor.handle_dtype)
    return result


def convert_to_tensor_or_indexed_slices(
    value: Any, dtype: Any = None, name: str | None = None
) -> Tensor | IndexedSlices:
    """Returns an IndexedSlices as it is, anything else as a tensor."""
    return value if isinstance(value, IndexedSlices) else convert_to_tensor(value, dtype, name)


def override_operator(name: str, function: Callable[..., Any]) -> None:
    """Hangs an operator such as `__add__` on Tensor."""
    setattr(Tensor, name, function)


# -- emit -------------------------------------------------------------------------------------------------


class _Emit:
    """`emit.MatMul(a, b, transpose_a=True, name=None)` adds a MatMul to the graph."""

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        if op_type.startswith("__"):
            raise AttributeError(op_type)
        definition = get_op(op_type)

        def emit_op(*inputs: Any, name: str | None = None, **attrs: Any) -> Any:
            return emit_operation(definition, inputs, attrs, name)

        emit_op.__name__ = op_type
        return emit_op


emit = _Emit()


def _graph_for(inputs: Sequence[Any], op_type: str) -> Graph:
    default = get_default_graph()
    found: Graph | None = None
    first: Any = None
    for value in inputs:
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, Tensor):
                graph = item.op.graph
            elif isinstance(item, Operation):
                graph = item.graph
            else:
                continue
            if default.building_function and (graph is default or default.accepts(graph)):
                graph = default
            elif graph.building_function:
                raise ValueError(f"{op_type}: {inside_body(item)}")
            if found is None:
                found, first = graph, item
            elif graph is not found:
                raise ValueError(
                    f"the inputs of {op_type} are of two graphs: {first!r} (made at {first.op.user_line}) and {item!r} "
                    f"(made at {item.op.user_line}) must be from the same graph"
                )
    return found or default


def _is_tensor_like(value: Any) -> bool:
    return isinstance(value, Tensor) or hasattr(value, "_as_graph_element")


def _dtype_of(value: Any) -> DType | None:
    if isinstance(value, Tensor):
        return value.dtype
    if hasattr(value, "_as_graph_element"):
        return as_dtype(value.dtype)
    return None


def emit_operation(
    definition: OpDef, inputs: Sequence[Any], attrs: dict[str, Any], name: str | None = None
) -> Any:
    """Adds an operation to the graph of its inputs (else the default graph).

    Args:
      definition: the op's definition.
      inputs: one value per argument of the signature: tensors, or what converts to them; lists for lists.
      attrs: attributes by name; those that the inputs decide may be left out.
      name: the operation's name; default: its type. A name that ends with "/" is taken exactly.

    Returns:
      The output tensor; a list for one list output; a tuple for several outputs; the Operation if there is none.

    Raises:
      TypeError: for wrong arguments or dtypes.
      ValueError: for shapes that do not fit, or inputs of several graphs.
    """
    if len(inputs) != len(definition.inputs):
        wanted = ", ".join(arg.name for arg in definition.inputs)
        raise TypeError(
            f"{definition.name} takes {len(definition.inputs)} inputs ({wanted}), got {len(inputs)}"
        )
    graph = _graph_for(inputs, definition.name)
    if graph is get_default_graph():
        return _emit_in(graph, definition, inputs, attrs, name)
    with graph.as_default():
        return _emit_in(graph, definition, inputs, attrs, name)


def _emit_in(
    graph: Graph, definition: OpDef, inputs: Sequence[Any], attrs: dict[str, Any], name: str | None
) -> Any:
    full_name = graph.operation_name(name or definition.name)
    values = _normalize_attrs(definition, attrs, full_name)
    flat = _convert_inputs(graph, definition, inputs, values, full_name)
    if graph.building_function:
        flat = [tensor if tensor.op.graph is graph else graph.capture(tensor) for tensor in flat]
    for attr in definition.attrs.values():
        if attr.name not in values:
            if not attr.has_default:
                raise TypeError(f"{definition.name} {full_name!r} needs the attribute {attr.name!r}")
            values[attr.name] = graph._scopes.container if attr.name == "container" else attr.default
        elif attr.allowed or attr.minimum is not None:
            check_attr(definition, attr, values[attr.name], full_name)
    operation = make_operation(graph, definition, flat, values, full_name)
    outputs = operation.outputs
    if not definition.outputs:
        return operation
    if len(definition.outputs) == 1:
        # A list of one's own: programs write into what `split` and `unstack` return.
        return list(outputs) if definition.outputs[0].is_list else outputs[0]
    result: list[Any] = []
    at = 0
    for arg in definition.outputs:
        if arg.is_list:
            count = values[arg.number_attr] if arg.number_attr else len(values[arg.type_list_attr])
            result.append(outputs[at : at + count])
            at += count
        else:
            result.append(outputs[at])
            at += 1
    return tuple(result)


def make_operation(
    graph: Graph,
    definition: OpDef,
    inputs: Sequence[Tensor],
    attrs: dict[str, Any],
    full_name: str,
    control_inputs: Sequence[Operation] = (),
    device: str | None = None,
) -> Operation:
    """Infers shapes and adds the operation; all attributes and the full name are given.

    Raises:
      ShapeError: if the inputs do not fit, naming the op, its operands and the user's line.
    """
    context = InferContext(definition, inputs, attrs, constant_value, constant_value_as_shape)
    try:
        shapes = run_infer(context)
    except ShapeError as error:
        raise ShapeError(_blame(definition, full_name, inputs, str(error))) from None
    except DTypeError as error:
        raise DTypeError(_blame(definition, full_name, inputs, str(error))) from None
    except ValueError as error:
        raise ShapeError(_blame(definition, full_name, inputs, str(error))) from error
    output_types = definition.output_dtypes(attrs)
    operation = graph.add_operation(
        definition, inputs, attrs, output_types, shapes, full_name, control_inputs, device
    )
    for i, output in enumerate(operation.outputs):
        if output.dtype is dtypes.resource:
            if "shape" in attrs and attrs.get("dtype", dtypes.resource) is not dtypes.resource:
                output._handle = (attrs["dtype"], attrs["shape"])
            elif definition.has_functions:
                # A loop hands a handle on; of a branch or a call, the function knows what it gives.
                results = operation.inputs if "body" in attrs else _first_function(attrs).outputs
                output._handle = results[i]._handle
            elif operation.inputs and operation.inputs[0].dtype is dtypes.resource:
                output._handle = operation.inputs[0]._handle
    return operation


def _first_function(attrs: dict[str, Any]) -> Any:
    values = (value[0] if isinstance(value, tuple) and value else value for value in attrs.values())
    return next(value for value in values if hasattr(value, "outputs"))


def _blame(definition: OpDef, name: str, inputs: Sequence[Any], message: str) -> str:
    operands = ", ".join(describe(t) for t in inputs)
    frames = user_frames()
    made = f"; at {frames[0][0]}:{frames[0][1]}" if frames else ""
    sources = [
        f"{t.name!r} made at {t.op.user_line}"
        for t in inputs
        if getattr(getattr(t, "op", None), "user_line", "")
    ]
    origin = f" ({', '.join(sources)})" if sources else ""
    return f'{definition.name} "{name}": {message}; operands {operands}{origin}{made}'


def _normalize_attrs(definition: OpDef, attrs: dict[str, Any], name: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in attrs.items():
        if key.startswith("_"):
            values[key] = value
            continue
        attr = definition.attrs.get(key)
        if attr is None:
            raise TypeError(
                f"{definition.name} {name!r} has no attribute {key!r}; it has {sorted(definition.attrs)}"
            )
        if value is None:
            if attr.has_default:
                values[key] = attr.default
            continue
        values[key] = normalize_attr(attr, value, definition.name)
    return values


def normalize_attr(attr: AttrDef, value: Any, op_type: str) -> Any:
    """Returns an attribute's value in its canonical Python form.

    Raises:
      TypeError: if the value is not of the attribute's kind.
    """
    try:
        if attr.kind.startswith("list("):
            function = _NORMALIZE[attr.kind[5:-1]]
            if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
                raise TypeError(f"expected a list, got {value!r}")
            return tuple(function(item) for item in value)
        return _NORMALIZE[attr.kind](value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"attribute {attr.name!r} of {op_type}: {error}") from None


def check_attr(definition: OpDef, attr: AttrDef, value: Any, name: str) -> None:
    """Checks an attribute's value against what its signature allows.

    Raises:
      DTypeError, ValueError: if the value is not one of those allowed, or below the minimum.
    """
    items = value if attr.kind.startswith("list(") else (value,)
    if attr.allowed:
        for item in items:
            if item not in attr.allowed:
                allowed = ", ".join(getattr(a, "name", str(a)) for a in attr.allowed)
                shown = getattr(item, "name", repr(item))
                error = DTypeError if "type" in attr.kind else ValueError
                raise error(f"{definition.name} {name!r}: {attr.name} must be one of {allowed}, got {shown}")
    if attr.minimum is not None:
        size = len(value) if attr.kind.startswith("list(") else value
        if size < attr.minimum:
            raise ValueError(
                f"{definition.name} {name!r}: {attr.name} must be at least {attr.minimum}, got {size}"
            )


def _convert_inputs(
    graph: Graph, definition: OpDef, inputs: Sequence[Any], attrs: dict[str, Any], name: str
) -> list[Tensor]:
    """Converts the inputs to tensors and sets the attributes that they decide."""
    # Functions take variables by their handles.
    if not definition.has_functions and any(_holds_handle(value) for value in inputs):
        inputs = [
            _with_values(value) if arg.dtype is not dtypes.resource else value
            for arg, value in zip(definition.inputs, inputs, strict=True)
        ]
    # Tensors decide dtypes first, so that `x + 1` gives the 1 the dtype of x.
    for arg, value in zip(definition.inputs, inputs, strict=True):
        if arg.number_attr or arg.type_list_attr:
            if not isinstance(value, list | tuple):
                raise TypeError(
                    f"{definition.name} {name!r}: {arg.name} must be a list of tensors, got {value!r}"
                )
            if arg.number_attr:
                known = attrs.setdefault(arg.number_attr, len(value))
                if known != len(value):
                    raise ValueError(
                        f"{definition.name} {name!r}: list {arg.name} has {len(value)} tensors "
                        f"where {arg.number_attr} = {known}"
                    )
        if arg.type_attr and arg.type_attr not in attrs:
            for item in value if arg.number_attr else (value,):
                dtype = _dtype_of(item)
                if dtype is not None:
                    attrs[arg.type_attr] = dtype
                    break
    flat: list[Tensor] = []
    for arg, value in zip(definition.inputs, inputs, strict=True):
        if arg.type_list_attr:
            given = attrs.get(arg.type_list_attr)
            if given is not None and len(given) != len(value):
                raise ValueError(
                    f"{definition.name} {name!r}: {arg.name} has {len(value)} tensors, "
                    f"{arg.type_list_attr} {len(given)} types"
                )
            made = [
                _convert_one(
                    item, given[i] if given else None, None, f"{name}/{arg.name}_{i}", definition, arg, name
                )
                for i, item in enumerate(value)
            ]
            attrs[arg.type_list_attr] = tuple(tensor.dtype for tensor in made)
            flat.extend(made)
            continue
        dtype = arg.dtype or attrs.get(arg.type_attr)
        default = None
        if dtype is None:
            attr = definition.attrs[arg.type_attr]
            default = attr.default if attr.has_default else None
        if arg.number_attr:
            for i, item in enumerate(value):
                tensor = _convert_one(item, dtype, default, f"{name}/{arg.name}_{i}", definition, arg, name)
                if dtype is None:
                    dtype = attrs[arg.type_attr] = tensor.dtype
                flat.append(tensor)
        else:
            tensor = _convert_one(value, dtype, default, f"{name}/{arg.name}", definition, arg, name)
            if dtype is None:
                attrs[arg.type_attr] = tensor.dtype
            flat.append(tensor)
    return flat


def _holds_handle(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.dtype is dtypes.resource
    return isinstance(value, list | tuple) and any(
        isinstance(v, Tensor) and v.dtype is dtypes.resource for v in value
    )


def _with_values(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _value_of_handle(value, None)
    return (
        [_with_values(v) if isinstance(v, Tensor) else v for v in value]
        if isinstance(value, list | tuple)
        else value
    )


def _convert_one(
    value: Any,
    dtype: DType | None,
    preferred: DType | None,
    const_name: str,
    definition: OpDef,
    arg: ArgDef,
    name: str,
) -> Tensor:
    if isinstance(value, Tensor):
        if dtype is not None and value.dtype is not dtype:
            frames = user_frames()
            made = f"; at {frames[0][0]}:{frames[0][1]}" if frames else ""
            origin = f" (made at {value.op.user_line})" if value.op.user_line else ""
            raise DTypeError(
                f'{definition.name} "{name}": input {arg.name!r} is {describe(value)} {value.name!r}{origin}, '
                f"expected {dtype.name}{made}"
            )
        return value
    try:
        return convert_to_tensor(value, dtype, const_name + "/", preferred)
    except (TypeError, ValueError) as error:
        raise type(error)(f'{definition.name} "{name}": input {arg.name!r}: {error}') from None
