"""Queries of the pki package. Nothing here writes, and results contain only what the actor may see."""

from pki.selectors.certificates import (
    certificate,
    certificate_by_fingerprint,
    certificates,
    certificates_of,
    expiring,
    standing_by_serial,
)
from pki.selectors.domains import domain, domains, known_domain, known_domains
from pki.selectors.ledger import LedgerFilter, ledger_entries, ledger_head, signed_head
from pki.selectors.trust import anchors, authorities, authority_der, authority_rows, crl_shards, links, profiles

__all__ = [
    "LedgerFilter",
    "anchors",
    "authorities",
    "authority_der",
    "authority_rows",
    "certificate",
    "certificate_by_fingerprint",
    "certificates",
    "certificates_of",
    "crl_shards",
    "domain",
    "domains",
    "expiring",
    "known_domain",
    "known_domains",
    "ledger_entries",
    "ledger_head",
    "links",
    "profiles",
    "signed_head",
    "standing_by_serial",
]
