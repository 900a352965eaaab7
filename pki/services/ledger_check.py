"""Verify a ledger: recompute every leaf and the tree, compare with each signed head, inside and outside."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

from pki.kernel import canonical, intake
from pki.kernel.actor import Actor
from pki.kernel.permissions import Action, require_action
from pki.ledger.heads import PublishedHead, RememberedHead
from pki.ledger.merkle import Frontier
from pki.models import LedgerEntry, LedgerHead, LedgerOrder, TrustDomain
from pki.selectors import domain as domain_of
from pki.services import journal, ledger, restores, signing

_RESTORED = {"epoch": 0, "lost_epoch": 0, "lost_size": 0, "lost_root": ""}
_SIGNED = ("_type", "domain", "epoch", "size", "root", "at")


@dataclass(slots=True)
class Report:
    """What was found.

    Args:
        entries: leaves in the tree.
        waiting: leaves that no head covers yet.
        heads: published heads that were compared.
        witnesses: devices whose memory of the ledger was compared.
        restores: one sentence for each time that a backup was put back.
        problems: one sentence each; none when all is well.
    """

    entries: int = 0
    waiting: int = 0
    heads: int = 0
    witnesses: int = 0
    restores: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Say whether nothing is wrong."""
        return not self.problems


def verify(*, actor: Actor, witnesses: Iterable[tuple[str, Sequence[object]]] = ()) -> Report:
    """Verify the whole ledger of the actor's domain.

    Args:
        actor: anybody with a role.
        witnesses: what others were shown, by name: epoch, size and root of a head.

    The database's owner can rewrite rows, so they are believed only as far as they match what was published:
    heads in ``heads.jsonl``, signed by the key that the signer holds.
    """
    require_action(actor, Action.READ)
    domain = domain_of(actor.domain)
    report = Report()
    # In this order, so that what a running sequencer adds meanwhile is no finding.
    remembered = signing.client("admin").last_head(domain.slug)
    stored = list(LedgerHead.objects.filter(domain=domain).order_by("id"))
    published = [head for head in journal.heads() if head["domain"] == domain.slug]
    roots = _roots(domain, report)
    keys = signing.client("admin").every_key(domain.slug, "ledger")
    for head in published:
        _check_signature(report, head, keys.get(str(head.get("keyid")), b""))
    void = _void(domain, report, published, _Proofs(keys, remembered["unsigned_restores"]))
    for head in published:
        _compare(report, roots, head, void)
    _check_stored(report, roots, stored, published)
    _check_remembered(report, roots, remembered, published)
    for name, seen in witnesses:
        report.witnesses += 1
        _check_witness(report, name, seen, roots, void)
    return report


def _check_witness(
    report: Report, name: str, seen: Sequence[object], roots: dict[int, str], void: dict[int, int]
) -> None:
    match seen:
        case [int(epoch), int(size), root]:
            if not (epoch in void and size > void[epoch]) and roots.get(size) != root:
                report.problems.append(f"{name} was shown another ledger of {size} entries (epoch {epoch}).")
        case _:
            report.problems.append(f"What {name} was shown of the ledger cannot be read.")


def _roots(domain: TrustDomain, report: Report) -> dict[int, str]:
    """Return the root of every prefix of the tree, checking each leaf on the way."""
    frontier, roots = Frontier(), {}
    rows = LedgerOrder.objects.filter(domain=domain).select_related("entry__domain").order_by("index")
    for expected, row in enumerate(rows.iterator(chunk_size=1000)):
        if row.index != expected:
            report.problems.append(f"Entry {expected} is missing from the order.")
            break
        leaf = ledger.leaf_hash(row.entry)
        if leaf != row.entry.leaf_hash or row.entry.domain_id != domain.pk:
            report.problems.append(f"Entry {expected} ({row.entry.public_id}) was changed.")
        frontier.add(bytes.fromhex(leaf))
        roots[frontier.size] = frontier.root().hex()
    report.entries = frontier.size
    report.waiting = LedgerEntry.objects.filter(domain=domain, order__isnull=True).count()
    return roots


