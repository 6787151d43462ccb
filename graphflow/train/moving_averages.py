"""Exponential moving averages of variables and tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from graphflow import dtypes
from graphflow.graph import GraphKeys, Operation, Tensor, control_dependencies, name_scope
from graphflow.initializers import zeros_initializer
from graphflow.opdef import convert_to_tensor, emit
from graphflow.ops.control import group
from graphflow.train import slot_creator
from graphflow.train.optimizer import as_type
from graphflow.variable_scope import get_variable, get_variable_scope, variable_scope
from graphflow.variables import Variable, global_variables, moving_average_variables, trainable_variables


def assign_moving_average(
    variable: Variable, value: Any, decay: Any, zero_debias: bool = True, name: str | None = None
) -> Tensor:
    """Moves an average: `variable = variable * decay + value * (1 - decay)`.

    Args:
      variable: the average.
      value: the new value, of the variable's shape.
      decay: a number or scalar tensor in [0, 1).
      zero_debias: whether the variable started at zero and the bias of that is to be taken out (section 3 of the
        Adam paper); keeps two more variables, "biased" and "local_step".
      name: the name of the operations.

    Returns:
      A tensor of the new average.
    """
    with name_scope(name, "AssignMovingAvg") as scope:
        rate = emit.Sub(1.0, decay) if isinstance(decay, (Tensor, Variable)) else 1.0 - decay
        rate = as_type(convert_to_tensor(rate, name="decay"), variable.dtype)
        value = convert_to_tensor(value, dtype=variable.dtype)
        if zero_debias:
            return _assign_without_bias(variable, value, rate)
        delta = emit.Mul(emit.Sub(variable.value(), value), rate)
        updated: Tensor = variable.assign_sub(delta, name=scope)
        return updated


def _assign_without_bias(variable: Variable, value: Tensor, rate: Tensor) -> Tensor:
    with variable_scope(variable.op.name, values=[variable.handle]):
        with control_dependencies(None):
            biased = get_variable(
                _free_name("biased"), variable.shape, variable.dtype, zeros_initializer(), trainable=False
            )
            step = get_variable(
                _free_name("local_step"), [], variable.dtype, zeros_initializer(), trainable=False
            )
        average = biased.assign_sub(emit.Mul(emit.Sub(biased.value(), value), rate))
        count = step.assign_add(1)
        factor = emit.Sub(1.0, emit.Pow(emit.Sub(1.0, rate), count))
        updated: Tensor = variable.assign(emit.RealDiv(average, factor))
        return updated


def _free_name(name: str) -> str:
    scope = get_variable_scope()
    if scope.reuse:
        return name
    taken = {variable.op.name for variable in scope.global_variables()}
    candidate, index = name, 0
    while f"{scope.name}/{candidate}" in taken:
        index += 1
        candidate = f"{name}_{index}"
    return candidate


def weighted_moving_average(
    value: Any,
    decay: Any,
    weight: Any,
    truediv: bool = True,
    collections: Any = None,
    name: str | None = None,
) -> Tensor:
    """Returns the moving average of `value * weight` over that of `weight`, moved on by one step.

    Args:
      value: a tensor.
      decay: a number or scalar tensor in [0, 1).
      weight: a tensor that can be multiplied with `value`.
      truediv: accepted; the division is a true one.
      collections: the collections of the two averages; default the global variables.
      name: the name of the operations.
    """
    keys = [GraphKeys.GLOBAL_VARIABLES] if collections is None else collections
    value, weight = convert_to_tensor(value), convert_to_tensor(weight)
    with variable_scope(name, "WeightedMovingAvg", [value, weight]):
        averages = [
            get_variable(
                what, tensor.shape, tensor.dtype, zeros_initializer(), trainable=False, collections=keys
            )
            for what, tensor in (("value_x_weight", value), ("weight", weight))
        ]
        numerator = assign_moving_average(averages[0], emit.Mul(value, weight), decay, zero_debias=False)
        denominator = assign_moving_average(averages[1], weight, decay, zero_debias=False)
        result: Tensor = emit.RealDiv(numerator, denominator)
        return result


class ExponentialMovingAverage:
    """Keeps a moving average ("shadow") of each variable or tensor it is applied to.

    Args:
      decay: a number or scalar tensor in [0, 1), close to 1.
      num_updates: the number of updates so far; lets the decay start low: `min(decay, (1 + n) / (10 + n))`.
      zero_debias: whether averages of tensors start at zero without the bias of that.
      name: the name of the operations and of the shadows ("w/ExponentialMovingAverage").
    """

    def __init__(
        self,
        decay: Any,
        num_updates: Any = None,
        zero_debias: bool = False,
        name: str = "ExponentialMovingAverage",
    ) -> None:
        self._decay = decay
        self._num_updates = num_updates
        self._zero_debias = zero_debias
        self._name = name
        self._averages: dict[Any, Variable] = {}

    @property
    def name(self) -> str:
        """The name."""
        return self._name

    def apply(self, var_list: Sequence[Any] | None = None) -> Operation:
        """Adds the operation that moves all averages on; makes the shadows that do not exist.

        Args:
          var_list: variables or tensors; default the trainable variables.

        Raises:
          TypeError: if the dtype of one is not floating.
        """
        chosen = trainable_variables() if var_list is None else list(var_list)
        unbiased: set[Any] = set()
        for item in chosen:
            if not item.dtype.is_floating:
                raise TypeError(f"The variables must be half, float, or double: {item.name}")
            if item in self._averages:
                continue
            with control_dependencies(None):
                if isinstance(item, Variable):
                    average = slot_creator.create_slot(item, item.initialized_value(), self._name)
                    item.graph.add_to_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, item)
                else:
                    average = slot_creator.create_zeros_slot(item, self._name)
                    if self._zero_debias:
                        unbiased.add(item)
            self._averages[item] = average
        with name_scope(self._name) as scope:
            decay = convert_to_tensor(self._decay, dtype=dtypes.float32, name="decay")
            if self._num_updates is not None:
                count = as_type(self._num_updates, dtypes.float32)
                decay = emit.Minimum(decay, emit.RealDiv(emit.AddV2(1.0, count), emit.AddV2(10.0, count)))
            updates = [
                assign_moving_average(self._averages[item], item, decay, zero_debias=item in unbiased)
                for item in chosen
            ]
            return group(*updates, name=scope)

    def average(self, var: Any) -> Variable | None:
        """Returns the shadow of a variable or tensor, or None if it has none."""
        return self._averages.get(var)

    def average_name(self, var: Any) -> str:
        """Returns the name under which a checkpoint holds the shadow of `var`."""
        if var in self._averages:
            return self._averages[var].op.name
        return f"{var.op.name}/{self._name}"

    def variables_to_restore(self, moving_avg_variables: Iterable[Any] | None = None) -> dict[str, Variable]:
        """Returns a map for a Saver that puts averages where the variables are.

        Args:
          moving_avg_variables: variables to restore from their averages; default all trainable variables and those
            that have an average.
        """
        if moving_avg_variables is None:
            chosen = dict.fromkeys([*trainable_variables(), *moving_average_variables()])
        else:
            chosen = dict.fromkeys(moving_avg_variables)
        result = {self.average_name(variable): variable for variable in chosen}
        taken = {variable.op.name for variable in chosen}
        shadows = {average.op.name for average in self._averages.values()}
        for variable in global_variables():
            if variable.op.name not in taken and variable.op.name not in shadows:
                result[variable.op.name] = variable
        return result
