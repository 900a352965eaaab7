"""Verify a ledger: recompute every leaf and the tree, compare with each signed head, inside and outside.

Entries, heads and what devices remember are read in a stream, and compared by way of a file (``pki.ledger.claims``):
the memory does not grow with the ledger.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

from pki.kernel import canonical, intake
from pki.kernel.actor import Actor
from pki.kernel.permissions import Action, require_action
from pki.ledger.claims import ClaimedHead, Claims
from pki.ledger.heads import RememberedHead
from pki.ledger.merkle import Frontier
from pki.models import LedgerEntry, LedgerHead, LedgerOrder, TrustDomain
from pki.selectors import get_domain as domain_of
from pki.services import journal, ledger, restores, signing

#: entries and heads that are read from the database at once
AT_ONCE = 500
_BEFORE = ("index", "id", "entry__domain_id", "entry__leaf_hash", "entry__at")
_PLACE = (*_BEFORE, *(f"entry__{name}" for name in ledger.LEAF_FIELDS))
#: index, id, domain, leaf hash, time, and the fields of the leaf
_Place = tuple[int, int, int, str, datetime, *tuple[object, ...]]
#: maximum number of problems that are listed
MOST_PROBLEMS = 1000
#: device, and epoch, size and root of the head that it reports
Memory = tuple[str, Sequence[object]]
#: called with the number of entries read so far, and of all entries
Progress = Callable[[int, int], None]

_RESTORED = {"epoch": 0, "lost_epoch": 0, "lost_size": 0, "lost_root": ""}
_SIGNED = ("_type", "domain", "epoch", "size", "root", "at")


@dataclass(slots=True)
class LedgerReport:
    """Result of a verification.

    Args:
        entries: leaves in the tree.
        waiting: leaves that no head covers yet.
        heads: published heads that were compared.
        witnesses: devices whose remembered heads of the audit log were compared.
        restores: one sentence for each time that a backup was put back.
        problems: one sentence each; none when all is well.
    """

    entries: int = 0
    waiting: int = 0
    heads: int = 0
    witnesses: int = 0
    restores: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    _unlisted: int = 0

    @property
    def ok(self) -> bool:
        """Return whether there are no problems."""
        return not self.problems

    def add_problem(self, sentence: str) -> None:
        """Add a problem; only the first ones are listed, with the number of the others."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(sentence)
            return
        self._unlisted += 1
        self.problems[MOST_PROBLEMS:] = [f"{self._unlisted:,} more problems are not listed."]


def verify_ledger(
    *,
    actor: Actor,
    witnesses: Iterable[Memory] = (),
    progress: Progress = lambda _done, _all: None,
) -> LedgerReport:
    """Verify the whole ledger of the actor's domain.

    Args:
        actor: anybody with a role.
        witnesses: heads that others received, by name: epoch, size and root.
        progress: called from time to time while entries are read.

    The database's owner can rewrite rows, so they are trusted only as far as they match what was published:
    heads in ``heads.jsonl``, signed by the key that the signer holds.
    """
    require_action(actor, Action.READ)
    domain = domain_of(actor.domain)
    report = LedgerReport()
    # In this order, so that what a running sequencer adds meanwhile is no finding.
    remembered = signing.signer_client("admin").last_head(domain.slug)
    newest = LedgerHead.objects.filter(domain=domain).order_by("-id").values_list("id", flat=True).first() or 0
    with Claims() as claims:
        claims.add_witnessed(_witnessed(report, witnesses))
        keys = signing.signer_client("admin").every_key(domain.slug, "ledger")
        claims.add_published(_published(report, domain, keys))
        claims.want(head.size for head in _stored(domain, newest))
        claims.want([remembered["size"]])
        claims.add_roots(_roots(domain, report, claims, progress))
        void = _void(domain, report, claims, _Proofs(keys, remembered["unsigned_restores"]))
        _check_published(report, claims, void)
        _check_stored(report, claims, _stored(domain, newest))
        _check_remembered(report, claims, remembered)
        _check_witnessed(report, claims, void)
    return report


