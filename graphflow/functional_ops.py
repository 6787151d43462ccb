"""Loops over the rows of tensors: map_fn, scan, foldl, foldr; and `Defun`, functions that the graph calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphflow import dtypes, nest
from graphflow.control_flow import while_loop
from graphflow.dtypes import DType, as_dtype
from graphflow.function import FuncGraph, Function, finished, unique_function_name
from graphflow.graph import Operation, Tensor, control_dependencies, get_default_graph, name_scope
from graphflow.opdef import constant, convert_to_tensor, emit, register_gradient
from graphflow.ops.functional import is_stateful
from graphflow.shapes import TensorShape
from graphflow.tensor_array import TensorArray

# -- rows -------------------------------------------------------------------------------------------------------


class _Rows:
    """A structure of tensors whose rows are taken one after another."""

    def __init__(self, elems: Any) -> None:
        self.structure = elems
        self.tensors = [convert_to_tensor(leaf, name="elem") for leaf in nest.flatten(elems)]
        if not self.tensors:
            raise ValueError("elems must be a Tensor or (possibly nested) sequence of Tensors. Got none.")
        for tensor in self.tensors:
            if tensor.shape.rank == 0:
                raise ValueError(f"Elements in elems must be 1+ dimensional Tensors, not scalars: {tensor!r}")
        self.length = TensorShape([None])
        for tensor in self.tensors:
            if tensor.shape.rank is not None:
                self.length = self.length.merge_with(tensor.shape[:1])
        known = self.length.as_list()[0]
        if known is not None:
            self.count: Tensor = constant(known, dtypes.int32, name="n")
        else:
            shape = emit.Shape(self.tensors[0])
            self.count = emit.StridedSlice(shape, [0], [1], [1], shrink_axis_mask=1)
        self.arrays = [
            TensorArray(tensor.dtype, size=self.count, infer_shape=True).unstack(tensor) for tensor in self.tensors
        ]  # fmt: skip

    def at(self, index: Any) -> Any:
        """The structure of the rows at an index."""
        return nest.pack_sequence_as(self.structure, [array.read(index) for array in self.arrays])


def _check_function(function: Any) -> None:
    if not callable(function):
        raise TypeError(f"{getattr(function, '__name__', function)} is not callable.")


def _with_length(tensor: Tensor, length: TensorShape) -> Tensor:
    if tensor.shape.rank is not None:
        tensor.set_shape(length.concatenate(tensor.shape[1:]))
    return tensor


def foldl(
    fn: Callable[..., Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    name: str | None = None,
) -> Any:
    """Returns fn(…fn(fn(initializer, row 0), row 1)…, last row).

    Args:
      fn: takes what was reached so far and a row, gives what is reached then.
      elems: a tensor or a structure of tensors with as many rows.
      initializer: the first value of what is reached; default the first row.
      parallel_iterations: accepted.
      back_prop: False says that no gradient flows back.
      swap_memory: accepted.
      name: a name scope.

    Raises:
      TypeError: if `fn` is not callable.
      ValueError: if there are no rows to take.
    """
    return _fold(fn, elems, initializer, parallel_iterations, back_prop, swap_memory, name, "foldl")


def foldr(
    fn: Callable[..., Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    name: str | None = None,
) -> Any:
    """Returns fn(…fn(fn(initializer, last row), row before it)…, row 0); see `foldl`."""
    return _fold(fn, elems, initializer, parallel_iterations, back_prop, swap_memory, name, "foldr")


def _fold(
    fn: Callable[..., Any], elems: Any, initializer: Any, parallel_iterations: int, back_prop: bool, swap_memory: bool,
    name: str | None, kind: str,
) -> Any:  # fmt: skip
    _check_function(fn)
    backwards = kind == "foldr"
    with name_scope(name, kind, nest.flatten(elems)):
        rows = _Rows(elems)
        n = rows.count

        def place(i: Any) -> Any:
            return emit.Sub(emit.Sub(n, 1), i) if backwards else i

        if initializer is None:
            first: Any = 1
            start = rows.at(place(0))
        else:
            first = 0
            start = nest.map_structure(convert_to_tensor, initializer)

        def compute(i: Any, reached: Any) -> Any:
            return [emit.AddV2(i, 1), fn(reached, rows.at(place(i)))]

        _, result = while_loop(
            lambda i, _: emit.Less(i, n), compute, [constant(first, dtypes.int32), start],
            parallel_iterations=parallel_iterations, back_prop=back_prop, swap_memory=swap_memory,
            maximum_iterations=n,
        )  # fmt: skip
        return result


def scan(
    fn: Callable[..., Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    infer_shape: bool = True,
    reverse: bool = False,
    name: str | None = None,
) -> Any:
    """Returns all that `foldl` reaches on its way, stacked.

    Args:
      fn: takes what was reached so far and a row, gives what is reached then.
      elems: a tensor or a structure of tensors with as many rows.
      initializer: the first value of what is reached; default the first row, which is then the first result.
      parallel_iterations: accepted.
      back_prop: False says that no gradient flows back.
      swap_memory: accepted.
      infer_shape: False admits results of different shapes, which then cannot be stacked.
      reverse: whether the rows are taken last to first; results stand where their rows do.
      name: a name scope.

    Raises:
      TypeError: if `fn` is not callable.
      ValueError: if there are no rows to take.
    """
    _check_function(fn)
    with name_scope(name, "scan", nest.flatten(elems)):
        rows = _Rows(elems)
        n = rows.count

        def place(i: Any) -> Any:
            return emit.Sub(emit.Sub(n, 1), i) if reverse else i

        if initializer is None:
            structure = elems
            start = nest.flatten(rows.at(place(0)))
        else:
            structure = initializer
            start = [convert_to_tensor(leaf) for leaf in nest.flatten(initializer)]
        outputs = [
            TensorArray(
                tensor.dtype, size=n, infer_shape=infer_shape,
                element_shape=tensor.shape if infer_shape else None,
            )
            for tensor in start
        ]  # fmt: skip
        first = 0
        if initializer is None:
            first = 1
            outputs = [array.write(place(0), tensor) for array, tensor in zip(outputs, start, strict=True)]

        def compute(i: Any, reached: Any, arrays: Any) -> Any:
            at = place(i)
            result = fn(nest.pack_sequence_as(structure, list(reached)), rows.at(at))
            nest.assert_same_structure(structure, result)
            flat = [
                convert_to_tensor(leaf, before.dtype)
                for leaf, before in zip(nest.flatten(result), reached, strict=True)
            ]
            written = [array.write(at, leaf) for array, leaf in zip(arrays, flat, strict=True)]
            return [emit.AddV2(i, 1), flat, written]

        _, _, arrays = while_loop(
            lambda i, *_: emit.Less(i, n), compute, [constant(first, dtypes.int32), start, outputs],
            parallel_iterations=parallel_iterations, back_prop=back_prop, swap_memory=swap_memory,
            maximum_iterations=n,
        )  # fmt: skip
        stacked = [_with_length(array.stack(), rows.length) for array in arrays]
        return nest.pack_sequence_as(structure, stacked)


def map_fn(
    fn: Callable[..., Any],
    elems: Any,
    dtype: Any = None,
    parallel_iterations: int | None = None,
    back_prop: bool = True,
    swap_memory: bool = False,
    infer_shape: bool = True,
    name: str | None = None,
    fn_output_signature: Any = None,
) -> Any:
    """Returns what a function gives for each row, stacked.

    Args:
      fn: takes a row of each tensor of `elems`, in their structure.
      elems: a tensor or a structure of tensors with as many rows.
      dtype: a structure of dtypes like what `fn` returns; default the dtypes and structure of `elems`.
      parallel_iterations: accepted.
      back_prop: False says that no gradient flows back.
      swap_memory: accepted.
      infer_shape: False admits results of different shapes, which then cannot be stacked.
      name: a name scope.
      fn_output_signature: the later name of `dtype`.

    Raises:
      TypeError: if `fn` is not callable, or returns other dtypes.
      ValueError: if there are no rows to take, or results are nested in another way.
    """
    _check_function(fn)
    wanted = dtype if fn_output_signature is None else fn_output_signature
    with name_scope(name, "map", nest.flatten(elems)):
        rows = _Rows(elems)
        n = rows.count
        structure = elems if wanted is None else wanted
        kinds: list[DType] = [
            tensor.dtype for tensor in rows.tensors
        ] if wanted is None else [as_dtype(kind) for kind in nest.flatten(wanted)]  # fmt: skip
        outputs = [TensorArray(kind, size=n, infer_shape=infer_shape) for kind in kinds]

        def compute(i: Any, arrays: Any) -> Any:
            result = fn(rows.at(i))
            nest.assert_same_structure(structure, result, check_types=False)
            leaves = nest.flatten(result)
            return [
                emit.AddV2(i, 1),
                [
                    array.write(i, convert_to_tensor(leaf, kind))
                    for array, leaf, kind in zip(arrays, leaves, kinds, strict=True)
                ],
            ]

        _, arrays = while_loop(
            lambda i, _: emit.Less(i, n), compute, [constant(0, dtypes.int32), outputs],
            parallel_iterations=parallel_iterations or 10, back_prop=back_prop, swap_memory=swap_memory,
            maximum_iterations=n,
        )  # fmt: skip
        stacked = [_with_length(array.stack(), rows.length) for array in arrays]
        return nest.pack_sequence_as(structure, stacked)


# -- functions --------------------------------------------------------------------------------------------------


class Defun:
    """Decorator that makes a function of tensors one that the graph calls.

    Args:
      *input_types: the dtypes of the arguments.
      **kwargs: `func_name`, a name; `grad_func`, a `Defun` of arguments and cotangents that gives gradients;
        `python_grad_func(op, *dys)`, a rule that gives them; `shape_func(op)`, the shapes of the results; `out_names`
        and others of TensorFlow's, accepted.
    """

    def __init__(self, *input_types: Any, **kwargs: Any) -> None:
        self._types = [as_dtype(kind) for kind in input_types]
        self._options = kwargs

    def __call__(self, func: Callable[..., Any]) -> DefinedFunction:
        """Returns the function; its graph is made when it is first called."""
        if not callable(func):
            raise ValueError(f"function {func} must be callable")
        return DefinedFunction(func, self._types, **self._options)


class DefinedFunction:
    """A function that the graph calls; see `Defun`."""

    def __init__(
        self, func: Callable[..., Any], types: Sequence[DType], func_name: str | None = None, grad_func: Any = None,
        python_grad_func: Any = None, shape_func: Any = None, out_names: Any = None, **others: Any,
    ) -> None:  # fmt: skip
        self._func = func
        self._types = list(types)
        self.name = func_name or getattr(func, "__name__", "function").strip("<>")
        self._grad_func = grad_func
        self._python_grad_func = python_grad_func
        self._shape_func = shape_func
        self._made: dict[Any, tuple[Function, list[Tensor], Any]] = {}

    @property
    def declared_input_types(self) -> list[DType]:
        """The dtypes of the arguments."""
        return list(self._types)

    def _build(self, given: Sequence[Tensor]) -> tuple[Function, list[Tensor], Any]:
        outer = get_default_graph()
        key = (outer, tuple((tensor.dtype, tensor.shape) for tensor in given))
        found = self._made.get(key)
        if found is not None:
            return found
        graph = FuncGraph(unique_function_name(self.name), outer)
        with graph.as_default():
            arguments = [
                graph.add_input(tensor.dtype, tensor.shape, f"arg{i}") for i, tensor in enumerate(given)
            ]
            returned = self._func(*arguments)
            leaves = [] if returned is None else nest.flatten(returned)
            waits = [leaf for leaf in leaves if isinstance(leaf, Operation)]
            outputs = [convert_to_tensor(leaf) for leaf in leaves if not isinstance(leaf, Operation)]
            function = finished(graph, outputs, waits)
        found = self._made[key] = function, list(graph.captures), returned
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls it: adds an operation; takes one tensor per argument, and `name`."""
        if self._types and len(args) != len(self._types):
            raise ValueError(f"Expected number of arguments: {len(self._types)}, received: {len(args)}")
        types: list[Any] = list(self._types) or [None] * len(args)
        given = [convert_to_tensor(arg, kind) for arg, kind in zip(args, types, strict=True)]
        function, captured, returned = self._build(given)
        graph = get_default_graph()
        stateful = is_stateful(function)
        emitter = emit.StatefulPartitionedCall if stateful else emit.PartitionedCall
        override = self._override(len(given), len(captured))
        waits = list(function.graph.control_captures)
        with control_dependencies(waits), graph.gradient_override_map(override):
            outputs = emitter(
                [*given, *captured], Tout=[t.dtype for t in function.outputs], f=function,
                name=kwargs.get("name") or self.name,
            )  # fmt: skip
        if not function.outputs:
            return graph.get_operations()[-1]
        if self._shape_func is not None:
            for tensor, shape in zip(outputs, self._shape_func(outputs[0].op), strict=True):
                tensor.set_shape(shape)
        tensors = iter(outputs)
        operation = outputs[0].op
        leaves = [
            operation if isinstance(leaf, Operation) else next(tensors) for leaf in nest.flatten(returned)
        ]
        return nest.pack_sequence_as(returned, leaves)

    def _override(self, arguments: int, captured: int) -> dict[str, str]:
        if self._python_grad_func is None and self._grad_func is None:
            return {}
        name = f"GraphflowDefun_{self.name}_{id(self)}"

        def rule(op: Any, *dys: Any) -> list[Any]:
            if self._python_grad_func is not None:
                grads = self._python_grad_func(op, *dys)
            else:
                grads = self._grad_func(*op.inputs[:arguments], *dys)
            grads = list(grads) if isinstance(grads, list | tuple) else [grads]
            return grads + [None] * (len(op.inputs) - len(grads))

        if not hasattr(self, "_registered"):
            register_gradient(name, rule)
            self._registered = True
        return {"PartitionedCall": name, "StatefulPartitionedCall": name}

    @property
    def definition(self) -> Any:
        """The function itself, once it has been called."""
        return next(iter(self._made.values()))[0] if self._made else None


__all__ = ["DefinedFunction", "Defun", "foldl", "foldr", "map_fn", "scan"]
