"""The one error tree that every floor raises and every door renders.

* DomainError
  + NotFoundError         what was asked for does not exist
  + ConflictError         the request clashes with the present state
  + DeniedError           the actor is known and may not do this
  + InvalidError          the request is malformed or breaks a rule
  + UnauthenticatedError  nobody trustworthy asked
  + LimitedError          too much, too fast, too large for now
  + UnavailableError      a part that is needed does not answer
  + PreconditionError     what the caller saw is not the newest any more
  + UnconditionalError    the caller must say which version it saw
  + UnsupportedError      the body is in a form that nobody reads here
  + PendingError          accepted, but a person has to approve it first; ask again the same way

Each floor subclasses these in its own ``errors.py``. A door maps ``kind`` to its status code; no error
knows HTTP or CoAP.
"""

from typing import ClassVar


class DomainError(Exception):
    """A refusal that the caller may be told about.

    Args:
        detail: one sentence for people that says what is wrong and what to do next; no secrets.
        context: structured facts for the log and for machine-readable answers.
    """

    kind: ClassVar[str] = "internal"

    def __init__(self, detail: str, **context: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.context = context


class NotFoundError(DomainError):
    """What was asked for does not exist, or not for this actor."""

    kind = "not-found"


class ConflictError(DomainError):
    """The request clashes with the present state."""

    kind = "conflict"


class DeniedError(DomainError):
    """The actor may not do this."""

    kind = "denied"


class InvalidError(DomainError):
    """The request is malformed or breaks a rule."""

    kind = "invalid"


class UnauthenticatedError(DomainError):
    """The caller did not prove who it is."""

    kind = "unauthenticated"


class LimitedError(DomainError):
    """A limit is reached; ``retry_after`` in the context holds seconds when waiting helps."""

    kind = "limited"


class UnavailableError(DomainError):
    """A part that the act needs does not answer; trying again later may help."""

    kind = "unavailable"


class PreconditionError(DomainError):
    """The caller has not seen the newest version of what it wants to change."""

    kind = "precondition"


class UnconditionalError(DomainError):
    """The caller must name the version that it has seen."""

    kind = "unconditional"


class UnsupportedError(DomainError):
    """The body is of a media type that is not read here."""

    kind = "unsupported"


class PendingError(DomainError):
    """The request waits for a person; ``retry_after`` in the context says in how many seconds to ask again."""

    kind = "pending"