def _witnessed(report: LedgerReport, witnesses: Iterable[Memory]) -> Iterator[tuple[str, ClaimedHead]]:
    for name, seen in witnesses:
        report.witnesses += 1
        match seen:
            case [int(epoch), int(size), str(root)]:
                yield name, ClaimedHead(epoch, size, root)
            case _:
                report.add_problem(f"The audit-log heads that {name} recorded cannot be parsed.")


def _published(report: LedgerReport, domain: TrustDomain, keys: Mapping[str, bytes]) -> Iterator[ClaimedHead]:
    """Yield the domain's heads of the journal, checking each signature on the way."""
    for head in journal.published_heads():
        if head["domain"] == domain.slug:
            _check_signature(report, head, keys.get(str(head.get("keyid")), b""))
            if not (0 <= head["epoch"] <= intake.MOST and 0 <= head["size"] <= intake.MOST):
                report.add_problem("heads.jsonl contains a head with an impossible epoch or size.")
                continue
            yield ClaimedHead(head["epoch"], head["size"], head["root"])


def _stored(domain: TrustDomain, newest: int) -> Iterator[ClaimedHead]:
    """Yield the heads in the database up to an internal id, oldest first."""
    after = 0
    while True:
        rows = LedgerHead.objects.filter(domain=domain, id__gt=after, id__lte=newest).order_by("id")
        some = list(rows.values_list("id", "epoch", "size", "root_hash")[:AT_ONCE])
        if not some:
            return
        yield from (ClaimedHead(epoch, size, root) for _, epoch, size, root in some)
        after = some[-1][0]


def _roots(domain: TrustDomain, report: LedgerReport, claims: Claims, progress: Progress) -> Iterator[tuple[int, str]]:
    """Yield the root at each size that is wanted, checking each leaf on the way."""
    frontier, sizes = Frontier(), claims.sizes()
    next_size = next((size for size in sizes if size > 0), None)
    last = LedgerOrder.objects.filter(domain=domain).order_by("-index").values_list("index", flat=True).first()
    for expected, (index, _, owner, told, at, *values) in enumerate(_places(domain)):
        if index != expected:
            report.add_problem(f"Entry {expected} is missing from the order.")
            break
        facts = dict(zip(ledger.LEAF_FIELDS, values, strict=True))
        leaf = ledger.hash_of(domain.slug, at, facts)
        if leaf != told or owner != domain.pk:
            report.add_problem(f"Entry {expected} ({facts['public_id']}) was changed.")
        frontier.add(bytes.fromhex(leaf))
        if frontier.size == next_size:
            yield frontier.size, frontier.root().hex()
            next_size = next(sizes, None)
        if frontier.size % AT_ONCE == 0:
            progress(frontier.size, (last or 0) + 1)
    report.entries = frontier.size
    report.waiting = LedgerEntry.objects.filter(domain=domain, order__isnull=True).count()


def _places(domain: TrustDomain) -> Iterator[_Place]:
    """Yield each place with its entry (the fields of ``_PLACE``) in order, in pieces.

    Each piece begins with the last place of the one before: a second place of that index, which only somebody who has
    taken the constraint away can make, is not passed over.
    """
    rows = LedgerOrder.objects.filter(domain=domain).order_by("index", "id").values_list(*_PLACE)
    some = list(rows[:AT_ONCE])
    while some:
        yield from some
        index, pk, *_ = some[-1]
        some = list(rows.filter(index__gte=index)[: AT_ONCE + 1])
        if some and some[0][1] == pk:
            del some[0]


