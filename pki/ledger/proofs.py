"""Inclusion and consistency proofs (RFC 6962, 2.1), and how to check them (RFC 9162, 2.1.3.2, 2.1.4.2). Pure.

A proof needs hashes of subtrees; ``Subtree`` says how to get one, so that no caller has to hold all leaves.
"""

from collections.abc import Callable, Sequence

from pki.ledger.merkle import hash_node

#: (first leaf, one after the last) -> hash of the tree over these leaves
Subtree = Callable[[int, int], bytes]


def split_size(size: int) -> int:
    """Return the largest power of two below a size of at least 2."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_path(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the path from a leaf to the root of the tree over the first ``size`` leaves."""
    first, last, path = 0, size, []
    while last - first > 1:
        middle = first + split_size(last - first)
        if index < middle:
            path.append(subtree(middle, last))
            last = middle
        else:
            path.append(subtree(first, middle))
            first = middle
    return path[::-1]


def consistency_path(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """Return the proof that the tree over ``new`` leaves extends the one over ``old``; 0 < old <= new."""
    if old == new:
        return []
    first, last, whole, path = 0, new, True, []
    while last - first != old - first:
        middle = first + split_size(last - first)
        if old <= middle:
            path.append(subtree(middle, last))
            last = middle
        else:
            path.append(subtree(first, middle))
            first, whole = middle, False
    if not whole:
        path.append(subtree(first, last))
    return path[::-1]


def path_includes(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Return whether a path leads from a leaf to a root."""
    if not 0 <= index < size:
        return False
    node, last, value = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            value = hash_node(sibling, value)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            value = hash_node(value, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and value == root


def path_extends(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Return whether a path proves that a tree extends an older one."""
    if old == new:
        return not path and old_root == new_root
    if not 0 < old < new or not path:
        return False
    parts = list(path) if old & (old - 1) else [old_root, *path]
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    before = after = parts[0]
    for part in parts[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            before, after = hash_node(part, before), hash_node(part, after)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            after = hash_node(after, part)
        node, last = node >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root
