"""Claims of a tree's heads, kept in a file that nobody sees."""

import sqlite3
from pathlib import Path

import pytest

from pki.ledger.claims import CACHE_KB, ClaimedHead, Claims, Witnessed


def claims_of(*heads):
    claims = Claims()
    claims.add_published(ClaimedHead(*head) for head in heads)
    return claims


def test_each_head_is_given_back_in_its_order_with_the_true_root_where_there_is_one():
    with claims_of((0, 7, "a"), (0, 3, "b"), (0, 7, "a"), (1, -1, "c")) as claims:
        claims.add_witnessed([("one", ClaimedHead(0, 5, "d")), ("two", ClaimedHead(0, 9, "e"))])
        claims.want([4, 7])
        assert list(claims.sizes()) == [-1, 3, 4, 5, 7, 9]
        claims.add_roots([(3, "x"), (5, "y"), (7, "a")])
        assert list(claims.published()) == [
            (ClaimedHead(0, 7, "a"), "a"), (ClaimedHead(0, 3, "b"), "x"), (ClaimedHead(0, 7, "a"), "a"), (ClaimedHead(1, -1, "c"), None),
        ]  # fmt: skip
        assert list(claims.witnessed()) == [Witnessed("one", 0, 5, "d", "y"), Witnessed("two", 0, 9, "e", None)]
        assert (claims.root(7), claims.root(4), claims.root(100)) == ("a", None, None)


def test_a_head_was_published_only_as_a_whole():
    with claims_of((0, 7, "a"), (1, 8, "b")) as claims:
        assert claims.is_published(ClaimedHead(0, 7, "a"))
        for other in ((0, 7, "b"), (1, 7, "a"), (0, 8, "b")):
            assert not claims.is_published(ClaimedHead(*other))


def test_the_last_head_of_an_epoch_is_the_largest_and_of_two_the_first():
    with claims_of((0, 7, "a"), (0, 9, "b"), (0, 9, "c"), (0, 8, "d"), (2, 1, "e")) as claims:
        assert claims.last_published(0, 1) == (0, 9, "b")
        assert claims.last_published(0, 3) == (2, 1, "e")
        assert claims.last_published(1, 2) is None
        assert (claims.has_epoch(2), claims.has_epoch(1)) == (True, False)


def test_what_memory_does_not_hold_lies_in_a_file_without_a_name():
    many = 4 * CACHE_KB * 1024 // 64
    with Claims() as claims:
        claims.add_published(ClaimedHead(0, size, f"{size:064x}") for size in range(many))
        opened = list(Path("/proc/self/fd").iterdir())
        targets = [str(one.readlink()) for one in opened if one.is_symlink()]
        assert any("etilqs" in target and target.endswith("(deleted)") for target in targets)
        assert claims.last_published(0, 1).size == many - 1
    with pytest.raises(sqlite3.ProgrammingError):
        claims.root(1)
