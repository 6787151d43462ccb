"""Every exception graphflow raises on purpose.

    Exception
    ├── ValueError
    │   └── ShapeError            shapes do not fit, found while building
    ├── TypeError
    │   └── DTypeError            dtypes do not fit, found while building
    ├── LookupError
    │   └── UnregisteredOpError   an op type, or the gradient of one, that does not exist
    ├── PassError                 an optimizer pass broke a program (a bug in the pass)
    └── OpError                   found while running; one class per canonical status code
        ├── CancelledError 1      ├── UnknownError 2          ├── InvalidArgumentError 3
        ├── DeadlineExceededError 4   ├── NotFoundError 5     ├── AlreadyExistsError 6
        ├── PermissionDeniedError 7   ├── ResourceExhaustedError 8
        ├── FailedPreconditionError 9 ├── AbortedError 10     ├── OutOfRangeError 11
        ├── UnimplementedError 12 ├── InternalError 13        ├── UnavailableError 14
        └── DataLossError 15      (UnauthenticatedError 16)

The classes below `OpError`, their codes and their constructor are those of `tf.compat.v1.errors`.
"""

from __future__ import annotations

from typing import Any

OK = 0
CANCELLED = 1
UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
ALREADY_EXISTS = 6
PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
ABORTED = 10
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
DATA_LOSS = 15
UNAUTHENTICATED = 16


class ShapeError(ValueError):
    """Shapes that cannot fit together, refused while the graph is built."""


class DTypeError(TypeError):
    """Dtypes that cannot fit together, refused while the graph is built."""


class UnregisteredOpError(LookupError):
    """An op type (or the gradient of one) that nothing registered."""


class PassError(RuntimeError):
    """An optimizer pass failed or returned a program that does not verify; names the pass."""


class OpError(Exception):
    """An error found while an operation ran.

    Args:
      node_def: the node's definition, or None.
      op: the `Operation` that failed, or None.
      message: what happened.
      error_code: one of the codes of this module.
    """

    code = UNKNOWN

    def __init__(self, node_def: Any, op: Any, message: str, error_code: int | None = None) -> None:
        super().__init__(message)
        self._node_def = node_def
        self._op = op
        self._message = message
        self._error_code = self.code if error_code is None else error_code

    @property
    def message(self) -> str:
        """The text that describes the error."""
        return self._message

    @property
    def op(self) -> Any:
        """The `Operation` that failed, if it is known."""
        return self._op

    @property
    def node_def(self) -> Any:
        """The failing node's definition, if it is known."""
        return self._node_def

    @property
    def error_code(self) -> int:
        """The canonical status code."""
        return self._error_code

    def __str__(self) -> str:
        return self._message


class CancelledError(OpError):
    """The run was cancelled, for instance by closing its session."""

    code = CANCELLED


class UnknownError(OpError):
    """An error without a better class."""

    code = UNKNOWN


class InvalidArgumentError(OpError):
    """An operation received a value that it cannot take."""

    code = INVALID_ARGUMENT


class DeadlineExceededError(OpError):
    """The run took longer than its timeout."""

    code = DEADLINE_EXCEEDED


class NotFoundError(OpError):
    """A file, key or other entity does not exist."""

    code = NOT_FOUND


class AlreadyExistsError(OpError):
    """An entity to be created exists already."""

    code = ALREADY_EXISTS


class PermissionDeniedError(OpError):
    """The caller may not do this."""

    code = PERMISSION_DENIED


class ResourceExhaustedError(OpError):
    """Memory or another resource ran out."""

    code = RESOURCE_EXHAUSTED


class FailedPreconditionError(OpError):
    """The state does not admit this yet, for instance an uninitialized variable."""

    code = FAILED_PRECONDITION


class AbortedError(OpError):
    """The operation was aborted."""

    code = ABORTED


class OutOfRangeError(OpError):
    """Past the end of the input."""

    code = OUT_OF_RANGE


class UnimplementedError(OpError):
    """The operation has no implementation here."""

    code = UNIMPLEMENTED


class InternalError(OpError):
    """An invariant of graphflow itself was broken."""

    code = INTERNAL


class UnavailableError(OpError):
    """The service cannot answer now."""

    code = UNAVAILABLE


class DataLossError(OpError):
    """Stored data is damaged."""

    code = DATA_LOSS


class UnauthenticatedError(OpError):
    """No valid credentials were given."""

    code = UNAUTHENTICATED


_BY_CODE: dict[int, type[OpError]] = {
    cls.code: cls
    for cls in (
        CancelledError, UnknownError, InvalidArgumentError, DeadlineExceededError, NotFoundError,
        AlreadyExistsError, PermissionDeniedError, ResourceExhaustedError, FailedPreconditionError,
        AbortedError, OutOfRangeError, UnimplementedError, InternalError, UnavailableError,
        DataLossError, UnauthenticatedError,
    )
}  # fmt: skip


def exception_type_from_error_code(error_code: int) -> type[OpError]:
    """Returns the class for a canonical status code.

    Raises:
      KeyError: for an unknown code.
    """
    return _BY_CODE[error_code]


def error_code_from_exception_type(cls: type[OpError]) -> int:
    """Returns the canonical status code of a class below `OpError`."""
    return cls.code
