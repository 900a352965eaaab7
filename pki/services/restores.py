"""Proof that a backup was restored: a statement by the signer, and the journal outside the database.

The database's owner can write any row. One that claims a restore, but was not signed, would make published heads void
and so hide entries that were removed.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

from pki.kernel import canonical, clock, intake
from pki.ledger.heads import PublishedHead, TreeHead
from pki.models import TrustDomain
from pki.services import journal, ledger, signing

FACT = "ledger.restored"
_SIGNED = ("_type", "domain", "epoch", "lost_epoch", "lost_size", "lost_root", "at")


def signed_statement(slug: str, epoch: int, lost: TreeHead) -> dict[str, object]:
    """Have the signer sign that a new epoch begins after a head that was lost; keep it in the journal.

    Args:
        slug: the domain's.
        epoch: that begins.
        lost: the last published head, which the database does not reach.

    Returns:
        The statement with its signature, for the detail of the ledger entry.
    """
    statement = {
        "_type": "restore",
        "domain": slug,
        "epoch": epoch,
        "lost_epoch": lost["epoch"],
        "lost_size": lost["size"],
        "lost_root": lost["root"],
        "at": clock.now().replace(microsecond=0).isoformat(),
    }
    signed = {**statement, **signing.signer_client("admin").sign("restore", slug, canonical.dumps(statement))}
    journal.append_fact(
        FACT, **{name: value for name, value in signed.items() if name != "at"}, signed_at=statement["at"]
    )
    return signed


def has_signature(detail: Mapping[str, object], slug: str, keys: Mapping[str, bytes]) -> bool:
    """Return whether an audit-log entry's detail is a restore of this domain, signed by one of its keys."""
    try:
        statement = {name: detail[name] for name in _SIGNED}
        key = ed25519.Ed25519PublicKey.from_public_bytes(keys[str(detail["keyid"])])
        key.verify(bytes.fromhex(str(detail["sig"])), canonical.dumps(statement))
    except (InvalidSignature, KeyError, TypeError, ValueError):
        return False
    return (statement["_type"], statement["domain"]) == ("restore", slug)


def claimed_epochs(domain: TrustDomain) -> list[int]:
    """Return the epochs that restores have begun, as the database claims."""
    return [int(entry.detail.get("epoch", 0)) for entry in ledger.restored_epochs(domain)]


def journalled_epochs(heads: Iterable[PublishedHead], facts: Iterable[journal.Fact]) -> dict[str, set[int]]:
    """Return the epochs that the journal knows, by domain: as a restore, or by a head of them.

    Args:
        heads: of the journal.
        facts: of the journal.
    """
    known: dict[str, set[int]] = defaultdict(set)
    for head in heads:
        known[head["domain"]].add(head["epoch"])
    for fact in facts:
        if fact["kind"] == FACT:
            known[str(fact["domain"])].add(intake.check_integer(fact["epoch"], "epoch"))
    return known
