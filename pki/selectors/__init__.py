"""Queries of the pki package. Nothing here writes, and results contain only what the actor may see."""

from pki.selectors.certificates import (
    certificate_by_fingerprint,
    certificates_of,
    expiring_certificates,
    get_certificate,
    list_certificates,
    newest_certificates,
    standing_by_serial,
)
from pki.selectors.domains import get_domain, known_domain, known_domains, list_domains
from pki.selectors.ledger import LedgerFilter, ledger_entries, ledger_head, signed_head
from pki.selectors.trust import (
    authority_der,
    authority_rows,
    crl_shards,
    list_authorities,
    list_profiles,
    root_links,
    trust_anchors,
)

__all__ = [
    "LedgerFilter",
    "authority_der",
    "authority_rows",
    "certificate_by_fingerprint",
    "certificates_of",
    "crl_shards",
    "expiring_certificates",
    "get_certificate",
    "get_domain",
    "known_domain",
    "known_domains",
    "ledger_entries",
    "ledger_head",
    "list_authorities",
    "list_certificates",
    "list_domains",
    "list_profiles",
    "newest_certificates",
    "root_links",
    "signed_head",
    "standing_by_serial",
    "trust_anchors",
]
