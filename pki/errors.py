"""Errors of the pki package, under the one tree of ``pki.kernel.errors``.

* InvalidError
  + CsrError            the certificate request cannot be accepted
* UnavailableError
  + SignerError         the signer process does not answer or refused
* ConflictError
  + StaleDatabaseError  the database is older than the facts outside it
"""

from pki.kernel.errors import ConflictError, InvalidError, UnavailableError


class CsrError(InvalidError):
    """The certificate request is malformed, unsigned by its key, or requests what no profile allows."""


class SignerError(UnavailableError):
    """The signer process does not answer, or refused the operation."""


class StaleDatabaseError(ConflictError):
    """The database is older than the journal or the published ledger heads."""
