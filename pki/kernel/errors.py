"""The one error tree that every package raises and every listener renders.

* DomainError
  + NotFoundError         the requested object does not exist
  + ConflictError         the request conflicts with the current state
  + DeniedError           the actor is known and may not do this
  + InvalidError          the request is malformed or breaks a rule
  + UnauthenticatedError  the caller is not authenticated
  + LimitedError          too much, too fast, too large for now
  + UnavailableError      a part that is needed does not answer
  + PreconditionError     what the caller saw is not the newest any more
  + UnconditionalError    the caller must say which version it saw
  + UnsupportedError      the body has an unsupported media type
  + PendingError          accepted, but a person has to approve it first; ask again the same way

Each package subclasses these in its own ``errors.py``. A listener maps each ``Kind`` to its status code; no error
knows HTTP or CoAP.
"""

from enum import StrEnum
from typing import ClassVar


class ErrorKind(StrEnum):
    """Every kind of error, as clients receive it; stable names, which programs may compare."""

    INTERNAL = "internal"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    DENIED = "denied"
    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    LIMITED = "limited"
    UNAVAILABLE = "unavailable"
    PRECONDITION = "precondition"
    UNCONDITIONAL = "unconditional"
    UNSUPPORTED = "unsupported"
    PENDING = "pending"
    # What only the listeners themselves refuse, before any service is asked.
    NOT_ALLOWED = "method-not-allowed"
    NOT_ACCEPTABLE = "not-acceptable"
    TOO_SLOW = "too-slow"
    TOO_LARGE = "too-large"


class DomainError(Exception):
    """An error that may be shown to the caller.

    Args:
        detail: one sentence for people that says what is wrong and what to do next; no secrets.
        context: structured facts for the log and for machine-readable answers.
    """

    kind: ClassVar[ErrorKind] = ErrorKind.INTERNAL

    def __init__(self, detail: str, **context: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.context = context


class NotFoundError(DomainError):
    """The requested object does not exist, or not for this actor."""

    kind = ErrorKind.NOT_FOUND


class ConflictError(DomainError):
    """The request conflicts with the current state."""

    kind = ErrorKind.CONFLICT


class DeniedError(DomainError):
    """The actor may not do this."""

    kind = ErrorKind.DENIED


class InvalidError(DomainError):
    """The request is malformed or breaks a rule."""

    kind = ErrorKind.INVALID


class UnauthenticatedError(DomainError):
    """The caller did not prove who it is."""

    kind = ErrorKind.UNAUTHENTICATED


class LimitedError(DomainError):
    """A limit is reached; ``retry_after`` in the context holds seconds when waiting helps."""

    kind = ErrorKind.LIMITED


class UnavailableError(DomainError):
    """A part that the action needs does not answer; trying again later may help."""

    kind = ErrorKind.UNAVAILABLE


class PreconditionError(DomainError):
    """The caller has not read the newest version of the object that it changes."""

    kind = ErrorKind.PRECONDITION


class UnconditionalError(DomainError):
    """The caller must send the version that it has read."""

    kind = ErrorKind.UNCONDITIONAL


class UnsupportedError(DomainError):
    """The body has an unsupported media type."""

    kind = ErrorKind.UNSUPPORTED


class PendingError(DomainError):
    """The request needs approval; ``retry_after`` in the context says after how many seconds to retry."""

    kind = ErrorKind.PENDING
