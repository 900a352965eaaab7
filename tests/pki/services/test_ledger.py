"""The ledger: written with the act, put in order afterwards, and true against whoever owns the database."""

import json

import pytest
from django.db import DatabaseError, connection, transaction

from pki.kernel import actor as actors
from pki.kernel.errors import ConflictError, DeniedError
from pki.kernel.recent import Recent
from pki.ledger import merkle
from pki.models import LedgerEntry, LedgerHead, LedgerOrder
from pki.selectors import ledger_head
from pki.services import journal, ledger, ledger_check, signing
from tests.factories.ground import person, system

pytestmark = pytest.mark.django_db


def verify(domain):
    return ledger_check.verify_ledger(actor=system(domain))


def test_entries_are_put_in_order_once_and_their_head_is_signed_inside_and_outside(book, domain):
    head = book("a", "b")
    places = LedgerOrder.objects.filter(domain=domain).order_by("index")
    assert [place.index for place in places] == list(range(head.size))
    leaves = [bytes.fromhex(place.entry.leaf_hash) for place in places]
    assert head.root_hash == merkle.tree_root(leaves).hex()
    assert list(journal.published_heads())[-1]["sig"] == head.signature
    assert ledger.sequence_leaves(domain=domain) is None
    assert book("c").size == head.size + 1
    report = verify(domain)
    assert report.ok, report.problems
    assert (report.entries, report.heads, report.waiting) == (head.size + 1, 2, 0)


def test_an_entry_says_who_did_what_to_what_and_its_hash_covers_it_all(book, domain):
    book("a")
    entry = LedgerEntry.objects.filter(domain=domain).last()
    text = json.loads(ledger.leaf_bytes(entry))
    assert text["actor"] == "system:test"
    assert text["object"] == "thing:a"
    for field, other in {
        "action": "thing.undone",
        "actor_key": "anna",
        "actor_kind": "operator",
        "via": "api",
        "object_kind": "device",
        "object_key": "b",
        "detail": {"n": 2},
        "request_id": "r",
        "at": entry.at.replace(year=2001),
    }.items():
        before = getattr(entry, field)
        setattr(entry, field, other)
        assert ledger.leaf_hash(entry) != entry.leaf_hash, field
        setattr(entry, field, before)
    assert ledger.leaf_hash(entry) == entry.leaf_hash


def test_an_act_that_fails_leaves_no_entry(book, domain):
    before = LedgerEntry.objects.filter(domain=domain).count()

    def act():
        with transaction.atomic():
            ledger.record(actor=system(domain), action="thing.done", thing=("thing", 1))
            raise ConflictError("no")

    with pytest.raises(ConflictError):
        act()
    assert LedgerEntry.objects.filter(domain=domain).count() == before


