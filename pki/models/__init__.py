"""Tables of the ground floor."""

from pki.models.authorities import Authority, Certificate
from pki.models.domains import MonotoneNumber, TrustDomain
from pki.models.ledger import LedgerEntry, LedgerHead, LedgerOrder

__all__ = [
    "Authority",
    "Certificate",
    "LedgerEntry",
    "LedgerHead",
    "LedgerOrder",
    "MonotoneNumber",
    "TrustDomain",
]
