"""Verify a ledger: recompute every leaf and the tree, compare with each signed head, inside and outside."""

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

from pki.kernel import canonical
from pki.kernel.actor import Actor, Role
from pki.ledger.merkle import Frontier
from pki.models import LedgerEntry, LedgerHead, LedgerOrder, TrustDomain
from pki.selectors import domain as domain_of
from pki.services import journal, ledger, signing


@dataclass(slots=True)
class Report:
    """What was found.

    Args:
        entries: leaves in the tree.
        heads: heads that were compared.
        problems: one sentence each; none when all is well.
    """

    entries: int = 0
    heads: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Say whether nothing is wrong."""
        return not self.problems


def verify(*, actor: Actor) -> Report:
    """Verify the whole ledger of the actor's domain."""
    actor.require(Role.VIEWER)
    domain = domain_of(actor.domain)
    report = Report()
    roots = _roots(domain, report)
    key = signing.client().public_keys(domain.slug).get("ledger")
    public = bytes.fromhex(key["keyval"]["public"]) if key else b""
    void = _void(domain)
    for head in journal.heads():
        if head["domain"] == domain.slug:
            _compare(report, roots, head, public, void)
    for row in LedgerHead.objects.filter(domain=domain):
        if roots.get(row.size) != row.root_hash:
            report.problems.append(f"The database's head of {row.size} entries does not match the entries.")
    return report


def _roots(domain: TrustDomain, report: Report) -> dict[int, str]:
    """Return the root of every prefix of the tree, checking each leaf on the way."""
    frontier, roots = Frontier(), {}
    rows = LedgerOrder.objects.filter(domain=domain).select_related("entry__domain").order_by("index")
    for expected, row in enumerate(rows.iterator(chunk_size=1000)):
        if row.index != expected:
            report.problems.append(f"Entry {expected} is missing from the order.")
            break
        if ledger.leaf_hash(row.entry) != row.entry.leaf_hash:
            report.problems.append(f"Entry {expected} ({row.entry.public_id}) was changed.")
        frontier.add(bytes.fromhex(ledger.leaf_hash(row.entry)))
        roots[frontier.size] = frontier.root().hex()
    report.entries = frontier.size
    return roots


def _void(domain: TrustDomain) -> dict[int, int]:
    """Return, for each epoch that ended in a restore, the size up to which its heads still hold."""
    found = {}
    restored = LedgerEntry.objects.filter(domain=domain, action="ledger.restored").select_related("order")
    for epoch, entry in enumerate(restored.order_by("id")):
        order = getattr(entry, "order", None)
        if order is not None:
            found[epoch] = order.index
    return found


def _compare(
    report: Report, roots: dict[int, str], head: dict[str, object], public: bytes, void: dict[int, int]
) -> None:
    report.heads += 1
    size, epoch = int(str(head["size"])), int(str(head["epoch"]))
    signed = {name: value for name, value in head.items() if name not in {"keyid", "sig"}}
    try:
        signature = bytes.fromhex(str(head["sig"]))
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, canonical.dumps(signed))
    except (InvalidSignature, ValueError):
        report.problems.append(f"The published head of {size} entries has no valid signature.")
    if epoch in void and size > void[epoch]:
        return
    if roots.get(size) != head["root"]:
        report.problems.append(f"The published head of {size} entries (epoch {epoch}) does not match the entries.")
