"""A start reads what the journal has got since the last one, and misses nothing that reading all of it would notice."""

import json
from datetime import timedelta

import pytest

from pki.errors import StaleDatabaseError
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.models import JournalCheckpoint, LedgerEntry, LedgerHead, LedgerOrder, MonotoneNumber, TrustDomain
from pki.services import checkpoints, domains, journal, ledger, numbers, restore_check, signing
from tests.pki.services.test_restore_check import go_back
from tests.regressions import regression

pytestmark = pytest.mark.django_db
LONG_AGO = restore_check.LONGEST_TRANSACTION + timedelta(minutes=1)


def lines(path):
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def age_facts(folder):
    """Make every fact so old that no start applies it."""
    facts = [{**fact, "at": (clock.now() - LONG_AGO).isoformat()} for fact in journal.read_facts()]
    (folder / journal.FACTS).write_text("".join(json.dumps(fact) + "\n" for fact in facts))


def write_block(domain, below):
    """Write the fact that numbers below one are reserved."""
    journal.append_fact("number-block", domain=domain.slug, name="n", below=below)


def spoil(path, until):
    """Make the first bytes of a file unreadable where they lie; line breaks stay."""
    data = bytearray(path.read_bytes())
    data[:until] = bytes(10 if byte == 10 else 120 for byte in data[:until])
    with path.open("r+b") as file:
        file.write(data)


def kept_row():
    return JournalCheckpoint.objects.values("statement", "mac").get()


def put_row_back(row):
    """Put the checkpoint of a backup in the present one's place."""
    JournalCheckpoint.objects.update(**row)


def add_entry(domain):
    """Write an entry into the order that no head covers, as a server does that went on after a restore."""
    entry = LedgerEntry.objects.create(
        domain=domain, action="x", object_kind="x", object_key="x", actor_kind="x", actor_key="x", leaf_hash="0" * 64
    )
    index = LedgerOrder.objects.filter(domain=domain).count()
    LedgerOrder.objects.create(domain=domain, index=index, entry=entry)


def test_a_restart_reads_only_the_heads_that_came_since(book, domain, journal_files):
    for name in "abc":
        book(name)
    assert restore_check.require_current().heads == lines(journal_files / journal.HEADS) >= 3
    assert restore_check.require_current().heads == 0
    book("d")
    book("e")
    assert restore_check.require_current().heads == 2
    assert restore_check.require_current().heads == 0


