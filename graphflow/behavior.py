"""Switches between the behaviours of TensorFlow 1 and 2: programs of `tf.compat.v1` begin with them.

Only the behaviour of TensorFlow 1 exists, with resource variables. What asks for it is right and changes nothing; what
asks for the other says so at once.
"""

from __future__ import annotations

from graphflow.errors import UnimplementedError

__all__ = [
    "control_flow_v2_enabled", "disable_control_flow_v2", "disable_eager_execution", "disable_resource_variables",
    "disable_tensor_equality", "disable_v2_behavior", "disable_v2_tensorshape", "enable_eager_execution",
    "enable_resource_variables", "enable_tensor_equality", "enable_v2_behavior", "enable_v2_tensorshape",
    "executing_eagerly", "executing_eagerly_outside_functions", "resource_variables_enabled",
]  # fmt: skip


def disable_v2_behavior() -> None:
    """Asks for graphs and sessions, which is all there is."""


def disable_eager_execution() -> None:
    """Asks for graphs and sessions, which is all there is."""


def disable_v2_tensorshape() -> None:
    """Asks for shapes made of `Dimension`s, which is what they are."""


def disable_tensor_equality() -> None:
    """Asks for `==` on tensors to compare identities, which it does."""


def disable_control_flow_v2() -> None:
    """Accepted: control flow has one form here, and results are the same in either."""


def enable_resource_variables() -> None:
    """Asks for resource variables, which all are."""


def disable_resource_variables() -> None:
    """Accepted: variables are resource variables, read in the order that TensorFlow 1's programs mean."""


def enable_v2_behavior() -> None:
    """Raises UnimplementedError: there is no TensorFlow 2 here."""
    raise _no_tensorflow_2("enable_v2_behavior")


def enable_eager_execution(
    config: object = None, device_policy: object = None, execution_mode: object = None
) -> None:
    """Raises UnimplementedError: operations run in sessions."""
    raise _no_tensorflow_2("enable_eager_execution")


def enable_v2_tensorshape() -> None:
    """Raises UnimplementedError: shapes are made of `Dimension`s."""
    raise _no_tensorflow_2("enable_v2_tensorshape")


def enable_tensor_equality() -> None:
    """Raises UnimplementedError: `==` on tensors compares identities."""
    raise _no_tensorflow_2("enable_tensor_equality")


def executing_eagerly() -> bool:
    """False: operations run in sessions."""
    return False


def executing_eagerly_outside_functions() -> bool:
    """False: operations run in sessions."""
    return False


def resource_variables_enabled() -> bool:
    """True: all variables are resource variables."""
    return True


def control_flow_v2_enabled() -> bool:
    """True: control flow is structured."""
    return True


def _no_tensorflow_2(name: str) -> UnimplementedError:
    return UnimplementedError(
        None, None, f"{name}: graphflow is TensorFlow 1's model, graphs run by sessions"
    )
