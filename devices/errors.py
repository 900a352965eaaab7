"""Errors of the devices package, under the one tree of ``pki.kernel.errors``.

* UnauthenticatedError
  + TokenError        the enrolment token does not open anything
* ConflictError
  + LifecycleError    the device's state does not allow this step
  + ReplayError       a report or batch was seen before
"""

from pki.kernel.errors import ConflictError, UnauthenticatedError


class TokenError(UnauthenticatedError):
    """The enrolment token is unknown, used, expired, withdrawn or for something else; the log says which."""


class LifecycleError(ConflictError):
    """The device's state does not allow this step."""


class ReplayError(ConflictError):
    """A report with this sequence number, or a later one, was accepted before."""
