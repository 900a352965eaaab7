"""Certificate profiles as data: what each kind of end-entity certificate may hold (RFC 5280)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

#: Limits for every profile; the signer enforces them independent of the database.
LONGEST = timedelta(days=1125)
ALL_KEY_TYPES = frozenset({"p256", "p384", "rsa", "ed25519"})


@dataclass(frozen=True, slots=True)
class CertificateRules:
    """One kind of certificate.

    Args:
        name: as stored with the certificate.
        usage: the only extended key usage.
        validity: how long it lives at most.
        backdate: how far notBefore is in the past, for clocks that are slow.
        renewal: before this much of its end the device should come back.
        jitter: the renewal moments of one day's certificates are spread over this much.
        grace: how long after notAfter its holder may still renew.
        key_types: of ``pki.keys.KEY_TYPES``.
        authority: key id (hex) of the issuing CA; empty for the domain's newest.
        proofs: ways to prove an identity that are good enough; empty for all.
        approval: whether a person has to approve a first enrolment.
        server_keygen: whether the server may make keys for devices that cannot (RFC 7030, 4.4).
    """

    name: str
    usage: ObjectIdentifier
    validity: timedelta
    backdate: timedelta = timedelta(minutes=5)
    renewal: timedelta = timedelta(days=30)
    jitter: timedelta = timedelta(days=7)
    grace: timedelta = timedelta(days=90)
    key_types: frozenset[str] = frozenset({"p256"})
    authority: str = ""
    proofs: frozenset[str] = frozenset()
    approval: bool = False
    server_keygen: bool = False

    def renew_at(self, not_after: datetime, fingerprint: str) -> datetime:
        """Return when the holder of a certificate should renew it.

        Spread by the fingerprint, so that what one factory made in a day does not come back in an hour.

        Args:
            not_after: its end.
            fingerprint: hex; decides the place within the jitter.
        """
        share = int(fingerprint[:8], 16) / 0xFFFFFFFF
        return not_after - self.renewal - self.jitter * share


DEVICE = CertificateRules("device", ExtendedKeyUsageOID.CLIENT_AUTH, timedelta(days=365))
SERVER = CertificateRules("door", ExtendedKeyUsageOID.SERVER_AUTH, timedelta(days=30), renewal=timedelta(days=10))
OCSP = CertificateRules("ocsp", ExtendedKeyUsageOID.OCSP_SIGNING, timedelta(days=2), renewal=timedelta(days=1))
