"""Read revocation lists of external CAs (RFC 5280, 5 and 6.3.3): complete lists, or shards of one together.

A partial list must never replace the complete one: delta lists, lists of some reasons or of CA certificates
only, indirect lists and changes by critical extensions are refused. A shard (a list with a distribution point)
covers the certificates that name its point, and no others.
"""

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization

from pki.kernel.errors import InvalidError

MAX_TEXT, MOST_LISTS = 4 << 20, 64
SKEW = dt.timedelta(minutes=5)
_PEM = re.compile(r"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)
_WEAK = {"md5", "sha1"}
_ENTRY = (x509.CRLReason, x509.InvalidityDate)


@dataclass(frozen=True, slots=True)
class RevocationList:
    """One list that was checked.

    Args:
        crl: as it was read.
        points: the distribution points whose certificates it covers; empty when it covers all.
        number: CRLNumber, or None of an issuer that numbers none.
        serials: of the revoked certificates.
    """

    crl: x509.CertificateRevocationList
    points: frozenset[str]
    number: int | None
    serials: frozenset[int]

    @property
    def pem(self) -> str:
        """Return it in PEM."""
        return self.crl.public_bytes(serialization.Encoding.PEM).decode()

    def ends(self) -> dt.datetime:
        """Return when it is out of date."""
        return self.crl.next_update_utc or self.crl.last_update_utc


def read_lists(text: str, issuer: x509.Certificate, *, of_authorities: bool = False) -> list[RevocationList]:
    """Return the lists in a PEM text, each signed by an issuer that may sign lists, each complete for its points.

    Args:
        text: one or several CRLs in PEM.
        issuer: the CA.
        of_authorities: they are asked about a CA's certificate, not about an end entity's.

    Raises:
        InvalidError: one sentence says which list is refused, and why.
    """
    blocks = _PEM.findall(text[: MAX_TEXT + 1])
    if not blocks or len(blocks) > MOST_LISTS or len(text) > MAX_TEXT or text.count("-----BEGIN ") != len(blocks):
        msg = (
            f"Expected 1 to {MOST_LISTS} CRLs and nothing else in PEM (`-----BEGIN X509 CRL-----`), {MAX_TEXT} bytes "
            "at most."
        )
        raise InvalidError(msg)
    _demand_may_sign(issuer)
    lists = [_read(block, issuer, of_authorities=of_authorities) for block in blocks]
    if len({entry.points for entry in lists}) != len(lists):
        msg = "Two of the CRLs are for the same distribution point. Give the newest of each."
        raise InvalidError(msg)
    return lists


def demand_current(lists: Iterable[RevocationList], at: dt.datetime) -> None:
    """Refuse lists that are not valid at a time.

    Raises:
        InvalidError: one is out of date, from the future, or says no end.
    """
    for entry in lists:
        if entry.crl.next_update_utc is None:
            msg = "The CRL has no nextUpdate, so its freshness cannot be checked. Issue it with one."
            raise InvalidError(msg)
        if entry.ends() <= at or entry.crl.last_update_utc > at + SKEW:
            msg = f"The CRL of {entry.crl.last_update_utc:%Y-%m-%d %H:%M} is out of date or from the future."
            raise InvalidError(msg)


def succeed_lists(before: Sequence[RevocationList], new: Sequence[RevocationList]) -> list[RevocationList]:
    """Return the valid lists after an update: each replaces the one for the same points, if it is newer.

    A shard never replaces a list that covers all certificates.

    Raises:
        InvalidError: a new list is older than the one that is known, by number or date, or has lost its number.
    """
    held = {entry.points: entry for entry in before}
    for entry in new:
        known = held.get(entry.points)
        if known is not None and known.crl.fingerprint(hashes.SHA256()) != entry.crl.fingerprint(hashes.SHA256()):
            _demand_newer(known, entry)
        held[entry.points] = entry
    return list(held.values())


def covering_lists(certificate: x509.Certificate, lists: Iterable[RevocationList]) -> list[RevocationList]:
    """Return the lists that cover a certificate: those for all, and those of a point that it names."""
    named = _named_points(certificate)
    return [entry for entry in lists if not entry.points or entry.points & named]


def _demand_newer(known: RevocationList, new: RevocationList) -> None:
    if known.number is not None and (new.number is None or new.number <= known.number):
        msg = f"The CRL has the number {new.number}; {known.number} is registered already. Fetch the newest one."
        raise InvalidError(msg)
    if new.crl.last_update_utc < known.crl.last_update_utc:
        msg = "A newer CRL is registered already."
        raise InvalidError(msg)


def _demand_may_sign(issuer: x509.Certificate) -> None:
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    except ValueError as error:
        msg = "The CA's certificate has extensions that cannot be read."
        raise InvalidError(msg) from error
    if not usage.crl_sign:
        msg = "The CA's certificate does not let its key sign CRLs: its key usage lacks cRLSign."
        raise InvalidError(msg)


def _read(block: str, issuer: x509.Certificate, *, of_authorities: bool) -> RevocationList:
    try:
        crl = x509.load_pem_x509_crl(block.encode())
        genuine = crl.issuer == issuer.subject and crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # a CA's key can sign
        weak = crl.signature_hash_algorithm is not None and crl.signature_hash_algorithm.name in _WEAK
        number, points = _judge(crl.extensions, of_authorities=of_authorities)
        serials = frozenset(_serial(entry) for entry in crl)
    except (ValueError, TypeError, UnsupportedAlgorithm, UnicodeError) as error:
        msg = f"This cannot be parsed as a CRL: {str(error)[:120]}"
        raise InvalidError(msg) from error
    if not genuine or weak:
        msg = "The CRL was not issued by this CA, its signature is wrong, or it uses MD5 or SHA-1."
        raise InvalidError(msg)
    return RevocationList(crl, points, number, serials)


def _judge(extensions: x509.Extensions, *, of_authorities: bool) -> tuple[int | None, frozenset[str]]:
    """Return number and points of a list, when its extensions leave it complete."""
    number, points = None, frozenset[str]()
    for extension in extensions:
        if isinstance(extension.value, x509.CRLNumber):
            number = extension.value.crl_number
        elif isinstance(extension.value, x509.DeltaCRLIndicator):
            msg = "This is a delta CRL, which lists only changes. Register the complete one."
            raise InvalidError(msg)
        elif isinstance(extension.value, x509.IssuingDistributionPoint):
            points = _points(extension.value, of_authorities=of_authorities)
        elif extension.critical and not isinstance(extension.value, x509.AuthorityKeyIdentifier):
            msg = f"The CRL has the critical extension {extension.oid.dotted_string}, which is not supported."
            raise InvalidError(msg)
    return number, points


def _points(point: x509.IssuingDistributionPoint, *, of_authorities: bool) -> frozenset[str]:
    other_half = point.only_contains_user_certs if of_authorities else point.only_contains_ca_certs
    partial = point.only_some_reasons is not None or point.indirect_crl or point.only_contains_attribute_certs
    if partial or other_half or point.relative_name is not None:
        msg = (
            "This CRL is a part: for some reasons, for other kinds of certificates, or of other issuers. Register the "
            "complete one."
        )
        raise InvalidError(msg)
    return frozenset(repr(name) for name in point.full_name or ())


def _serial(entry: x509.RevokedCertificate) -> int:
    """Return the serial number of an entry that means what it says by itself."""
    for extension in entry.extensions:
        if extension.critical and not isinstance(extension.value, _ENTRY):
            identifier = extension.oid.dotted_string
            msg = f"An entry of the CRL has the critical extension {identifier}; indirect CRLs are not supported."
            raise InvalidError(msg)
        if isinstance(extension.value, x509.CRLReason) and extension.value.reason == x509.ReasonFlags.remove_from_crl:
            msg = (
                "An entry of the CRL has the reason removeFromCRL, which only delta CRLs use. Register the complete "
                "one."
            )
            raise InvalidError(msg)
    return entry.serial_number


def _named_points(certificate: x509.Certificate) -> frozenset[str]:
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    whole = (point for point in points if point.reasons is None and point.crl_issuer is None)
    return frozenset(repr(name) for point in whole for name in point.full_name or ())