def test_what_was_compared_is_not_read_again(book, domain, journal_files, caplog):
    for name in "abc":
        book(name)
    restore_check.require_current()
    path = journal_files / journal.HEADS
    before_last = len(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    spoil(path, before_last)
    book("d")
    assert restore_check.require_current().heads == 1
    assert "cut" not in caplog.text


def test_a_restart_reads_no_fact_that_is_too_old_to_be_applied(book, domain, journal_files):
    write_block(domain, 101)
    age_facts(journal_files)
    old = lines(journal_files / journal.FACTS)
    write_block(domain, 201)
    book("a")
    assert [restore_check.require_current().facts for _ in range(3)] == [old + 1, 1, 1]
    write_block(domain, 301)
    assert [restore_check.require_current().facts for _ in range(2)] == [2, 2]
    assert numbers.following_small(domain=domain, name="n") > 300


def test_an_old_fact_behind_a_young_one_is_read_again(book, domain, journal_files):
    age_facts(journal_files)
    old = lines(journal_files / journal.FACTS)
    write_block(domain, 101)
    book("a")
    with (journal_files / journal.FACTS).open("a") as file:
        file.write(json.dumps({"kind": "x", "at": (clock.now() - LONG_AGO).isoformat()}) + "\n")
    assert [restore_check.require_current().facts for _ in range(3)] == [old + 2, 2, 2]


def test_a_fact_whose_time_cannot_be_read_is_applied(book, domain, journal_files):
    book("a")
    fact = {"kind": "number-block", "at": "yesterday", "domain": domain.slug, "name": "n", "below": 101}
    with (journal_files / journal.FACTS).open("a") as file:
        file.write(json.dumps(fact) + "\n")
    assert restore_check.require_current().applied == {"number-block": 1}


def test_a_fact_of_a_crash_is_applied_at_the_next_start_and_again_after_a_restore(book, domain, journal_files):
    book("a")
    restore_check.require_current()
    backup = kept_row()
    journal.append_fact("number-block", domain=domain.slug, name="n", below=501)
    assert restore_check.require_current().applied == {"number-block": 1}
    MonotoneNumber.objects.filter(domain=domain, name="n").delete()
    put_row_back(backup)
    assert restore_check.require_current().applied == {"number-block": 1}


def test_facts_are_read_as_a_whole_when_the_newest_head_is_older_than_before(book, domain, journal_files, owner):
    age_facts(journal_files)
    old = lines(journal_files / journal.FACTS)
    book("a")
    assert [restore_check.require_current().facts for _ in range(2)] == [old, 0]
    LedgerHead.objects.filter(domain=domain).update(at=clock.now() - timedelta(days=1))
    assert restore_check.require_current().facts == old


def test_an_older_database_with_its_older_checkpoint_is_refused_until_it_is_resumed(book, domain, owner):
    kept = book("a").size
    restore_check.require_current()
    backup = kept_row()
    book("b")
    restore_check.require_current()
    go_back(domain, kept)
    put_row_back(backup)
    with pytest.raises(StaleDatabaseError, match=r"restore --resume"):
        restore_check.require_current()
    assert restore_check.resume_after_restore().lost == {domain.slug: 1}
    assert restore_check.require_current().heads == 1
    assert restore_check.require_current().heads == 0


def test_a_database_that_went_on_writing_after_an_unnoticed_restore_is_refused(book, domain, owner):
    kept = book("a").size
    restore_check.require_current()
    backup = kept_row()
    book("b")
    restore_check.require_current()
    go_back(domain, kept)
    put_row_back(backup)
    add_entry(domain)
    # A signer that never saw the lost head would sign this one; it stands behind the lost one in the journal.
    head = {"domain": domain.slug, "epoch": 0, "size": kept + 2, "root": "0" * 64}
    journal.append_head(head)
    LedgerHead.objects.create(
        domain=domain, epoch=0, size=kept + 2, root_hash="0" * 64, at=clock.now(), key_id="", signature=""
    )
    with pytest.raises(StaleDatabaseError):
        restore_check.require_current()


def test_the_same_backup_put_back_twice_is_noticed_twice(book, domain, owner):
    kept = book("a").size
    restore_check.require_current()
    backup = kept_row()
    for name in "bc":
        book(name)
        go_back(domain, kept)
        put_row_back(backup)
        with pytest.raises(StaleDatabaseError):
            restore_check.require_current()
        restore_check.resume_after_restore()
        restore_check.require_current()
        book(name * 2)
        restore_check.require_current()
    assert ledger.epoch_of(domain) == 2


def test_a_refused_start_keeps_no_checkpoint(book, domain, owner):
    kept = book("a").size
    restore_check.require_current()
    before = kept_row()
    book("b")
    go_back(domain, kept)
    with pytest.raises(StaleDatabaseError):
        restore_check.require_current()
    assert kept_row() == before


@regression("R6", "entries taken away behind a checkpoint that was kept are noticed all the same")
@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_checkpoint_stands_for_no_ledger_that_was_cut(book, domain, owner, left):
    sizes = [0, *(book(name).size for name in "abc")]
    restore_check.require_current()
    go_back(domain, sizes[left])
    with pytest.raises(StaleDatabaseError):
        restore_check.require_current()


@regression("R6", "an invented restore is not covered by a checkpoint either")
def test_an_invented_restore_makes_no_head_void(book, domain, owner):
    kept = book("a").size
    restore_check.require_current()
    backup = kept_row()
    lost = book(*"bcd")
    go_back(domain, kept)
    put_row_back(backup)
    detail = {"epoch": 1, "lost_epoch": lost.epoch, "lost_size": lost.size, "lost_root": lost.root_hash}
    who = actors.system_actor(domain.slug, "restore", via="command")
    ledger.record(actor=who, action="ledger.restored", thing=("ledger", domain.slug), detail=detail)
    with pytest.raises(StaleDatabaseError):
        restore_check.require_current()


@regression("R6", "a checkpoint that the database's owner advances is not accepted")
@pytest.mark.parametrize("mac", ["", "own"])
def test_a_checkpoint_moved_by_the_owner_of_the_database_is_not_used(book, domain, owner, journal_files, mac):
    kept = book("a").size
    restore_check.require_current()
    backup = kept_row()
    book("b")
    restore_check.require_current()
    go_back(domain, kept)
    later = kept_row()["statement"]
    statement = {**later, "tips": backup["statement"]["tips"]}
    JournalCheckpoint.objects.update(statement=statement, mac=backup["mac"] if mac else "")
    with pytest.raises(StaleDatabaseError):
        restore_check.require_current()


@pytest.mark.parametrize("statement", [{}, {"version": 1.5}, {"version": 2}, []])
def test_a_checkpoint_that_says_something_else_is_not_used(book, domain, journal_files, statement):
    book("a")
    restore_check.require_current()
    JournalCheckpoint.objects.update(statement=statement)
    assert restore_check.require_current().heads == lines(journal_files / journal.HEADS)
    assert restore_check.require_current().heads == 0


def test_a_checkpoint_of_another_version_is_not_used(book, domain, journal_files, monkeypatch):
    book("a")
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "VERSION", 2)
        restore_check.require_current()
    assert restore_check.require_current().heads == lines(journal_files / journal.HEADS)


