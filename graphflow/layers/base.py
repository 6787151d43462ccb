"""The base of `layers`: a Keras layer whose weights live in variable scopes and whose losses in collections."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from graphflow.graph import GraphKeys, get_default_graph, name_scope
from graphflow.keras.base_layer import InputSpec, to_snake_case
from graphflow.keras.base_layer import Layer as KerasLayer
from graphflow.variable_scope import VariableScope, get_variable, variable_scope
from graphflow.variables import (
    VariableAggregation,
    VariableSynchronization,
    global_variables,
    trainable_variables,
)


def _add_to(key: str, items: list[Any]) -> None:
    have = {id(item) for item in get_default_graph().get_collection_ref(key)}
    for item in items:
        if id(item) not in have:
            get_default_graph().add_to_collection(key, item)


class Layer(KerasLayer):
    """A layer whose weights are made by `get_variable`.

    Args:
      trainable: whether its weights join `GraphKeys.TRAINABLE_VARIABLES`.
      name: its variable scope; default the name of its class, made unique.
      dtype: the dtype of its weights; default that of its first input.
      **kwargs: `_scope`: the variable scope to use; `_reuse`: whether its weights must exist already; the keywords of
        Keras's layers.
    """

    def __init__(
        self, trainable: bool = True, name: str | None = None, dtype: Any = None, **kwargs: Any
    ) -> None:
        self._reuse = kwargs.pop("_reuse", None)
        scope = kwargs.pop("_scope", None)
        self._variable_scope: VariableScope | None = None
        self._current: VariableScope | None = None
        super().__init__(trainable=trainable, name=name, dtype=dtype, **kwargs)
        self._base_name = name or to_snake_case(type(self).__name__)
        if scope:
            with variable_scope(scope) as captured:
                self._variable_scope = captured

    @property
    def graph(self) -> Any:
        """The default graph."""
        return get_default_graph()

    @property
    def scope_name(self) -> str:
        """The name of its variable scope.

        Raises:
          ValueError: before the first call.
        """
        if self._variable_scope is None:
            raise ValueError(
                f'No name available for layer scope because the layer "{self.name}" has not been used yet. The scope'
                " name is determined the first time the layer instance is called. You must therefore call the layer"
                " before querying `scope_name`."
            )
        return self._variable_scope.name

    def _take_scope(self, scope: Any = None) -> VariableScope:
        if self._variable_scope is None:
            # Named when it is first used, in the scopes in force then.
            if self._reuse:
                opened = variable_scope(self._base_name if scope is None else scope)
            else:
                opened = variable_scope(scope, default_name=self._base_name)
            with opened as captured:
                self._variable_scope = captured
        return self._variable_scope

    @contextlib.contextmanager
    def _scope(self, inputs: Any) -> Iterator[None]:
        scope = self._take_scope()
        reuse = True if self.built else self._reuse
        with variable_scope(scope, reuse=reuse, auxiliary_name_scope=False) as current:
            outer, self._current = self._current, current
            try:
                with name_scope(current.original_name_scope):
                    yield
            finally:
                self._current = outer

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Builds the weights if need be and returns `call(inputs, …)`; `scope` is taken if `call` has none."""
        if "scope" in kwargs:
            self._take_scope(kwargs.pop("scope"))
        return super().__call__(inputs, *args, **kwargs)

    def add_weight(
        self,
        name: str | None = None,
        shape: Any = None,
        dtype: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        trainable: bool | None = None,
        constraint: Any = None,
        partitioner: Any = None,
        use_resource: bool | None = None,
        synchronization: VariableSynchronization = VariableSynchronization.AUTO,
        aggregation: VariableAggregation = VariableAggregation.NONE,
        **kwargs: Any,
    ) -> Any:
        """Makes a weight by `get_variable` in the scope of the layer; the arguments are those of Keras's layers.

        A regularizer's result joins `GraphKeys.REGULARIZATION_LOSSES`, once per variable.
        """
        scope = self._take_scope()
        existing = {id(variable) for variable in global_variables()}
        with variable_scope(scope, reuse=self.built or self._reuse, auxiliary_name_scope=False) as current:
            if trainable is False:
                # Averages are assigned to: they stay whole.
                current.set_partitioner(None)
            where = self._current.original_name_scope if self._current else current.original_name_scope
            with name_scope(where):
                chosen = current.initializer if initializer is None else initializer
                variable = super().add_weight(
                    name, shape, dtype, chosen, None, trainable, constraint, partitioner, use_resource,
                    synchronization, aggregation, getter=get_variable, **kwargs,
                )  # fmt: skip
                if regularizer is not None and id(variable) not in existing:
                    with name_scope(f"{name}/Regularizer"):
                        self.add_loss(regularizer(variable))
        known = {id(each) for each in trainable_variables()}
        if trainable is not False and self.trainable and id(variable) not in known:
            # A getter of the user's said otherwise.
            self._trainable_weights = [each for each in self._trainable_weights if each is not variable]
            if not any(each is variable for each in self._non_trainable_weights):
                self._non_trainable_weights.append(variable)
        return variable

    def add_loss(self, losses: Any, inputs: Any = None) -> None:
        """Adds losses, and puts them into `GraphKeys.REGULARIZATION_LOSSES`."""
        before = len(self._losses)
        super().add_loss(losses, inputs)
        _add_to(GraphKeys.REGULARIZATION_LOSSES, self._losses[before:])

    def add_update(self, updates: Any, inputs: Any = None) -> None:
        """Adds updates, and puts them into `GraphKeys.UPDATE_OPS`."""
        before = len(self._updates)
        super().add_update(updates, inputs)
        _add_to(GraphKeys.UPDATE_OPS, self._updates[before:])


__all__ = ["InputSpec", "Layer"]
