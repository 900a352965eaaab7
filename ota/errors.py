"""Errors of the ota package, under the one tree of ``pki.kernel.errors``.

* InvalidError
  + ManifestError      bundle.json breaks a rule of its schema, or its files do not match it
  + RefusedBundleError the content was verified and is refused
  + MetadataError      TUF metadata or a signature over it cannot be trusted
* ConflictError
  + ReleaseStateError  the release is not in a state that allows this
  + StaleReleaseError  the repository moved on since the release was prepared
* NotFoundError
  + BlobNotFoundError  no such content is stored
* LimitedError
  + TooLargeError      more bytes than were declared or are accepted
* UnavailableError
  + VerifierError      the verifier could not run on this machine
  + BlobStoreError     the store of blobs does not answer, or answers wrongly
"""

from pki.kernel.errors import ConflictError, InvalidError, LimitedError, NotFoundError, UnavailableError


class ManifestError(InvalidError):
    """``bundle.json`` breaks a rule of its schema, or the files do not match it."""


class RefusedBundleError(InvalidError):
    """The bundle was verified and is refused; nothing of it is stored."""


class MetadataError(InvalidError):
    """TUF metadata, or a signature over it, cannot be trusted."""


class ReleaseStateError(ConflictError):
    """The release is not in a state that allows this."""


class StaleReleaseError(ConflictError):
    """The repository moved on since the release was prepared; prepare and sign it again."""


class BlobNotFoundError(NotFoundError):
    """No content with this digest is stored."""


class TooLargeError(LimitedError):
    """More bytes came than were declared, or than this server accepts."""


class VerifierError(UnavailableError):
    """The verifier could not run; the content was not verified."""


class BlobStoreError(UnavailableError):
    """The store of blobs does not answer, refuses, or gave other bytes than those asked for."""
