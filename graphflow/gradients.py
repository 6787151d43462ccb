"""Symbolic differentiation: the reverse walk that adds gradient operations to the graph. It names no op's rule.

Rules stand with their ops. The driver does what they share: it finds what lies between xs and ys, adds up the
cotangents of a tensor in one n-ary sum, keeps gathers sparse, and sums a broadcast cotangent back to the shape of
the input it belongs to.
"""

from __future__ import annotations

import enum
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from graphflow import dtypes
from graphflow.collector import without_collector
from graphflow.graph import (
    Graph,
    IndexedSlices,
    Operation,
    Tensor,
    get_default_graph,
    name_scope,
)
from graphflow.opdef import (
    OpDef,
    constant,
    convert_n_to_tensor,
    convert_to_tensor,
    emit,
    get_op,
    gradient_rule,
    register_gradient,
    register_tensor_conversion_function,
)

Gradient = Tensor | IndexedSlices


class UnconnectedGradients(enum.Enum):
    """What the gradient is where ys do not depend on an x."""

    NONE = "none"
    ZERO = "zero"


class AggregationMethod:
    """Accepted for TF1 programs: cotangents are always added in one n-ary sum of fixed order."""

    ADD_N = 0
    DEFAULT = 0
    EXPERIMENTAL_TREE = 1
    EXPERIMENTAL_ACCUMULATE_N = 2


