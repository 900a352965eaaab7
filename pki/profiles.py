"""Certificate profiles as data: what each kind of end-entity certificate may hold (RFC 5280)."""

from dataclasses import dataclass
from datetime import timedelta

from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of certificate.

    Args:
        name: as stored with the certificate.
        usage: the only extended key usage.
        validity: how long it lives at most.
        backdate: how far notBefore lies in the past, for clocks that are slow.
        renewal: before this much of its end the device should come back.
        grace: how long after notAfter its holder may still renew.
    """

    name: str
    usage: ObjectIdentifier
    validity: timedelta
    backdate: timedelta = timedelta(minutes=5)
    renewal: timedelta = timedelta(days=30)
    grace: timedelta = timedelta(days=90)


DEVICE = Profile("device", ExtendedKeyUsageOID.CLIENT_AUTH, timedelta(days=365))
DOOR = Profile("door", ExtendedKeyUsageOID.SERVER_AUTH, timedelta(days=30), renewal=timedelta(days=10))
