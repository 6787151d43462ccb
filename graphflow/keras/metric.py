"""Metrics with a state: sums that batches are added to, and the figure that they make."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.dtypes import as_dtype, float32
from graphflow.graph import Operation, get_default_graph
from graphflow.keras.base_layer import Layer
from graphflow.keras.losses import same_rank, weights_for
from graphflow.keras.session import STATES, get_session
from graphflow.opdef import convert_to_tensor
from graphflow.ops import elementwise
from graphflow.ops.control import group
from graphflow.ops.reduction import reduce_mean, reduce_sum
from graphflow.ops.source import identity, ones_like, size
from graphflow.shapes import TensorShape
from graphflow.variables import VariableAggregation, VariableSynchronization

_WRITES = ("Assign", "ResourceScatter", "ResourceApply")


class Metric(Layer):
    """A figure over many batches.

    A class of one's own makes its state by `add_weight`, and gives `update_state`, which adds a batch to it, and
    `result`, which makes the figure of it. Calling the metric adds a batch and returns the figure after it.

    Args:
      name: its name; default that of its class.
      dtype: the dtype of its state; default float32.
    """

    _own_update: Callable[..., Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Metric:
        """Makes the metric, whose `update_state` gives one operation whatever the class returns."""
        made: Metric = super().__new__(cls)
        own: Any = made.update_state

        @functools.wraps(own)
        def update_state(*values: Any, **named: Any) -> Any:
            return made._updated(own, values, named)

        made.__dict__["update_state"] = update_state
        return made

    def __init__(self, name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(name=name, dtype=float32 if dtype is None else dtype, **kwargs)
        self.stateful = True
        self.built = True

    def _updated(self, own: Callable[..., Any], values: tuple[Any, ...], named: dict[str, Any]) -> Operation:
        graph = get_default_graph()
        before = len(graph.get_operations())
        returned = own(*values, **named)
        written = [op for op in graph.get_operations()[before:] if op.type.startswith(_WRITES)]
        update = group(*written, *([] if returned is None else [returned]))
        self._updates.append(update)
        return update

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Adds a batch; returns the figure after it."""
        update = self.update_state(*args, **kwargs)
        with update.graph.control_dependencies([update]):
            return identity(self.result())

    def update_state(self, *args: Any, **kwargs: Any) -> Any:
        """Returns an operation that adds a batch to the state."""
        raise NotImplementedError("Must be implemented in subclasses.")

    def result(self) -> Any:
        """Returns the figure of all batches until now."""
        raise NotImplementedError("Must be implemented in subclasses.")

    def reset_states(self) -> None:
        """Sets the state to zeros, in the session of Keras."""
        session = get_session()
        for weight in self.weights:
            weight.load(np.zeros(weight.shape.as_list(), weight.dtype.as_numpy_dtype), session)

    def add_weight(  # type: ignore[override]
        self, name: str, shape: Any = (), aggregation: VariableAggregation = VariableAggregation.SUM,
        synchronization: VariableSynchronization = VariableSynchronization.ON_READ, initializer: Any = None,
        dtype: Any = None,
    ) -> Any:  # fmt: skip
        """Makes a variable of the state; it stands in no collection, as training has no part in it."""
        made = super().add_weight(
            name=name, shape=shape, dtype=self._dtype if dtype is None else dtype, trainable=False,
            initializer="zeros" if initializer is None else initializer, collections=[],
            synchronization=synchronization, aggregation=aggregation,
        )  # fmt: skip
        get_default_graph().registries.setdefault(STATES, []).append(made)
        return made

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make the metric again."""
        return {"name": self.name, "dtype": self.dtype}


class Reduce(Metric):
    """A sum of values, or their mean."""

    _kind = "mean"

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.total = self.add_weight("total", initializer="zeros")
        if self._kind == "mean":
            self.count = self.add_weight("count", initializer="zeros")

    def update_state(self, values: Any, sample_weight: Any = None) -> Any:
        """Adds values to the state.

        Args:
          values: numbers, [...].
          sample_weight: their weights: a number, or one per value or per example.
        """
        values = elementwise.cast(convert_to_tensor(values), self.total.dtype.base_dtype)
        count = elementwise.cast(size(values), values.dtype)
        if sample_weight is not None:
            weights = weights_for(values, sample_weight)
            own, rank = weights.shape.rank, values.shape.rank
            if own is not None and rank is not None and 0 < own < rank:
                # A weight for each example weighs the mean of the example's values.
                values = reduce_mean(values, list(range(own, rank)))
            weights = weights * ones_like(values)
            values, count = values * weights, reduce_sum(weights)
        added = [self.total.assign_add(reduce_sum(values))]
        if self._kind == "mean":
            added.append(self.count.assign_add(count))
        return group(*added)

    def result(self) -> Any:
        """Returns the sum, or the mean; 0 of nothing."""
        if self._kind == "mean":
            return elementwise.div_no_nan(self.total, self.count)
        return identity(self.total)


class Sum(Reduce):
    """The weighted sum of values."""

    _kind = "sum"

    def __init__(self, name: str | None = "sum", dtype: Any = None) -> None:
        super().__init__(name, dtype)


class Mean(Reduce):
    """The weighted mean of values."""

    def __init__(self, name: str | None = "mean", dtype: Any = None) -> None:
        super().__init__(name, dtype)


class MeanRelativeError(Mean):
    """The mean of errors relative to some numbers.

    Args:
      normalizer: what each error is divided by, of the shape of the predictions.
      name: a name.
      dtype: the dtype of its state.
    """

    def __init__(self, normalizer: Any, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self.normalizer = elementwise.cast(convert_to_tensor(normalizer), self.total.dtype.base_dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """Adds a batch."""
        kind = self.total.dtype.base_dtype
        truth, guess = same_rank(
            elementwise.cast(convert_to_tensor(y_true), kind),
            elementwise.cast(convert_to_tensor(y_pred), kind),
        )
        return super().update_state(
            elementwise.div_no_nan(elementwise.abs(truth - guess), self.normalizer), sample_weight
        )


class MeanTensor(Metric):
    """The mean of each element over batches, all of one shape.

    Args:
      name: a name.
      dtype: the dtype of its state.
    """

    def __init__(self, name: str | None = "mean_tensor", dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self._total: Any = None
        self._count: Any = None

    @property
    def total(self) -> Any:
        """The sums, None before the first batch."""
        return self._total

    @property
    def count(self) -> Any:
        """The counts, None before the first batch."""
        return self._count

    def update_state(self, values: Any, sample_weight: Any = None) -> Any:
        """Adds values [...] to the state, weighted."""
        values = elementwise.cast(convert_to_tensor(values), as_dtype(self.dtype))
        if self._total is None:
            own = TensorShape(values.shape)
            self._total = self.add_weight("total", own, initializer="zeros")
            self._count = self.add_weight("count", own, initializer="zeros")
        elif not values.shape.is_compatible_with(self._total.shape):
            raise ValueError(
                f"MeanTensor input values must always have the same shape. Expected shape (set during the first call):"
                f" {self._total.shape}. Got: {values.shape}"
            )
        counted = ones_like(values)
        if sample_weight is not None:
            counted = weights_for(values, sample_weight) * counted
            values = values * counted
        return group(self._total.assign_add(values), self._count.assign_add(counted))

    def result(self) -> Any:
        """Returns the means.

        Raises:
          ValueError: before the first batch.
        """
        if self._total is None:
            raise ValueError("MeanTensor does not have any result yet: call it, or `update_state`, first")
        return elementwise.div_no_nan(self._total, self._count)


class MeanMetricWrapper(Mean):
    """The mean of what a function of truth and prediction gives.

    Args:
      fn: gives one figure per example.
      name: a name.
      dtype: the dtype of its state.
      **kwargs: further arguments of the function.
    """

    def __init__(
        self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(name, dtype)
        self._fn, self._fn_kwargs = fn, kwargs

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:  # type: ignore[override]
        """Adds a batch of truth and prediction."""
        kind = self.total.dtype.base_dtype
        truth = elementwise.cast(convert_to_tensor(y_true), kind)
        guess = elementwise.cast(convert_to_tensor(y_pred), kind)
        truth, guess = same_rank(truth, guess)
        return super().update_state(self._fn(truth, guess, **self._fn_kwargs), sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make the metric again."""
        return {**super().get_config(), **self._fn_kwargs}


__all__ = ["Mean", "MeanMetricWrapper", "MeanRelativeError", "MeanTensor", "Metric", "Reduce", "Sum"]
