"""Nodes of the ledger: kept by the sequencer, added later where they lack, and never needed for a proof to be right."""

import threading

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from fleet.jobs.table import list_jobs
from pki.kernel.recent import Recent
from pki.ledger import merkle, proofs
from pki.models import LedgerEntry, LedgerNode, LedgerOrder
from pki.selectors import signed_head
from pki.services import ledger, ledger_nodes, ledger_proofs
from tests.factories.ground import system

#: of a proof: the domain, the head, the entry, its node's leaves, its block's nodes, the upper ones, and the right edge's
MOST_QUERIES = 8
MANY = 3000


@pytest.fixture
def small(monkeypatch):
    """Make blocks of 16 leaves with nodes over 4: dozens of entries are a log of many blocks."""
    monkeypatch.setattr(ledger_nodes, "HIGH", 4)
    monkeypatch.setattr(ledger_nodes, "LOW", 2)


def leaves(domain):
    rows = LedgerOrder.objects.filter(domain=domain).order_by("index").select_related("entry__domain")
    return [bytes.fromhex(ledger.leaf_hash(row.entry)) for row in rows]


def expected_nodes(domain):
    """Return all nodes that a log has, by level and index, from its leaves alone."""
    known = leaves(domain)
    return {
        (level, index): merkle.tree_root(known[index << level : index + 1 << level]).hex()
        for level in (ledger_nodes.HIGH, ledger_nodes.LOW)
        for index in range(len(known) >> level)
    }


def kept_nodes(domain):
    rows = LedgerNode.objects.filter(domain=domain).values_list("level", "index", "hash")
    return {(level, index): value for level, index, value in rows}


def forget_nodes(domain, wanted=lambda _level, _index: True):
    for row in LedgerNode.objects.filter(domain=domain):
        if wanted(row.level, row.index):
            row.delete()
    Recent.forget_all()


def path_of(found):
    return [bytes.fromhex(one) for one in found.path]


def assert_included(domain, places):
    for row in LedgerOrder.objects.filter(domain=domain, index__in=places).select_related("entry__domain"):
        found = ledger_proofs.prove_inclusion(actor=system(domain), entry=str(row.entry.public_id))
        leaf = bytes.fromhex(ledger.leaf_hash(row.entry))
        assert proofs.path_includes(leaf, row.index, found.size, path_of(found), bytes.fromhex(found.root)), row.index


def assert_consistent(domain, sizes):
    known = leaves(domain)
    for old in sizes:
        found = ledger_proofs.prove_consistency(actor=system(domain), old=old)
        root = bytes.fromhex(found.new_root)
        assert proofs.path_extends(old, merkle.tree_root(known[:old]), found.new_size, root, path_of(found)), old


def statements(run):
    with CaptureQueriesContext(connection) as asked:
        run()
    return [query["sql"] for query in asked]


def work(domain):
    """Do one run of the sequencer's job."""
    next(job for job in list_jobs() if job.name == "ledger").run(domain)


@pytest.mark.django_db
@pytest.mark.parametrize("batch", [3, 7, 1000])
def test_the_sequencer_keeps_the_nodes_that_entries_complete(book, domain, small, monkeypatch, batch):
    monkeypatch.setattr(ledger, "BATCH", batch)
    monkeypatch.setattr(ledger, "BATCHES", 100)
    for many in (1, 2, 15, 1, 30, 3, 64):
        book(*map(str, range(many)))
        assert kept_nodes(domain) == expected_nodes(domain)


@pytest.mark.django_db
def test_entries_that_complete_nothing_cost_no_look_at_nodes(book, domain, small):
    size = book("a").size
    book(*map(str, range(4 - size % 4)))
    asked = statements(lambda: book("b"))
    assert [one for one in asked if "ledgernode" in one] == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "lost",
    [
        lambda _level, _index: False,
        lambda _level, _index: True,
        lambda level, _index: level == ledger_nodes.HIGH,
        lambda level, _index: level == ledger_nodes.LOW,
        lambda _level, index: index % 3 == 1,
    ],
    ids=["none", "all", "upper", "lower", "some"],
)
def test_every_proof_verifies_whatever_nodes_are_missing(book, domain, small, lost):
    size = book(*map(str, range(70))).size
    for place in range(0, size, 5):
        forget_nodes(domain, lost)
        assert_included(domain, [place])
    for old in range(1, size + 1, 5):
        forget_nodes(domain, lost)
        assert_consistent(domain, [old])
    assert kept_nodes(domain).items() <= expected_nodes(domain).items()