@dataclass(frozen=True, slots=True)
class _Proofs:
    """What proves a restore.

    Args:
        keys: public halves of the ledger's keys by id.
        unsigned: restores up to this epoch were made before restores were signed; the signer remembers it.
    """

    keys: Mapping[str, bytes]
    unsigned: int

    def hold(self, domain: TrustDomain, detail: dict[str, object], published: list[PublishedHead]) -> bool:
        """Say whether a restore is signed, or older than signatures and known by the journal's heads."""
        if restores.has_signature(detail, domain.slug, self.keys):
            return True
        epoch = intake.integer(detail["epoch"], "epoch")
        return epoch <= self.unsigned and any(head["epoch"] == epoch for head in published)


def _void(domain: TrustDomain, report: Report, published: list[PublishedHead], proofs: _Proofs) -> dict[int, int]:
    """Return, for each epoch that ended in a restore, the size up to which its heads still hold.

    A restore is signed, and names the last head that it lost: else anybody could make heads void by adding a row.
    """
    found: dict[int, int] = {}
    present = 0
    for entry in ledger.restores(domain).select_related("order"):
        order, detail = getattr(entry, "order", None), _RESTORED | entry.detail
        # Until the sequencer has placed it, what stood behind the entries that were read cannot be compared.
        index = min(report.entries, order.index) if order else report.entries
        new = int(detail["epoch"])
        if not proofs.hold(domain, detail, published):
            report.problems.append(
                f"The restore at entry {index} is not proved: the signer has not signed it. Somebody wrote this entry"
                " into the database; the published heads are compared as if it were not there."
            )
            continue
        ended = [head for head in published if present <= head["epoch"] < new]
        last = max(ended, key=lambda head: (head["epoch"], head["size"]), default=None)
        named = (detail["lost_epoch"], detail["lost_size"], detail["lost_root"])
        if last is None or named != (last["epoch"], last["size"], last["root"]):
            report.problems.append(f"The restore at entry {index} does not name the last head before it.")
        waits = "" if order else " Its entry is not in order yet: start the server, or wait a second."
        report.restores.append(
            f"A backup was put back at entry {index}: epoch {detail['lost_epoch']} had reached"
            f" {detail['lost_size']} entries; epoch {new} goes on from here.{waits}"
        )
        found.update(dict.fromkeys(range(present, new), index))
        present = new
    return found


def _check_signature(report: Report, head: Mapping[str, object], public: bytes) -> None:
    report.heads += 1
    try:
        signed = canonical.dumps({name: head[name] for name in _SIGNED})
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(str(head["sig"])), signed)
    except (InvalidSignature, ValueError, KeyError, TypeError):
        report.problems.append(f"The published head of {head['size']} entries has no valid signature.")


def _compare(report: Report, roots: dict[int, str], head: PublishedHead, void: dict[int, int]) -> None:
    size, epoch = head["size"], head["epoch"]
    if epoch in void and size > void[epoch]:
        return
    if roots.get(size) != head["root"]:
        report.problems.append(f"The published head of {size} entries (epoch {epoch}) does not match the entries.")


def _check_stored(
    report: Report, roots: dict[int, str], stored: list[LedgerHead], published: list[PublishedHead]
) -> None:
    """Heads in the database match the entries, and each was published before it was stored."""
    known = {(head["epoch"], head["size"], head["root"]) for head in published}
    for row in stored:
        if roots.get(row.size) != row.root_hash:
            report.problems.append(f"The database's head of {row.size} entries does not match the entries.")
        if (row.epoch, row.size, row.root_hash) not in known:
            report.problems.append(f"The head of {row.size} entries (epoch {row.epoch}) is missing from heads.jsonl.")


def _check_remembered(
    report: Report, roots: dict[int, str], last: RememberedHead, published: list[PublishedHead]
) -> None:
    """Entries or publications cut short do not hide what was signed: the signer remembers its newest head."""
    known = {(head["epoch"], head["size"], head["root"]) for head in published}
    shown = (last["epoch"], last["size"], last["root"]) in known or roots.get(last["size"]) == last["root"]
    if last["size"] and not shown:
        report.problems.append(f"The signer has signed {last['size']} entries, but heads.jsonl does not show it.")