@dataclass(frozen=True, slots=True)
class _Proofs:
    """Proofs of restores.

    Args:
        keys: public halves of the ledger's keys by id.
        unsigned: restores up to this epoch were made before restores were signed; the signer remembers it.
    """

    keys: Mapping[str, bytes]
    unsigned: int

    def hold(self, domain: TrustDomain, detail: dict[str, object], claims: Claims) -> bool:
        """Return whether a restore is signed, or older than signatures and known by the journal's heads."""
        if restores.has_signature(detail, domain.slug, self.keys):
            return True
        epoch = detail["epoch"]
        return isinstance(epoch, int) and 0 <= epoch <= self.unsigned and claims.has_epoch(epoch)


def _void(domain: TrustDomain, report: LedgerReport, claims: Claims, proofs: _Proofs) -> dict[int, int]:
    """Return, for each epoch that ended in a restore, the size up to which its heads still hold.

    A restore is signed, and names the last head that it lost: else anybody could make heads void by adding a row.
    """
    void: dict[int, int] = {}
    present = 0
    for entry in ledger.restored_epochs(domain).select_related("order").iterator(chunk_size=AT_ONCE):
        order, detail = getattr(entry, "order", None), _RESTORED | entry.detail
        # Until the sequencer has ordered it, what followed the entries that were read cannot be compared.
        index = min(report.entries, order.index) if order else report.entries
        new = int(detail["epoch"])
        if not proofs.hold(domain, detail, claims):
            report.add_problem(
                f"The restore at entry {index} has no signature of the signer: it was written directly into the"
                " database. The published heads are compared as if it did not exist."
            )
            continue
        named = (detail["lost_epoch"], detail["lost_size"], detail["lost_root"])
        if named != claims.last_published(present, new):
            report.add_problem(f"The restore at entry {index} does not name the last head before it.")
        waits = "" if order else " Its entry is not ordered yet: start the server, or wait a second."
        report.restores.append(
            f"A backup was restored at entry {index}: epoch {detail['lost_epoch']} had reached"
            f" {detail['lost_size']} entries; epoch {new} continues from here.{waits}"
        )
        void.update(dict.fromkeys(range(present, new), index))
        present = new
    return void


def _check_signature(report: LedgerReport, head: Mapping[str, object], public: bytes) -> None:
    report.heads += 1
    try:
        signed = canonical.dumps({name: head[name] for name in _SIGNED})
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(str(head["sig"])), signed)
    except (InvalidSignature, ValueError, KeyError, TypeError):
        report.add_problem(f"The published head of {head['size']} entries has no valid signature.")


def _check_published(report: LedgerReport, claims: Claims, void: dict[int, int]) -> None:
    for (epoch, size, root), true in claims.published():
        if not _is_void(void, epoch, size) and true != root:
            report.add_problem(f"The published head of {size} entries (epoch {epoch}) does not match the entries.")


def _check_witnessed(report: LedgerReport, claims: Claims, void: dict[int, int]) -> None:
    for name, epoch, size, root, true in claims.witnessed():
        if not _is_void(void, epoch, size) and true != root:
            report.add_problem(f"{name} received a different audit log of {size} entries (epoch {epoch}).")


def _is_void(void: dict[int, int], epoch: int, size: int) -> bool:
    """Return whether a head was lost in a restore, so that its entries are expected to be missing."""
    return epoch in void and size > void[epoch]


def _check_stored(report: LedgerReport, claims: Claims, stored: Iterable[ClaimedHead]) -> None:
    """Check that heads in the database match the entries, and that each was published before it was stored."""
    for head in stored:
        if claims.root(head.size) != head.root:
            report.add_problem(f"The database's head of {head.size} entries does not match the entries.")
        if not claims.is_published(head):
            report.add_problem(f"The head of {head.size} entries (epoch {head.epoch}) is missing from heads.jsonl.")


def _check_remembered(report: LedgerReport, claims: Claims, last: RememberedHead) -> None:
    """Check the signer's newest head: removing the last entries or heads cannot hide what was signed."""
    head = ClaimedHead(last["epoch"], last["size"], last["root"])
    shown = claims.is_published(head) or claims.root(head.size) == head.root
    if head.size and not shown:
        report.add_problem(f"The signer has signed {head.size} entries, but heads.jsonl does not show it.")