@pytest.mark.parametrize("change", ["cut", "other line", "copy", "gone"])
def test_a_journal_that_was_cut_or_changed_is_read_as_a_whole(book, domain, journal_files, caplog, change):
    for name in "abc":
        book(name)
    restore_check.require_current()
    path = journal_files / journal.HEADS
    whole = path.read_bytes().splitlines(keepends=True)
    if change == "cut":
        with path.open("r+b") as file:
            file.truncate(len(b"".join(whole[:-1])))
    elif change == "other line":
        spoil(path, len(b"".join(whole)))
    else:
        path.unlink()
        if change == "copy":
            path.write_bytes(b"".join(whole))
    left = {"cut": len(whole) - 1, "other line": 0, "copy": len(whole), "gone": 0}[change]
    assert restore_check.require_current().heads == left
    assert "the journal was truncated, changed or replaced" in caplog.text


def test_a_head_that_was_changed_in_a_copied_journal_is_noticed(book, domain, journal_files):
    for name in "abc":
        book(name)
    restore_check.require_current()
    path = journal_files / journal.HEADS
    first, *others = path.read_text().splitlines(keepends=True)
    path.unlink()
    path.write_text(json.dumps({**json.loads(first), "root": "0" * 64}) + "\n" + "".join(others))
    with pytest.raises(StaleDatabaseError):
        restore_check.require_current()


def test_a_newest_head_whose_row_a_crash_has_lost_is_compared_until_it_has_one(book, domain, owner):
    book("a")
    restore_check.require_current()
    lost = book("b")
    LedgerHead.objects.filter(pk=lost.pk).delete()
    assert [restore_check.require_current().heads for _ in range(2)] == [1, 1]
    go_back(domain, lost.size - 1)
    with pytest.raises(StaleDatabaseError):
        restore_check.require_current()


def test_every_domain_is_compared_from_its_own_heads(book, domain, journal_files, owner):
    kept = book("a").size
    restore_check.require_current()
    other = domains.create(
        actor=actors.system_actor("second-book", "test"), slug="second-book", name="O", host_names=[]
    )
    signing.signer_client("admin").create_online_keys(other.slug)
    ledger.sequence_leaves(domain=other)
    assert restore_check.require_current().heads == lines(journal_files / journal.HEADS), (
        "a domain that the checkpoint lacks"
    )
    book("b")
    assert restore_check.require_current().heads == 1
    go_back(domain, kept)
    with pytest.raises(StaleDatabaseError, match=domain.slug):
        restore_check.require_current()
    assert restore_check.resume_after_restore().lost == {domain.slug: 1}
    restore_check.require_current()


def test_a_domain_that_comes_back_from_the_journal_is_compared_from_the_beginning(book, domain, journal_files):
    book("a")
    head = {"domain": "come-back", "epoch": 0, "size": 4, "root": "0" * 64}
    journal.append_head(head)
    restore_check.require_current()
    TrustDomain.objects.create(slug="come-back", name="Back")
    with pytest.raises(StaleDatabaseError, match="come-back"):
        restore_check.require_current()


def test_doctor_and_restore_read_the_whole_journal_whatever_was_kept(book, domain, journal_files, caplog):
    for name in "abc":
        book(name)
    restore_check.require_current()
    path = journal_files / journal.HEADS
    first = path.read_bytes().splitlines(keepends=True)[0]
    changed = first.replace(json.loads(first)["root"].encode(), b"0" * 64)
    with path.open("r+b") as file:
        file.write(changed)
    restore_check.require_current()
    assert restore_check.restore_problems(), "in the part that starts do not read again"
