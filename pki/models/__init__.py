"""Tables of the pki package."""

from pki.models.authorities import Authority, Certificate
from pki.models.changes import Change
from pki.models.domains import MonotoneNumber, TrustDomain
from pki.models.ledger import JournalCheckpoint, LedgerEdge, LedgerEntry, LedgerHead, LedgerNode, LedgerOrder
from pki.models.profiles import CertificateProfile
from pki.models.revocation import CrlShard, RevokedEntry

__all__ = [
    "Authority",
    "Certificate",
    "CertificateProfile",
    "Change",
    "CrlShard",
    "JournalCheckpoint",
    "LedgerEdge",
    "LedgerEntry",
    "LedgerHead",
    "LedgerNode",
    "LedgerOrder",
    "MonotoneNumber",
    "RevokedEntry",
    "TrustDomain",
]
