"""The Merkle tree of RFC 6962, section 2.1, over SHA-256. Pure: hashes in, hashes out."""

import hashlib
from collections.abc import Sequence

EMPTY = hashlib.sha256(b"").digest()


def hash_leaf(data: bytes) -> bytes:
    """Return the hash of one leaf's bytes."""
    return hashlib.sha256(b"\x00" + data).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the tree's root over leaf hashes, in order."""
    stack = Frontier()
    for leaf in leaves:
        stack.add(leaf)
    return stack.root()


class Frontier:
    """The right edge of a growing tree: enough to add leaves and to know the root, in O(log n) memory."""

    def __init__(self, stack: Sequence[tuple[int, bytes]] = ()) -> None:
        self._stack: list[tuple[int, bytes]] = list(stack)
        self.size = sum(1 << height for height, _ in self._stack)

    @property
    def stack(self) -> tuple[tuple[int, bytes], ...]:
        """Return (height, hash) of the complete subtrees, largest first: all that has to be kept."""
        return tuple(self._stack)

    def add(self, leaf_hash: bytes) -> None:
        """Add the hash of the next leaf."""
        height, value = 0, leaf_hash
        while self._stack and self._stack[-1][0] == height:
            value = hash_node(self._stack.pop()[1], value)
            height += 1
        self._stack.append((height, value))
        self.size += 1

    def root(self) -> bytes:
        """Return the root of what has been added."""
        if not self._stack:
            return EMPTY
        value = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            value = hash_node(left, value)
        return value