class RegisterGradient:
    """Decorator that registers a gradient rule under an op type or a name for `gradient_override_map`."""

    def __init__(self, op_type: str) -> None:
        if not isinstance(op_type, str):
            raise TypeError("op_type must be a string")
        self._op_type = op_type

    def __call__(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Registers `rule(op, *dys)`."""
        register_gradient(self._op_type, rule)
        return rule


def NotDifferentiable(op_type: str) -> None:
    """Says that no gradient flows through ops of this type."""
    get_op(op_type).not_differentiable()


NoGradient = NotDifferentiable


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _source(x: Any) -> Tensor:
    """Returns the tensor at which the gradient with respect to `x` gathers: a variable's is its handle."""
    handle = (
        x
        if isinstance(x, Tensor)
        else x.values
        if isinstance(x, IndexedSlices)
        else getattr(x, "handle", None)
    )
    tensor = handle if isinstance(handle, Tensor) else convert_to_tensor(x)
    graph = get_default_graph()
    return graph.capture(tensor) if graph.building_function and graph.accepts(tensor.graph) else tensor


def has_gradient(tensor: Tensor) -> bool:
    """Whether a tensor is of a dtype that gradients are of: handles stand for variables, variants for lists."""
    dtype = tensor.dtype
    return dtype.is_floating or dtype.is_complex or dtype is dtypes.resource or dtype is dtypes.variant


def gradients(
    ys: Any,
    xs: Any,
    grad_ys: Any = None,
    name: str = "gradients",
    colocate_gradients_with_ops: bool = False,
    gate_gradients: Any = False,
    aggregation_method: Any = None,
    stop_gradients: Any = None,
    unconnected_gradients: Any = UnconnectedGradients.NONE,
) -> list[Any]:
    """Returns the derivatives of the sum of `ys` with respect to each of `xs`, as new operations.

    Args:
      ys: a tensor or list of tensors.
      xs: a tensor or variable, or a list of them.
      grad_ys: cotangents of ys, None for ones; a list as long as ys.
      name: the name scope of the new operations.
      colocate_gradients_with_ops: accepted; placement follows the forward operation in any case.
      gate_gradients: accepted; the order within a run is fixed in any case.
      aggregation_method: accepted, see `AggregationMethod`.
      stop_gradients: tensors (or variables) that count as constants.
      unconnected_gradients: `UnconnectedGradients` or its value: None or zeros where nothing connects.

    Returns:
      One Tensor, IndexedSlices or None per x, of the shape and dtype of the x.

    Raises:
      LookupError: if an operation on the way has no gradient.
      TypeError: if a y has a dtype that has no gradient.
      ValueError: if a cotangent's shape does not fit its y.
    """
    ys, xs = _as_list(ys), _as_list(xs)
    unconnected = UnconnectedGradients(unconnected_gradients)
    grad_list = [None] * len(ys) if grad_ys is None else _as_list(grad_ys)
    if len(grad_list) != len(ys):
        raise ValueError(f"Passed {len(grad_list)} grad_ys for {len(ys)} ys")
    all_values = [v for v in (*ys, *xs, *grad_list) if v is not None]
    with without_collector(), name_scope(name, "gradients", all_values):
        y_tensors = [y.values if isinstance(y, IndexedSlices) else convert_to_tensor(y) for y in ys]
        sources = [_source(x) for x in xs]
        stops = {_source(t) for t in _as_list(stop_gradients)} if stop_gradients is not None else set()
        return _Walk(y_tensors, sources, stops).run(grad_list, xs, unconnected)


def walk(
    ys: list[Tensor], xs: list[Tensor], grad_ys: list[Any], unconnected: UnconnectedGradients
) -> list[Any]:
    """As `gradients`, of tensors of one graph; operations are made in the default graph, which can be another."""
    return _Walk(ys, xs, set()).run(grad_ys, xs, unconnected)


class _Walk:
    """One reverse walk."""

    def __init__(self, ys: list[Tensor], sources: list[Tensor], stops: set[Tensor]) -> None:
        self.ys = ys
        self.sources = sources
        self.stops = stops
        self.pending: dict[Tensor, list[Gradient]] = {}

    def run(self, grad_ys: list[Any], xs: list[Any], unconnected: UnconnectedGradients) -> list[Any]:
        between, reached = self._between()
        for i, (y, grad) in enumerate(zip(self.ys, grad_ys, strict=True)):
            self.pending.setdefault(y, []).append(_start(y, grad, i))
        keep = set(self.sources)
        results: dict[Tensor, Gradient] = {}
        # Consumers are made after producers, so descending creation order meets every consumer first.
        for operation in between:
            cotangents: list[Any] = []
            for output in operation.outputs:
                found = self.pending.pop(output, None)
                if found is None:
                    cotangents.append(None)
                    continue
                total = _sum(found, output)
                if output in keep:
                    results[output] = total
                cotangents.append(None if output in self.stops else total)
            if any(c is not None for c in cotangents):
                self._step(operation, cotangents, reached)
        for source in keep:
            if source in self.pending:
                results[source] = _sum(self.pending.pop(source), source)
        answers: list[Any] = []
        for x, source in zip(xs, self.sources, strict=True):
            grad = results.get(source)
            if grad is None and unconnected is UnconnectedGradients.ZERO:
                grad = emit.ZerosLike(convert_to_tensor(x))
            answers.append(grad)
        return answers

    def _between(self) -> tuple[list[Operation], set[Tensor]]:
        """Returns the operations between xs and ys, latest first, and the tensors that depend on an x."""
        seen: set[Operation] = set()
        stack = [y.op for y in self.ys]
        while stack:
            operation = stack.pop()
            if operation in seen:
                continue
            seen.add(operation)
            stack.extend(t.op for t in operation.inputs if t not in self.stops)
        reached: set[Tensor] = set(self.sources)
        ordered = sorted(seen, key=lambda operation: operation._id)
        result = []
        for operation in ordered:
            through = any(t in reached for t in operation.inputs if t not in self.stops or t in self.sources)
            if through:
                reached.update(t for t in operation.outputs if has_gradient(t))
            if through or any(t in reached for t in operation.outputs):
                result.append(operation)
        result.reverse()
        return result, reached

    def _step(self, operation: Operation, cotangents: list[Any], reached: set[Tensor]) -> None:
        wanted = [t in reached and has_gradient(t) for t in operation.inputs]
        if not any(wanted):
            return
        op_def: OpDef = operation.op_def
        override = operation.attrs.get("_gradient_op_type")
        rule = gradient_rule(override or op_def.name)
        if rule is None or (override is None and not op_def.differentiable):
            if override is None and not op_def.differentiable:
                return
            made = f" made at {operation.user_line}" if operation.user_line else ""
            raise LookupError(
                f"No gradient defined for operation {operation.name!r} (op type: {override or op_def.name}){made}. "
                "Use gf.stop_gradient, gf.custom_gradient or gf.RegisterGradient."
            )
        graph = get_default_graph()
        inputs = tuple(operation.inputs)  # as they are now: rules of functions may add some
        with (
            graph.gradient_of(operation),
            graph.colocate_with(operation) if operation.device and operation.graph is graph else _nowhere,
            graph.name_scope(operation.name.rsplit("/", 1)[-1] + "_grad"),
        ):
            if not op_def.passes_slices:
                cotangents = [_dense(c) if isinstance(c, IndexedSlices) else c for c in cotangents]
            if op_def.has_functions and override is None:
                results = rule(operation, *cotangents, wanted=wanted)
            else:
                results = rule(operation, *cotangents)
            results = list(results) if isinstance(results, list | tuple) else [results]
            if len(results) < len(inputs) or (len(results) > len(inputs) and not op_def.has_functions):
                raise ValueError(
                    f"Num gradients {len(results)} generated for op {operation} do not match num inputs {len(inputs)}"
                )
            for i, (tensor, grad) in enumerate(zip(inputs, results, strict=False)):
                if grad is None or not wanted[i]:
                    continue
                if op_def.broadcasting and isinstance(grad, Tensor):
                    grad = sum_to_input(grad, operation, i)
                if isinstance(grad, Tensor) and tensor.dtype is not dtypes.resource:
                    if grad.dtype is not tensor.dtype:
                        raise TypeError(
                            f"the gradient of {operation.name!r} ({op_def.name}) for its input {tensor.name!r} is "
                            f"{grad.dtype.name}, the input is {tensor.dtype.name}"
                        )
                    if tensor.shape.is_compatible_with(grad.shape):
                        grad.set_shape(tensor.shape)
                self.pending.setdefault(tensor, []).append(grad)


class _Nowhere:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        return None


_nowhere = _Nowhere()


def _start(y: Tensor, grad: Any, index: int) -> Gradient:
    if grad is not None:
        if isinstance(grad, IndexedSlices) or y.is_variable:
            return grad  # type: ignore[no-any-return]
        tensor = convert_to_tensor(grad, y.dtype, f"grad_ys_{index}")
        if not tensor.shape.is_compatible_with(y.shape):
            raise ValueError(
                f"grad_ys[{index}] has shape {tensor.shape}, its y {y.name!r} has shape {y.shape}"
            )
        return tensor
    if y.dtype.is_complex:
        raise TypeError(f"Gradients of complex tensors must set grad_ys (y.dtype = {y.dtype.name})")
    if not y.dtype.is_floating and not y.dtype.is_integer:
        raise TypeError(
            f"Gradients of {y.name!r} of dtype {y.dtype.name} are not defined; ys must be floating"
        )
    one = constant(1, y.dtype, name=f"grad_ys_{index}")
    if y.shape.is_fully_defined() and y.shape.rank == 0:
        return one
    filled = emit.Fill(emit.Shape(y), one)
    filled.set_shape(y.shape)
    assert isinstance(filled, Tensor)
    return filled


def _sum(grads: list[Gradient], of: Tensor) -> Gradient:
    if len(grads) == 1:
        return grads[0]
    if all(isinstance(grad, IndexedSlices) for grad in grads):
        slices = [grad for grad in grads if isinstance(grad, IndexedSlices)]
        indices = [s.indices for s in slices]
        if len({t.dtype for t in indices}) > 1:
            indices = [t if t.dtype is dtypes.int64 else emit.Cast(t, DstT=dtypes.int64) for t in indices]
        return IndexedSlices(
            emit.ConcatV2([s.values for s in slices], 0),
            emit.ConcatV2(indices, 0),
            next((s.dense_shape for s in slices if s.dense_shape is not None), None),
        )
    total = emit.AddN([_dense(grad) if isinstance(grad, IndexedSlices) else grad for grad in grads])
    assert isinstance(total, Tensor)
    return total


def _dense(slices: IndexedSlices) -> Tensor:
    if slices.dense_shape is None:
        raise ValueError(f"Tensor conversion requested for IndexedSlices without dense_shape: {slices}")
    rows = emit.StridedSlice(slices.dense_shape, [0], [1], [1], shrink_axis_mask=1)
    dense = emit.UnsortedSegmentSum(slices.values, slices.indices, rows)
    assert isinstance(dense, Tensor)
    return dense


def indexed_slices_to_tensor(
    value: IndexedSlices, dtype: Any = None, name: str | None = None, as_ref: bool = False
) -> Any:
    """Converts IndexedSlices to a dense tensor; registered as a tensor conversion."""
    if dtype is not None and not dtypes.as_dtype(dtype).is_compatible_with(value.dtype):
        raise ValueError(
            f"Tensor conversion requested dtype {dtype} for IndexedSlices with dtype {value.dtype}"
        )
    return _dense(value)


def sum_to_input(grad: Tensor, operation: Operation, index: int) -> Tensor:
    """Sums the cotangent of a broadcast input back to that input's shape.

    Args:
      grad: cotangent with the broadcast shape (or the input's own, where a rule reduced it).
      operation: an operation whose inputs are broadcast against each other.
      index: which input.
    """
    x = operation.inputs[index]
    want, have = x.shape.as_tuple(), grad.shape.as_tuple()
    if want is None or have is None:
        return _sum_dynamically(grad, x)
    if want == have and None not in want:
        return grad
    others = [t.shape.as_tuple() for t in operation.inputs if t is not x]
    lead = len(have) - len(want)
    axes = list(range(lead))
    for axis, size in enumerate(want):
        out = have[lead + axis]
        if size == 1 and out == 1:
            continue
        if size == 1 and out is not None:
            axes.append(lead + axis)
        elif size is None or (size == 1 and out is None):
            # Equal to the result's size if no other input can have stretched it.
            if all(
                o is not None
                and (len(have) - len(o) > lead + axis or o[lead + axis - len(have) + len(o)] == 1)
                for o in others
            ):
                continue
            return _sum_dynamically(grad, x)
    if not axes:
        return grad
    summed = emit.Sum(grad, constant(axes, dtypes.int32, name="axes"), keep_dims=False)
    if summed.shape.as_tuple() != want or None in want:
        summed = emit.Reshape(summed, _shape_tensor(x))
    assert isinstance(summed, Tensor)
    return summed


def _shape_tensor(x: Tensor) -> Tensor:
    dims = x.shape.as_tuple()
    if dims is not None and None not in dims:
        return constant(list(dims), dtypes.int32, name="shape")
    shape = emit.Shape(x)
    assert isinstance(shape, Tensor)
    return shape


def _sum_dynamically(grad: Tensor, x: Tensor) -> Tensor:
    wanted = emit.Shape(x)
    axes, _ = emit.BroadcastGradientArgs(wanted, emit.Shape(grad))
    summed = emit.Reshape(emit.Sum(grad, axes, keep_dims=False), wanted)
    summed.set_shape(x.shape)
    assert isinstance(summed, Tensor)
    return summed


def hessians(
    ys: Any,
    xs: Any,
    name: str = "hessians",
    colocate_gradients_with_ops: bool = False,
    gate_gradients: Any = False,
    aggregation_method: Any = None,
) -> list[Tensor]:
    """Returns the Hessian of the sum of `ys` with respect to each x: a tensor of shape `x.shape + x.shape`.

    Raises:
      ValueError: if the shape of an x is not fully known.
    """
    results = []
    with name_scope(name, "hessians", [*_as_list(ys), *_as_list(xs)]):
        for x in _as_list(xs):
            shape = x.shape.as_tuple()
            if shape is None or None in shape:
                raise ValueError(f"Cannot compute Hessian because the shape of {x.name!r} is not fully known")
            count = functools.reduce(lambda a, b: a * b, shape, 1)
            (grad,) = gradients(ys, x)
            if grad is None:
                raise ValueError(f"ys do not depend on {x.name!r}")
            flat = emit.Reshape(grad, constant([count], dtypes.int32))
            rows = []
            for i in range(count):
                element = emit.StridedSlice(flat, [i], [i + 1], [1], shrink_axis_mask=1)
                (row,) = gradients(element, x, unconnected_gradients=UnconnectedGradients.ZERO)
                rows.append(convert_to_tensor(row))
            results.append(emit.Reshape(emit.Pack(rows), constant([*shape, *shape], dtypes.int32)))
    return results


_custom_ids = itertools.count()


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for a function that brings its own gradient.

    Args:
      f: `f(*tensors) -> (result, grad_fn)`, where result is a tensor or a list of them and
        `grad_fn(*dys)` returns one cotangent per argument. If `f` reads variables, `grad_fn` must take
        `variables=` and return `(cotangents, variable cotangents)`.

    Returns:
      A function of tensors that gives `result`.
    """

    @functools.wraps(f)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        inputs = [convert_to_tensor(arg) for arg in args]
        graph = get_default_graph()
        first_new = len(graph._operations)
        with name_scope(None, "CustomGradient", inputs):
            # Gradients stop at these copies, so that what f does inside is not differentiated.
            inside = [emit.Identity(x) for x in inputs]
            result, grad_fn = f(*inside, **kwargs)
            handles = _variables_read(graph, first_new)
            single = not isinstance(result, list | tuple)
            outputs = convert_n_to_tensor([result] if single else result)
            rule_name = f"GraphflowCustomGradient_{next(_custom_ids)}"
            sources = [*inputs, *handles]

            def rule(op: Operation, *dys: Any) -> list[Any]:
                dense = [
                    emit.ZerosLike(output) if dy is None else dy
                    for output, dy in zip(op.outputs[: len(outputs)], dys[: len(outputs)], strict=True)
                ]
                if handles:
                    grads, variable_grads = grad_fn(*dense, variables=_variables_of(graph, handles))
                else:
                    grads, variable_grads = grad_fn(*dense), []
                return [None] * len(outputs) + _as_list(grads) + _as_list(variable_grads)

            register_gradient(rule_name, rule)
            with graph.gradient_override_map({"IdentityN": rule_name}):
                wrapped = emit.IdentityN([*outputs, *sources])
        wrapped = wrapped[: len(outputs)]
        if single:
            return wrapped[0]
        return type(result)(wrapped) if isinstance(result, list | tuple) else wrapped

    return decorated


def grad_pass_through(f: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that gives what `f` gives and through which gradients flow as through an identity.

    Args:
      f: takes tensors and returns a tensor or as many as it takes. Variables that it uses get no gradients.
    """

    def with_gradient(*args: Any, **kwargs: Any) -> tuple[Any, Callable[..., Any]]:
        def passed_on(*dys: Any, variables: Sequence[Any] | None = None) -> Any:
            return dys if variables is None else (dys, [None] * len(variables))

        return f(*args, **kwargs), passed_on

    return functools.wraps(f)(custom_gradient(with_gradient))


def _variables_read(graph: Graph, first: int) -> list[Tensor]:
    handles: dict[Tensor, None] = {}
    for operation in graph._operations[first:]:
        if operation.type == "ReadVariableOp":
            handles[operation.inputs[0]] = None
    return list(handles)


def _variables_of(graph: Graph, handles: Sequence[Tensor]) -> list[Any]:
    known: dict[Tensor, Any] = {}
    for items in graph._collections.values():
        for item in items:
            handle = getattr(item, "handle", None)
            if isinstance(handle, Tensor):
                known[handle] = item
    return [known.get(handle, handle) for handle in handles]


register_tensor_conversion_function(IndexedSlices, indexed_slices_to_tensor)
