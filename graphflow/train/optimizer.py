"""Optimizer: what turns gradients into updates of variables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from graphflow import dtypes
from graphflow.dtypes import DType
from graphflow.function import FuncGraph
from graphflow.gradients import gradients
from graphflow.graph import (
    Graph,
    GraphKeys,
    IndexedSlices,
    Operation,
    Tensor,
    colocate_with,
    control_dependencies,
    get_default_graph,
    graph_of,
    name_scope,
)
from graphflow.opdef import convert_to_tensor, convert_to_tensor_or_indexed_slices, emit
from graphflow.ops.control import group
from graphflow.train import slot_creator
from graphflow.variable_scope import VariableScope, get_variable, variable_scope
from graphflow.variables import Variable, trainable_variables

# Under this key a graph remembers its training steps, so that a session can warn where one leaves out UPDATE_OPS.
TRAINING_STEPS = "training_steps"


def as_type(value: Any, dtype: DType) -> Tensor:
    """Returns `value` as a tensor of `dtype`, cast if need be."""
    tensor = convert_to_tensor(value)
    if tensor.dtype is dtype:
        return tensor
    cast: Tensor = emit.Cast(tensor, DstT=dtype)
    return cast


def sum_duplicate_rows(values: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Adds up the rows of equal indices.

    Args:
      values: [n, ...].
      indices: integers [n].

    Returns:
      The sums [m, ...] and the unique indices [m], in the order of first occurrence.
    """
    unique, positions = emit.Unique(indices)
    count = emit.StridedSlice(emit.Shape(unique), [0], [1], [1], shrink_axis_mask=1)
    return emit.UnsortedSegmentSum(values, positions, count), unique


def _key(variable: Any) -> tuple[Graph, str]:
    return variable.op.graph, variable.op.name


def _flatten(items: Any) -> list[Any]:
    if isinstance(items, (list, tuple)):
        return [leaf for item in items for leaf in _flatten(item)]
    if isinstance(items, dict):
        return [leaf for key in sorted(items) for leaf in _flatten(items[key])]
    return [items]


