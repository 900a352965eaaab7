"""Proofs show what they must, for every small tree, and nothing else."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.ledger import merkle, proofs

LEAVES = [merkle.hash_leaf(str(number).encode()) for number in range(40)]


def subtree(first, last):
    return merkle.tree_root(LEAVES[first:last])


@pytest.mark.parametrize("size", range(1, 34))
def test_every_leaf_of_every_tree_is_included(size):
    root = subtree(0, size)
    for index in range(size):
        path = proofs.inclusion_path(index, size, subtree)
        assert proofs.path_includes(LEAVES[index], index, size, path, root)
        for other in range(size):
            assert proofs.path_includes(LEAVES[index], other, size, path, root) == (other == index)


@pytest.mark.parametrize("new", range(1, 34))
def test_every_tree_is_consistent_with_every_smaller_one(new):
    for old in range(1, new + 1):
        path = proofs.consistency_path(old, new, subtree)
        assert proofs.path_extends(old, subtree(0, old), new, subtree(0, new), path)
        assert not proofs.path_extends(old, merkle.hash_leaf(b"x"), new, subtree(0, new), path)
        assert not proofs.path_extends(old, subtree(0, old), new, merkle.hash_leaf(b"x"), path)


@given(st.integers(1, 33), st.data())
def test_a_changed_path_proves_nothing(size, data):
    index = data.draw(st.integers(0, size - 1))
    path = proofs.inclusion_path(index, size, subtree)
    change = data.draw(st.sampled_from(["cut", "longer", "flip"]))
    if change == "longer":
        path.append(hashlib.sha256(b"more").digest())
    elif not path:
        return
    elif change == "cut":
        path.pop(data.draw(st.integers(0, len(path) - 1)))
    else:
        at = data.draw(st.integers(0, len(path) - 1))
        path[at] = bytes([path[at][0] ^ 1]) + path[at][1:]
    assert not proofs.path_includes(LEAVES[index], index, size, path, subtree(0, size))


def test_a_history_that_was_rewritten_has_no_proof():
    other = [*LEAVES[:10], merkle.hash_leaf(b"forged"), *LEAVES[11:20]]
    path = proofs.consistency_path(15, 20, lambda first, last: merkle.tree_root(other[first:last]))
    assert not proofs.path_extends(15, subtree(0, 15), 20, merkle.tree_root(other), path)