@pytest.mark.django_db
def test_every_entry_and_every_size_of_a_log_has_a_proof(book, domain, small):
    for many in (40, 1, 30):
        size = book(*map(str, range(many))).size
        assert_included(domain, range(size))
        assert_consistent(domain, range(1, size + 1))


@pytest.mark.django_db
def test_a_log_of_thousands_has_its_nodes_and_a_proof_asks_little(book, domain):
    size = book(*map(str, range(MANY))).size
    assert len(kept_nodes(domain)) == size >> ledger_nodes.LOW
    for place in (0, 255, 256, 1700, size - 1):
        assert len(statements(lambda place=place: assert_included(domain, [place]))) <= MOST_QUERIES + 1
    for old in (1, 256, 1700, size - 1):
        asked = statements(lambda old=old: ledger_proofs.prove_consistency(actor=system(domain), old=old))
        assert len(asked) <= MOST_QUERIES


@pytest.mark.django_db
def test_a_proof_asks_as_much_of_many_blocks_as_of_a_few(book, domain, small):
    def most():
        size = signed_head(actor=system(domain)).size
        return max(
            len(statements(lambda old=old: ledger_proofs.prove_consistency(actor=system(domain), old=old)))
            for old in range(1, size)
        )

    book(*map(str, range(70)))
    few = most()
    book(*map(str, range(400)))
    assert most() <= few <= MOST_QUERIES


@pytest.mark.django_db
def test_a_proof_computes_a_missing_block_by_one_look_at_its_leaves(book, domain, small):
    size = book(*map(str, range(70))).size
    forget_nodes(domain)
    asked = statements(lambda: ledger_proofs.prove_consistency(actor=system(domain), old=size - 1))
    blocks = (size >> ledger_nodes.HIGH) + 1
    assert len([one for one in asked if "leaf_hash" in one]) <= blocks + 2


@pytest.mark.django_db
def test_the_job_gives_a_log_without_nodes_one_block_a_run(book, domain, small):
    size = book(*map(str, range(70))).size
    wanted = expected_nodes(domain)
    forget_nodes(domain)
    blocks = (size >> ledger_nodes.HIGH) + 1
    for done in range(blocks):
        assert len({index >> 2 for level, index in kept_nodes(domain) if level == ledger_nodes.LOW}) == done
        work(domain)
    assert kept_nodes(domain) == wanted
    work(domain)
    assert [one for one in statements(lambda: work(domain)) if "ledgernode" in one] == []
    assert [one for one in statements(lambda: assert_consistent(domain, range(1, size))) if "INSERT" in one] == []


@pytest.mark.django_db
@pytest.mark.parametrize("lost", ["the last block", "one lower node of it", "all"])
def test_a_gap_below_new_entries_is_found_by_the_job(book, domain, small, lost):
    size = book("a").size
    size = book(*map(str, range(10 + 3 * 16 - size))).size
    assert (size >> 4, (size & 15) >> 2) == (3, 2)  # three whole blocks, and two lower nodes of the next one
    gone = {"the last block": {12, 13}, "one lower node of it": {13}, "all": set(range(14))}[lost]
    forget_nodes(domain, lambda level, index: (level == 2 and index in gone) or lost == "all")
    book(*map(str, range(20)))
    assert (ledger_nodes.HIGH, 3) not in kept_nodes(domain)
    for _ in range(4 if lost == "all" else 1):
        work(domain)
    assert kept_nodes(domain) == expected_nodes(domain)


def test_proofs_at_the_same_time_compute_the_same_nodes_once(real, small):
    with transaction.atomic():
        for name in range(70):
            ledger.record(actor=system(real), action="thing.done", thing=("thing", name))
    size = ledger.sequence_leaves(domain=real).size
    forget_nodes(real)
    start, failed = threading.Barrier(6), []

    def prove(old):
        try:
            start.wait(20)
            assert_consistent(real, range(old, size, 6))
        except BaseException as error:
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=prove, args=(old,)) for old in range(1, 7)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == []
    assert LedgerEntry.objects.filter(domain=real).count() == size
    assert kept_nodes(real) == expected_nodes(real)
