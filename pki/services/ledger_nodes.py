"""Keep the hashes of complete subtrees of the ledger, so that a proof reads a few rows however long the log is.

Nodes stand at two levels: over ``2^LOW`` leaves, and over ``2^HIGH``, a *block*. A block's upper node is only ever
written with or after all of its lower ones, so it says that nothing is missing below it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from django.db.models import QuerySet

from pki.kernel.recent import Recent
from pki.ledger import merkle, proofs
from pki.models import LedgerNode, LedgerOrder, TrustDomain

#: levels of the nodes that are kept
HIGH, LOW = 16, 8
#: leaves read at once where a block is computed
AT_ONCE = 5000
#: seconds after which a process looks once more whether nodes are missing, whatever it remembers
WHOLE_S = 3600.0


@dataclass(slots=True)
class _Look:
    """State of one domain's nodes in this process."""

    whole: bool = False


_looks: Recent[int, _Look] = Recent(WHOLE_S)


class Tree:
    """Hashes of subtrees of one domain's ledger for one proof: kept nodes and leaves, each part read once."""

    def __init__(self, domain: TrustDomain) -> None:
        self._domain = domain
        self._low: dict[int, dict[int, bytes]] = {}
        self._leaves: dict[int, list[bytes]] = {}

    def subtree(self, first: int, last: int) -> bytes:
        """Return the hash of the tree over some placed leaves; both ends lie where RFC 6962 splits."""
        size = last - first
        if size == 1 << HIGH:
            return self._upper_node(first >> HIGH)
        if size == 1 << LOW:
            return self._lower_node(first >> LOW)
        if size < 1 << LOW:
            return self._part(first, last)
        middle = first + proofs.split_size(size)
        return merkle.hash_node(self.subtree(first, middle), self.subtree(middle, last))

    @cached_property
    def _high(self) -> dict[int, bytes]:
        """Return the upper nodes of the whole log: one for 65,536 entries."""
        return _read(LedgerNode.objects.filter(domain=self._domain, level=HIGH))

    def _upper_node(self, index: int) -> bytes:
        if index not in self._high:
            self._low[index] = compute_block(self._domain, index)
            self._high[index] = merkle.tree_root(list(self._low[index].values()))
        return self._high[index]

    def _lower_node(self, index: int) -> bytes:
        block = index >> HIGH - LOW
        if block not in self._low:
            self._low[block] = _lower_nodes(self._domain, block)
        if index not in self._low[block]:
            self._low[block] = compute_block(self._domain, block)
        return self._low[block][index]

    def _part(self, first: int, last: int) -> bytes:
        """Return the hash over fewer leaves than a node has, which lie under one node."""
        number = first >> LOW
        start = number << LOW
        if number not in self._leaves:
            self._leaves[number] = list(map(bytes.fromhex, _leaf_hashes(self._domain, start, start + (1 << LOW))))
        return merkle.tree_root(self._leaves[number][first - start : last - start])


def compute_block(domain: TrustDomain, block: int) -> dict[int, bytes]:
    """Compute all nodes of one block from its leaves and keep them; return the lower ones by index.

    Somebody else may do the same at the same time: both compute the same, and who is later adds nothing.
    """
    first = block << HIGH
    leaves = _leaf_hashes(domain, first, first + (1 << HIGH)).iterator(chunk_size=AT_ONCE)
    low = _over(first >> LOW, leaves)
    keep_nodes(_rows(domain, LOW, low) + _rows(domain, HIGH, _upper(block, low)))
    return low


def completed_nodes(domain: TrustDomain, first: int, leaves: Sequence[str]) -> list[LedgerNode]:
    """Return the nodes, not yet saved, of all subtrees that the next leaves complete.

    A block of which older nodes are missing gets no upper node here: ``fill_missing_nodes`` finds it by that.

    Args:
        domain: whose ledger grows.
        first: place of the first of these leaves; all before it have theirs.
        leaves: hex hashes.
    """
    start, end = first >> LOW << LOW, first + len(leaves)
    if end >> LOW == first >> LOW:
        return []
    low = _over(start >> LOW, [*_leaf_hashes(domain, start, first), *leaves])
    high: dict[int, bytes] = {}
    for block in range(first >> HIGH, end >> HIGH):
        high |= _upper(block, _lower_nodes(domain, block) | low)
    return _rows(domain, LOW, low) + _rows(domain, HIGH, high)


def keep_nodes(nodes: list[LedgerNode]) -> None:
    """Store nodes; an existing node has the same hash."""
    LedgerNode.objects.bulk_create(nodes, ignore_conflicts=True)


def fill_missing_nodes(*, domain: TrustDomain) -> bool:
    """Compute one block of which nodes are missing, as in a log from before; return whether there was one.

    Called by the sequencer's leased job, so that nobody's request has to compute a whole log.
    """
    look = _looks.get(domain.pk, _Look)
    block = None if look.whole else _missing_block(domain)
    if block is None:
        look.whole = True  # the sequencer adds the nodes of new entries with their places
        return False
    compute_block(domain, block)
    return True


def _missing_block(domain: TrustDomain) -> int | None:
    """Return the first block of which a node is missing."""
    last = LedgerOrder.objects.filter(domain=domain).order_by("-index").values_list("index", flat=True).first()
    size = 0 if last is None else last + 1
    blocks = size >> HIGH
    known = set(LedgerNode.objects.filter(domain=domain, level=HIGH).values_list("index", flat=True))
    for block in range(blocks):
        if block not in known:
            return block
    lower = (size >> LOW) - (blocks << HIGH - LOW)
    return blocks if len(_lower_nodes(domain, blocks)) < lower else None


def _over(index: int, leaves: Iterable[str]) -> dict[int, bytes]:
    """Return lower nodes by index over hex hashes of leaves; leave out leaves that do not fill a node."""
    rest, nodes = map(bytes.fromhex, leaves), dict[int, bytes]()
    while len(part := list(islice(rest, 1 << LOW))) == 1 << LOW:
        nodes[index + len(nodes)] = merkle.tree_root(part)
    return nodes


def _upper(block: int, low: dict[int, bytes]) -> dict[int, bytes]:
    """Return the node over a block by index, if all of its lower ones are given."""
    below = [low[index] for index in range(block << HIGH - LOW, block + 1 << HIGH - LOW) if index in low]
    return {block: merkle.tree_root(below)} if len(below) == 1 << HIGH - LOW else {}


def _lower_nodes(domain: TrustDomain, block: int) -> dict[int, bytes]:
    """Return the lower nodes of a block that are kept, by index."""
    first, end = block << HIGH - LOW, block + 1 << HIGH - LOW
    return _read(LedgerNode.objects.filter(domain=domain, level=LOW, index__gte=first, index__lt=end))


def _read(rows: QuerySet[LedgerNode]) -> dict[int, bytes]:
    return {index: bytes.fromhex(value) for index, value in rows.values_list("index", "hash")}


def _leaf_hashes(domain: TrustDomain, first: int, end: int) -> QuerySet[LedgerOrder, str]:
    """Return the hex hashes of placed leaves in order."""
    rows = LedgerOrder.objects.filter(domain=domain, index__gte=first, index__lt=end).order_by("index")
    return rows.values_list("entry__leaf_hash", flat=True)


def _rows(domain: TrustDomain, level: int, nodes: dict[int, bytes]) -> list[LedgerNode]:
    return [LedgerNode(domain=domain, level=level, index=index, hash=value.hex()) for index, value in nodes.items()]
