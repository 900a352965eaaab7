"""Keys of this server's own CAs, of every domain: none of them is a vendor's, a signing CA's or a person's.

A CA is recognised by its key. Another certificate of the same key (renewed, cross-signed, self-signed) is the same CA.
"""

from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from pki.kernel.errors import InvalidError
from pki.kernel.public_keys import accept_key, key_identity
from pki.models import Authority, TrustDomain
from pki.services import signing


def known_identities() -> set[str]:
    """Return the identities of all CAs in the database, of every domain: roots, issuing CAs, links, retired ones."""
    return set(_installed())


def own_identities() -> set[str]:
    """Return ``known_identities``, and the signer's CA keys that wait for their certificate."""
    line = signing.signer_client("admin")
    slugs = TrustDomain.objects.values_list("slug", flat=True)
    return known_identities() | {key for slug in slugs for key in line.authority_keys(slug)}


def identity_of(certificate: x509.Certificate) -> str:
    """Return the identity of a certificate's key.

    Raises:
        InvalidError: its key is of no kind that is accepted.
    """
    try:
        return key_identity(accept_key(certificate.public_key()))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        msg = "The certificate's key cannot be read. Expected P-256, P-384, RSA of at least 2048 bits, or Ed25519."
        raise InvalidError(msg) from error


def is_own(certificate: x509.Certificate) -> bool:
    """Return whether a certificate's key is that of a CA in the database; a key of an unknown kind is none of ours."""
    try:
        return identity_of(certificate) in known_identities()
    except InvalidError:
        return False


def demand_strangers_key(identity: str, what: str) -> None:
    """Refuse a key that one of this server's CAs holds.

    Args:
        identity: SHA-256 of its SubjectPublicKeyInfo.
        what: whose key it is meant to be, for the sentence.

    Raises:
        InvalidError: it belongs to a CA of this server, in any certificate.
    """
    if identity in own_identities():
        msg = f"This is the key of a CA of this server, which issues device certificates; it cannot be {what}."
        raise InvalidError(msg)


def _installed() -> Iterator[str]:
    for der in Authority.objects.values_list("der", flat=True):
        try:
            yield identity_of(x509.load_der_x509_certificate(bytes(der)))
        except (ValueError, InvalidError):
            continue  # a key that is not accepted here cannot be one that is
