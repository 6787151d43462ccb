"""Functions whose variables are made at the first call and shared by all later ones."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from graphflow.graph import GraphKeys, get_default_graph, user_frames
from graphflow.variable_scope import VariableScope, variable_op_scope, variable_scope


def make_template(
    name_: str,
    func_: Callable[..., Any],
    create_scope_now_: bool = False,
    unique_name_: str | None = None,
    custom_getter_: Any = None,
    **kwargs: Any,
) -> Template:
    """Returns `func_` as a function that makes its variables, by `get_variable`, once and uses them ever after.

    Args:
      name_: the scope of its operations and variables, made unique.
      func_: any function.
      create_scope_now_: takes the variables' scope where the template is made, else where it is called first.
      unique_name_: a scope for the variables that is taken as it is.
      custom_getter_: makes the variables; see `get_variable`.
      **kwargs: arguments given to `func_` at every call.

    Raises:
      ValueError: if `name_` is empty, or `unique_name_` and `create_scope_now_` are both given.
    """
    if kwargs:
        func_ = functools.partial(func_, **kwargs)
    return Template(name_, func_, create_scope_now_, unique_name_, custom_getter_)


class Template:
    """What `make_template` returns: call it like the function."""

    def __init__(
        self,
        name: str,
        func: Callable[..., Any],
        create_scope_now: bool = False,
        unique_name: str | None = None,
        custom_getter: Any = None,
    ) -> None:
        if not name:
            raise ValueError("make_template: name_ is empty, the template's variables need a scope")
        if unique_name and create_scope_now:
            raise ValueError(
                f"make_template {name!r}: unique_name_ {unique_name!r} is opened at the first call, so "
                "create_scope_now_ must not be set"
            )
        self._name = name
        self._func = func
        self._unique_name = unique_name
        self._custom_getter = custom_getter
        self._called = False
        self._scope: VariableScope | None = None
        frames = user_frames()
        self._made_at = f"{frames[0][0]}:{frames[0][1]}" if frames else "an unknown line"
        if create_scope_now:
            # The scope is reserved; the name scope that opens with it is used by nobody.
            with variable_op_scope([], None, name, custom_getter=custom_getter) as scope:
                self._scope = scope

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function in its scope, which is the same at every call.

        Raises:
          ValueError: if a later call asks for a variable that the first one did not make.
        """
        if self._scope is not None:
            with variable_scope(self._scope, reuse=self._called):
                return self._run(args, kwargs)
        with variable_scope(self._unique_name, self._name, custom_getter=self._custom_getter) as scope:
            self._scope = scope
            return self._run(args, kwargs)

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            result = self._func(*args, **kwargs)
        except ValueError as error:
            if self._called:
                error.add_note(
                    f"The template {self._name!r}, made at {self._made_at}, was called before: its variables are "
                    f"those of the first call ({', '.join(v.name for v in self.variables) or 'none'})"
                )
            raise
        self._called = True
        return result

    def __get__(self, instance: Any, owner: Any) -> Any:
        """A template that stands in a class is a method."""
        return self if instance is None else functools.partial(self, instance)

    @property
    def name(self) -> str:
        """The name that was asked for."""
        return self._name

    @property
    def func(self) -> Callable[..., Any]:
        """The function."""
        return self._func

    @property
    def variable_scope(self) -> VariableScope | None:
        """The scope of its variables, None before there is one."""
        return self._scope

    @property
    def var_scope(self) -> VariableScope | None:
        """The same as `variable_scope`."""
        return self._scope

    @property
    def variable_scope_name(self) -> str | None:
        """The scope's name with a slash behind it, None before there is one."""
        if self._scope is None:
            return None
        name = self._scope.name
        return name if not name or name.endswith("/") else name + "/"

    def _collected(self, key: str) -> list[Any]:
        prefix = self.variable_scope_name
        return list(get_default_graph().get_collection(key, prefix)) if prefix is not None else []

    @property
    def global_variables(self) -> list[Any]:
        """Its global variables."""
        return self._collected(GraphKeys.GLOBAL_VARIABLES)

    @property
    def local_variables(self) -> list[Any]:
        """Its local variables."""
        return self._collected(GraphKeys.LOCAL_VARIABLES)

    @property
    def variables(self) -> list[Any]:
        """Its global and local variables."""
        return self.global_variables + self.local_variables

    @property
    def trainable_variables(self) -> list[Any]:
        """Those of its variables that are trained."""
        return self._collected(GraphKeys.TRAINABLE_VARIABLES)

    @property
    def non_trainable_variables(self) -> list[Any]:
        """Those of its variables that are not trained."""
        trained = {id(variable) for variable in self.trainable_variables}
        return [variable for variable in self.variables if id(variable) not in trained]

    weights = variables
    trainable_weights = trainable_variables
    non_trainable_weights = non_trainable_variables