@pytest.mark.parametrize("model", [LedgerEntry, LedgerOrder, LedgerHead])
def test_the_database_refuses_to_change_or_remove_a_row(book, domain, model):
    book("a")
    row = model.objects.filter(domain=domain).last()
    with pytest.raises(DatabaseError, match="only grows"), transaction.atomic():
        model.objects.filter(pk=row.pk).update(domain=domain)
    with pytest.raises(DatabaseError, match="only grows"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {model._meta.db_table} WHERE id = %s", [row.pk])  # noqa: S608  because the table is ours


def test_a_changed_entry_is_found_even_without_triggers(book, domain, owner):
    book("a", "b", "c")
    entry = LedgerEntry.objects.get(domain=domain, object_key="b")
    LedgerEntry.objects.filter(pk=entry.pk).update(object_key="someone else")
    report = verify(domain)
    assert any(str(entry.public_id) in problem for problem in report.problems)


def test_a_changed_entry_with_its_hash_made_to_fit_is_found(book, domain, owner):
    book("a", "b", "c")
    entry = LedgerEntry.objects.get(domain=domain, object_key="b")
    entry.object_key = "someone else"
    entry.leaf_hash = ledger.leaf_hash(entry)
    entry.save()
    assert any("does not match the entries" in problem for problem in verify(domain).problems)


def test_two_entries_that_changed_places_are_found(book, domain, owner):
    book("a", "b", "c")
    first, second = LedgerOrder.objects.filter(domain=domain).order_by("-index")[:2]
    one, other = first.index, second.index
    LedgerOrder.objects.filter(pk=first.pk).update(index=10_000)
    LedgerOrder.objects.filter(pk=second.pk).update(index=one)
    LedgerOrder.objects.filter(pk=first.pk).update(index=other)
    assert any("does not match the entries" in problem for problem in verify(domain).problems)


@pytest.mark.parametrize("which", ["a", "c"])
def test_a_removed_entry_is_found_in_the_middle_and_at_the_end(book, domain, owner, which):
    book("a", "b", "c")
    LedgerOrder.objects.filter(entry__object_key=which, domain=domain).delete()
    LedgerEntry.objects.filter(object_key=which, domain=domain).delete()
    assert not verify(domain).ok


@pytest.fixture
def free_places(owner):
    """Take the constraints of the table of places away, as the database's owner can."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE pki_ledgerorder RENAME TO bound_places")
        cursor.execute("CREATE TABLE pki_ledgerorder AS SELECT * FROM bound_places")


@pytest.mark.parametrize("pieces", [1, 2, 3, 2000])
@pytest.mark.parametrize("place", [-1, 0, 1, 2])
def test_an_entry_hidden_at_another_ones_place_is_found(book, domain, free_places, monkeypatch, pieces, place):
    monkeypatch.setattr(ledger_check, "AT_ONCE", pieces)
    size = book("a", "b", "c").size
    assert verify(domain).ok
    hidden = ledger.record(actor=system(domain), action="thing.done", thing=("thing", "hidden"))
    LedgerOrder.objects.create(pk=10_000, domain=domain, index=place, entry=hidden)
    report = verify(domain)
    assert report.problems[0] == f"Entry {place + 1} is missing from the order."
    assert report.entries < size


def test_what_is_read_in_pieces_is_compared_as_a_whole(book, domain, owner, monkeypatch):
    monkeypatch.setattr(ledger_check, "AT_ONCE", 2)
    heads = [book(name) for name in "abcde"]
    told = [("good", [0, heads[1].size, heads[1].root_hash]), ("odd", [0, heads[2].size, heads[1].root_hash])]
    seen = []
    report = ledger_check.verify_ledger(actor=system(domain), witnesses=told, progress=lambda *one: seen.append(one))
    assert report.problems == [f"odd received a different audit log of {heads[2].size} entries (epoch 0)."]
    assert (report.entries, report.heads, report.witnesses) == (heads[-1].size, len(heads), 2)
    assert seen == [(done, heads[-1].size) for done in range(2, heads[-1].size + 1, 2)]
    LedgerHead.objects.filter(pk=heads[3].pk).update(root_hash="0" * 64)
    assert [problem.split(" ", 1)[0] for problem in verify(domain).problems] == ["The", "The"]


def test_a_head_of_no_entries_or_of_more_than_there_are_is_a_problem(book, domain):
    size = book("a").size
    told = [("none", [0, 0, merkle.EMPTY.hex()]), ("less", [0, -1, "0" * 64]), ("more", [0, size + 1, "0" * 64])]
    report = ledger_check.verify_ledger(actor=system(domain), witnesses=told)
    assert [problem.split()[0] for problem in report.problems] == ["none", "less", "more"]


def test_of_very_many_problems_the_first_are_told_and_the_others_counted(book, domain, monkeypatch):
    monkeypatch.setattr(ledger_check, "MOST_PROBLEMS", 3)
    book("a")
    told = [(f"device-{number}", [0, 1, "0" * 64]) for number in range(10)]
    problems = ledger_check.verify_ledger(actor=system(domain), witnesses=told).problems
    assert [problem.split()[0] for problem in problems] == ["device-0", "device-1", "device-2", "7"]


def rewrite(domain, **changes):
    """Rewrite the whole ledger as its owner would, hashes and heads included."""
    entry = LedgerEntry.objects.get(domain=domain, object_key="b")
    for name, value in changes.items():
        setattr(entry, name, value)
    entry.leaf_hash = ledger.leaf_hash(entry)
    entry.save()
    places = LedgerOrder.objects.filter(domain=domain).order_by("index").select_related("entry")
    leaves = [bytes.fromhex(place.entry.leaf_hash) for place in places]
    for head in LedgerHead.objects.filter(domain=domain):
        LedgerHead.objects.filter(pk=head.pk).update(root_hash=merkle.tree_root(leaves[: head.size]).hex())


def test_a_whole_ledger_rewritten_in_the_database_is_found_by_the_heads_outside(book, domain, owner):
    book("a", "b", "c")
    rewrite(domain, object_key="someone else")
    problems = verify(domain).problems
    assert any("published head" in problem for problem in problems)


def test_heads_outside_that_were_rewritten_too_lack_the_signature(book, domain, owner, journal_files):
    book("a", "b", "c")
    rewrite(domain, object_key="someone else")
    path = journal_files / "heads.jsonl"
    new = ledger_head(actor=system(domain)).root_hash
    lines = [json.dumps({**head, "root": new}) + "\n" for head in journal.published_heads()]
    path.write_text("".join(lines))
    problems = verify(domain).problems
    assert any("no valid signature" in problem for problem in problems)
    assert any("The signer has signed" in problem for problem in problems)


def test_heads_outside_that_were_removed_are_missed(book, domain, journal_files):
    book("a", "b")
    (journal_files / "heads.jsonl").unlink()
    assert any("missing from heads.jsonl" in problem for problem in verify(domain).problems)


def test_an_end_cut_off_inside_and_outside_is_known_to_the_signer(book, domain, owner, journal_files):
    kept = book("a")
    book("b")
    LedgerHead.objects.filter(domain=domain, size__gt=kept.size).delete()
    LedgerOrder.objects.filter(domain=domain, index__gte=kept.size).delete()
    LedgerEntry.objects.filter(domain=domain, object_key="b").delete()
    path = journal_files / "heads.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert verify(domain).problems == [
        f"The signer has signed {kept.size + 1} entries, but heads.jsonl does not show it."
    ]


@pytest.mark.parametrize(
    "line", ["{", "[]", '"x"', '{"domain": 1}', '{"domain":"D","epoch":0,"size":"x","root":[]}', "\x00\x01"]
)
def test_junk_in_the_file_of_heads_is_passed_over(book, domain, journal_files, line):
    book("a")
    with (journal_files / "heads.jsonl").open("a") as file:
        file.write(line.replace("D", domain.slug) + "\n")
    report = verify(domain)
    assert report.ok, report.problems


def test_another_domains_heads_and_entries_play_no_part(book, domain, signer, offline):
    book("a")
    from pki.services import domains

    other = domains.create(actor=actors.system_actor("other-book", "test"), slug="other-book", name="O", host_names=[])
    signing.signer_client("admin").create_online_keys("other-book")
    ledger.sequence_leaves(domain=other)
    assert verify(other).entries == 1
    report = verify(domain)
    assert report.ok, report.problems


def test_only_people_of_the_domain_and_the_system_may_verify(domain):
    ledger_check.verify_ledger(actor=person(domain, "viewer"))
    with pytest.raises(DeniedError):
        ledger_check.verify_ledger(actor=actors.device_actor(domain.slug, "x"))


def test_a_leaf_that_was_passed_over_gets_its_place_when_all_are_looked_at(book, domain):
    index = book("a").size
    late, early = (ledger.record(actor=system(domain), action="test.done", thing=("test", name)) for name in "bc")
    LedgerOrder.objects.create(domain=domain, index=index, entry=early)
    ledger.sequence_leaves(domain=domain)
    Recent.forget_all()  # as after an hour, and in another process
    ledger.sequence_leaves(domain=domain)
    assert LedgerOrder.objects.get(entry=late).index == index + 1


def test_more_leaves_than_one_transaction_takes_get_their_places_in_one_go(book, domain, monkeypatch):
    monkeypatch.setattr(ledger, "BATCH", 3)
    size = book("a").size
    for number in range(10):
        ledger.record(actor=system(domain), action="test.done", thing=("test", number))
    assert ledger.sequence_leaves(domain=domain).size == size + 10