class Optimizer:
    """Base of all optimizers, with the members of TF1's `train.Optimizer`.

    A subclass implements `_resource_apply_dense(grad, var)` and `_resource_apply_sparse(grad, var, indices)`, or the
    older `_apply_dense(grad, var)` and `_apply_sparse(grad, var)`, each of which returns an operation; and
    `_create_slots(var_list)`, `_prepare()` and `_finish(update_ops, name_scope)` where it needs them.

    Args:
      use_locking: accepted; updates are never torn.
      name: the name of the update operations and of the slots.
      use_own_namescope_for_non_slot_vars: whether variables that belong to no other one get a scope of that name.

    Raises:
      ValueError: for an empty name.
    """

    GATE_NONE = 0
    GATE_OP = 1
    GATE_GRAPH = 2

    def __init__(
        self, use_locking: bool, name: str, use_own_namescope_for_non_slot_vars: bool = False
    ) -> None:
        if not name:
            raise ValueError("Must specify the optimizer name")
        self._use_locking = use_locking
        self._name = name
        self._slots: dict[str, dict[Any, Variable]] = {}
        self._non_slot_dict: dict[tuple[str, Graph], Variable] = {}
        self._non_slot_scope: VariableScope | None = None
        if use_own_namescope_for_non_slot_vars:
            with variable_scope(None, default_name=name) as scope:
                self._non_slot_scope = scope

    def get_name(self) -> str:
        """Returns the name."""
        return self._name

    def minimize(
        self,
        loss: Any,
        global_step: Variable | None = None,
        var_list: Any = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: Any = None,
        colocate_gradients_with_ops: bool = False,
        name: str | None = None,
        grad_loss: Any = None,
    ) -> Operation:
        """Adds a training step: `compute_gradients`, then `apply_gradients`.

        Args:
          loss: the tensor to make smaller.
          global_step: a variable to add one to after the update.
          var_list: the variables to update; default the trainable ones of the graph.
          gate_gradients: GATE_NONE, GATE_OP or GATE_GRAPH; see `compute_gradients`.
          aggregation_method: accepted; gradients are always added in one sum.
          colocate_gradients_with_ops: whether gradients ask for the device of their operation.
          name: the name of the returned operation.
          grad_loss: the gradient of `loss`; default ones.

        Returns:
          The operation that does one step.

        Raises:
          ValueError: if no variable has a gradient.
        """
        pairs = self.compute_gradients(
            loss, var_list, gate_gradients, aggregation_method, colocate_gradients_with_ops, grad_loss
        )
        if all(gradient is None for gradient, _ in pairs):
            raise ValueError(
                "No gradients provided for any variable, check your graph for ops that do not support gradients,"
                f" between variables {[str(variable) for _, variable in pairs]} and loss {loss}."
            )
        return self.apply_gradients(pairs, global_step=global_step, name=name)

    def compute_gradients(
        self,
        loss: Any,
        var_list: Any = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: Any = None,
        colocate_gradients_with_ops: bool = False,
        grad_loss: Any = None,
    ) -> list[tuple[Any, Any]]:
        """Returns (gradient, variable) for each variable; the gradient may be `IndexedSlices` or None.

        Args:
          loss: a tensor, or a callable that returns one.
          var_list: variables, possibly nested in lists; default the trainable ones of the graph.
          gate_gradients: GATE_GRAPH makes each gradient wait for all of them; the other two are alike here.
          aggregation_method: accepted.
          colocate_gradients_with_ops: whether gradients ask for the device of their operation.
          grad_loss: the gradient of `loss`; default ones.

        Raises:
          TypeError: if `var_list` holds something else than variables.
          ValueError: for another `gate_gradients`, an unsuitable dtype, or no variable at all.
        """
        if gate_gradients not in (Optimizer.GATE_NONE, Optimizer.GATE_OP, Optimizer.GATE_GRAPH):
            raise ValueError(
                "gate_gradients must be one of: Optimizer.GATE_NONE, Optimizer.GATE_OP, Optimizer.GATE_GRAPH."
                f"  Not {gate_gradients}"
            )
        if callable(loss):
            loss = loss()
        loss = convert_to_tensor(loss)
        self._check_dtypes([loss] if grad_loss is None else [loss, convert_to_tensor(grad_loss)])
        with loss.graph.as_default():
            variables = trainable_variables() if var_list is None else _flatten(var_list)
        if not variables:
            raise ValueError("No variables to optimize.")
        for variable in variables:
            if not isinstance(variable, (Variable, Tensor)):
                raise TypeError(f"Argument is not a variable: {variable!r}")
        found = gradients(
            loss,
            variables,
            grad_ys=grad_loss,
            gate_gradients=gate_gradients == Optimizer.GATE_OP,
            aggregation_method=aggregation_method,
            colocate_gradients_with_ops=colocate_gradients_with_ops,
        )
        if gate_gradients == Optimizer.GATE_GRAPH:
            found = _wait_for_all(found)
        pairs = list(zip(found, variables, strict=True))
        self._check_dtypes([variable for gradient, variable in pairs if gradient is not None])
        return pairs

    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[Any, Any]],
        global_step: Variable | None = None,
        name: str | None = None,
    ) -> Operation:
        """Adds the operation that updates the variables.

        Args:
          grads_and_vars: (gradient, variable) as from `compute_gradients`; pairs without a gradient are left out.
          global_step: a variable to add one to after the update.
          name: the operation's name; default that of the optimizer.

        Raises:
          TypeError: if a gradient is neither a tensor nor `IndexedSlices` nor None.
          ValueError: if there are no variables, or none has a gradient.
        """
        pairs = [(gradient, variable) for gradient, variable in grads_and_vars]
        if not pairs:
            raise ValueError("No variables provided.")
        chosen: list[tuple[Tensor | IndexedSlices, Any]] = []
        for gradient, variable in pairs:
            if not isinstance(variable, Variable):
                raise TypeError(f"Argument is not a variable: {variable!r}")
            if gradient is None:
                continue
            try:
                chosen.append((convert_to_tensor_or_indexed_slices(gradient), variable))
            except (TypeError, ValueError):
                raise TypeError(
                    f"Gradient must be convertible to a Tensor or IndexedSlices, or None: {gradient!r}"
                ) from None
        if not chosen:
            raise ValueError(
                f"No gradients provided for any variable: {[str(variable) for _, variable in pairs]}."
            )
        graph = graph_of([chosen[0][1]])  # in the body of a branch or a loop, that
        with graph.as_default():
            with control_dependencies(None):
                self._create_slots([variable for _, variable in chosen])
            step = self._apply(chosen, global_step, name)
            steps = graph.get_collection_ref(GraphKeys.TRAIN_OP)
            if step not in steps:
                steps.append(step)
            graph.registries.setdefault(TRAINING_STEPS, []).append(step)
        return step

    def _apply(
        self,
        pairs: Sequence[tuple[Tensor | IndexedSlices, Any]],
        global_step: Variable | None,
        name: str | None,
    ) -> Operation:
        with name_scope(name, self._name) as scope:
            self._prepare()
            updates = []
            for gradient, variable in pairs:
                with name_scope("update_" + variable.op.name), colocate_with(variable.op):
                    updates.append(self._update(gradient, variable))
            if global_step is None:
                result = self._finish(updates, scope)
            else:
                with control_dependencies([self._finish(updates, "update")]), colocate_with(global_step.op):
                    result = global_step.assign_add(1, name=scope, read_value=False)
        operation = result.op if isinstance(result, Tensor) else result
        assert isinstance(operation, Operation)
        return operation

    def _update(self, gradient: Tensor | IndexedSlices, variable: Any) -> Any:
        if isinstance(gradient, IndexedSlices):
            if variable.constraint is not None:
                raise RuntimeError("Cannot use a constraint function on a sparse variable.")
            return self._resource_apply_sparse_duplicate_indices(gradient.values, variable, gradient.indices)
        update = self._resource_apply_dense(gradient, variable)
        if variable.constraint is None:
            return update
        with control_dependencies([update]):
            return variable.assign(variable.constraint(variable.value()), read_value=False)

    # Slots.

    def get_slot(self, var: Any, name: str) -> Variable | None:
        """Returns the slot called `name` that was made for `var`, or None."""
        return self._slots.get(name, {}).get(_key(var))

    def get_slot_names(self) -> list[str]:
        """Returns the sorted names of the slots, such as ["m", "v"]."""
        return sorted(self._slots)

    def variables(self) -> list[Variable]:
        """Returns the optimizer's own variables in the default graph, by name; in a body, those of the graph around."""
        graph = get_default_graph()
        if isinstance(graph, FuncGraph):
            graph = graph.outermost
        found = [
            *self._non_slot_dict.values(),
            *(slot for slots in self._slots.values() for slot in slots.values()),
        ]
        return sorted((variable for variable in found if variable.graph is graph), key=lambda v: v.name)

    def _required_slot(self, var: Any, name: str) -> Variable:
        slot = self.get_slot(var, name)
        assert slot is not None, f"no slot {name!r} was made for {var.name!r}"
        return slot

    def _slot_dict(self, slot_name: str) -> dict[Any, Variable]:
        return self._slots.setdefault(slot_name, {})

    def _get_or_make_slot(self, var: Any, val: Any, slot_name: str, op_name: str) -> Variable:
        slots = self._slot_dict(slot_name)
        if _key(var) not in slots:
            slots[_key(var)] = slot_creator.create_slot(var, val, op_name)
        return slots[_key(var)]

    def _get_or_make_slot_with_initializer(
        self, var: Any, initializer: Any, shape: Any, dtype: Any, slot_name: str, op_name: str
    ) -> Variable:
        slots = self._slot_dict(slot_name)
        if _key(var) not in slots:
            slots[_key(var)] = slot_creator.create_slot_with_initializer(
                var, initializer, shape, dtype, op_name
            )
        return slots[_key(var)]

    def _zeros_slot(self, var: Any, slot_name: str, op_name: str) -> Variable:
        slots = self._slot_dict(slot_name)
        if _key(var) not in slots:
            slots[_key(var)] = slot_creator.create_zeros_slot(var, op_name)
        return slots[_key(var)]

    def _create_non_slot_variable(self, initial_value: Any, name: str, colocate_with: Any) -> Variable:
        key = (name, colocate_with.graph)
        variable = self._non_slot_dict.get(key)
        if variable is None:
            if self._non_slot_scope is not None:
                with name_scope(""), variable_scope(self._non_slot_scope):
                    variable = get_variable(name, initializer=initial_value, trainable=False)
            else:
                variable = Variable(initial_value, name=name, trainable=False)
            self._non_slot_dict[key] = variable
        return variable

    def _get_non_slot_variable(self, name: str, graph: Graph | None = None) -> Variable | None:
        graph = graph or get_default_graph()
        # Variables are in the graph that is no function's body.
        home = graph.outermost if isinstance(graph, FuncGraph) else graph
        return self._non_slot_dict.get((name, home))

    def _non_slot_variables(self) -> Iterable[Variable]:
        return self._non_slot_dict.values()

    # What subclasses fill in.

    def _valid_dtypes(self) -> set[DType]:
        return {dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64}

    def _check_dtypes(self, tensors: Sequence[Any]) -> None:
        valid = self._valid_dtypes()
        for tensor in tensors:
            if tensor.dtype not in valid:
                raise ValueError(
                    f"Invalid type {tensor.dtype!r} for {tensor.name}, expected: {sorted(d.name for d in valid)}."
                )

    def _create_slots(self, var_list: Sequence[Any]) -> None:
        """Makes the slots of the given variables."""

    def _prepare(self) -> None:
        """Makes the tensors that all updates share."""

    def _apply_dense(self, grad: Tensor, var: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} applies no dense gradients")

    def _resource_apply_dense(self, grad: Tensor, handle: Any) -> Any:
        return self._apply_dense(grad, handle)

    def _apply_sparse(self, grad: IndexedSlices, var: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} applies no sparse gradients")

    def _resource_apply_sparse(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        return self._apply_sparse(IndexedSlices(grad, indices), handle)

    def _resource_apply_sparse_duplicate_indices(self, grad: Tensor, handle: Any, indices: Tensor) -> Any:
        """Applies rows whose indices may repeat; those rows are added up first."""
        summed, unique = sum_duplicate_rows(grad, indices)
        return self._resource_apply_sparse(summed, handle, unique)

    def _finish(self, update_ops: Sequence[Any], name_scope: str) -> Operation:
        return group(*update_ops, name=name_scope)

    @staticmethod
    def _call_if_callable(param: Any) -> Any:
        return param() if callable(param) else param


def _wait_for_all(found: Sequence[Any]) -> list[Any]:
    parts = [gradient for gradient in found if gradient is not None]
    result: list[Any] = []
    with control_dependencies([part.op for part in parts]):
        for gradient in found:
            if gradient is None:
                result.append(None)
            elif isinstance(gradient, IndexedSlices):
                result.append(
                    IndexedSlices(emit.Identity(gradient.values), gradient.indices, gradient.dense_shape)
                )
            else:
                result.append(emit.Identity(gradient))
    return result
