"""The tree against the vectors of Certificate Transparency and against RFC 6962's own recursive words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.ledger import merkle

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def by_the_book(leaves):
    """Return MTH(D[n]) as RFC 6962, 2.1 writes it."""
    if not leaves:
        return merkle.EMPTY
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.hash_node(by_the_book(leaves[:split]), by_the_book(leaves[split:]))


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_published_vectors(size):
    leaves = [merkle.hash_leaf(bytes.fromhex(one)) for one in LEAVES[:size]]
    assert merkle.tree_root(leaves).hex() == ROOTS[size]


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=70))
def test_a_growing_tree_has_the_root_of_the_recursive_definition(leaves):
    assert merkle.tree_root(leaves) == by_the_book(leaves)


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40, unique=True), st.data())
def test_every_leaf_and_its_place_count(leaves, data):
    at = data.draw(st.integers(0, len(leaves) - 1))
    assert merkle.tree_root(leaves[:at] + leaves[at + 1 :]) != merkle.tree_root(leaves)
    if len(leaves) > 1:
        other = data.draw(st.integers(0, len(leaves) - 1).filter(lambda one: one != at))
        swapped = list(leaves)
        swapped[at], swapped[other] = swapped[other], swapped[at]
        assert merkle.tree_root(swapped) != merkle.tree_root(leaves)


def test_a_leaf_cannot_pass_for_a_node():
    left, right = merkle.hash_leaf(b"a"), merkle.hash_leaf(b"b")
    assert merkle.hash_leaf(left + right) != merkle.hash_node(left, right)
