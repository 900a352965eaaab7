"""A database put back from a backup: noticed, refused, brought up to date, and honest about what was lost."""

import pytest

from pki.errors import StaleDatabaseError
from pki.kernel import actor as actors
from pki.kernel.errors import InvalidError
from pki.ledger.claims import ClaimedHead, Claims
from pki.models import Authority, LedgerEntry, LedgerHead, LedgerOrder, MonotoneNumber, TrustDomain
from pki.services import journal, ledger, ledger_check, numbers, published_heads, restore_check
from tests.factories.ground import system
from tests.regressions import regression

pytestmark = pytest.mark.django_db


def go_back(domain, size):
    """Leave of the ledger what a backup taken at that size holds."""
    LedgerHead.objects.filter(domain=domain, size__gt=size).delete()
    LedgerOrder.objects.filter(domain=domain, index__gte=size).delete()
    LedgerEntry.objects.filter(domain=domain, order__isnull=True).delete()


def verify(domain):
    return ledger_check.verify_ledger(actor=system(domain))


def test_a_database_that_reaches_every_published_head_is_fresh(book, domain):
    assert restore_check.restore_problems() == []
    book("a")
    assert restore_check.restore_problems() == []
    restore_check.require_current()


def test_published_heads_are_compared_in_pieces(book, domain, owner, monkeypatch):
    monkeypatch.setattr(published_heads, "AT_ONCE", 2)
    sizes = [book(name).size for name in "abcde"]
    assert restore_check.restore_problems() == []
    LedgerHead.objects.filter(domain=domain, size=sizes[1]).delete()  # a crash lost the row, not the entries
    assert restore_check.restore_problems() == []
    go_back(domain, sizes[2])
    assert f"entry {sizes[-1]}" in restore_check.restore_problems()[0]


def test_an_older_database_is_noticed_and_refused(book, domain, owner):
    kept = book("a").size
    book("b")
    go_back(domain, kept)
    with pytest.raises(StaleDatabaseError, match=r"restore --resume"):
        restore_check.require_current()


def test_a_database_that_went_on_writing_after_an_unnoticed_restore_is_noticed(book, domain, owner):
    kept = book("a").size
    book("b")
    go_back(domain, kept)
    entries = LedgerOrder.objects.filter(domain=domain).count()
    entry = LedgerEntry.objects.create(
        domain=domain, action="x", object_kind="x", object_key="x", actor_kind="x", actor_key="x", leaf_hash="0" * 64
    )
    LedgerOrder.objects.create(domain=domain, index=entries, entry=entry)
    assert restore_check.restore_problems()


def test_a_crash_between_publishing_a_head_and_storing_it_is_no_restore(book, domain, owner):
    head = book("a", "b")
    LedgerHead.objects.filter(pk=head.pk).delete()
    assert restore_check.restore_problems() == []
    again = ledger.sequence_leaves(domain=domain)
    assert (again.size, again.root_hash) == (head.size, head.root_hash)
    assert verify(domain).ok


def test_resume_begins_an_epoch_whose_first_leaf_names_what_was_lost(book, domain, owner):
    kept = book("a").size
    lost = book("b", "c")
    go_back(domain, kept)
    assert restore_check.resume_after_restore().lost == {domain.slug: 1}
    restore_check.require_current()
    head = book("d")
    assert (head.epoch, head.size) == (1, kept + 2)
    leaf = LedgerEntry.objects.get(domain=domain, action="ledger.restored")
    assert leaf.detail["lost_root"] == lost.root_hash
    report = verify(domain)
    assert report.ok, report.problems
    assert len(report.restores) == 1


def test_a_restore_is_verified_before_its_entry_is_in_order(book, domain, owner):
    kept = book("a").size
    book("b", "c")
    go_back(domain, kept)
    restore_check.resume_after_restore()
    report = verify(domain)
    assert report.ok, report.problems
    assert "not ordered yet" in report.restores[0]
    LedgerHead.objects.filter(domain=domain).update(root_hash="0" * 64)
    assert not verify(domain).ok
    assert any("does not match" in problem for problem in verify(domain).problems)


def test_the_same_backup_can_be_put_back_twice(book, domain, owner):
    kept = book("a").size
    book("b")
    go_back(domain, kept)
    restore_check.resume_after_restore()
    first = book("c")
    go_back(domain, kept)
    assert restore_check.restore_problems()
    restore_check.resume_after_restore()
    second = book("d", "e")
    assert second.epoch == first.epoch + 1
    report = verify(domain)
    assert report.ok, report.problems


def test_resuming_again_changes_nothing(book, domain, owner):
    kept = book("a").size
    book("b")
    go_back(domain, kept)
    restore_check.resume_after_restore()
    again = restore_check.resume_after_restore()
    assert again.lost == {}
    assert LedgerEntry.objects.filter(domain=domain, action="ledger.restored").count() == 1


def test_heads_cannot_be_made_void_by_a_leaf_that_claims_a_restore(book, domain, owner):
    kept = book("a").size
    book("b")
    go_back(domain, kept)
    detail = {"epoch": 1, "lost_epoch": 0, "lost_size": kept, "lost_root": "0" * 64, "applied": {}}
    who = actors.system_actor(domain.slug, "restore")
    ledger.record(actor=who, action="ledger.restored", thing=("ledger", domain.slug), detail=detail)
    assert any("has no signature of the signer" in problem for problem in verify(domain).problems)


def test_small_numbers_jump_past_all_that_were_handed_out(journal_files, domain):
    first = numbers.following_small(domain=domain, name="ddi-action")
    for _ in range(120):
        last = numbers.following_small(domain=domain, name="ddi-action")
    assert (first, last) == (1, 121)
    MonotoneNumber.objects.filter(domain=domain, name="ddi-action").update(value=first)
    restore_check.resume_after_restore()
    assert numbers.following_small(domain=domain, name="ddi-action") > last


def test_numbers_that_others_compare_are_above_the_past_without_a_journal(domain):
    last = [numbers.next_number(domain=domain, name="director") for _ in range(5)][-1]
    MonotoneNumber.objects.filter(domain=domain, name="director").delete()
    assert numbers.next_number(domain=domain, name="director") >= last - 5
    assert numbers.next_number(domain=domain, name="director") > numbers.next_number(domain=domain, name="other") - 5


def test_a_fact_whose_transaction_never_committed_is_applied_at_the_next_start(book, domain):
    book("a")
    journal.append_fact("number-block", domain=domain.slug, name="ddi-action", below=501)
    restore_check.require_current()
    assert numbers.following_small(domain=domain, name="ddi-action") > 500


def test_a_fact_that_cannot_be_applied_is_named_and_stops_no_other(book, domain):
    journal.append_fact("revoked", fingerprint="0" * 64)
    journal.append_fact("revoked", domain=domain.slug)
    journal.append_fact("domain", domain="late", key="no uuid", name="Late", host_names=[])
    journal.append_fact("kind-of-a-later-version", x=1)
    journal.append_fact("number-block", domain=domain.slug, name="n", below=101)
    resumed = restore_check.resume_after_restore()
    assert resumed.applied["number-block"] == 1
    assert len(resumed.refused) == 2
    assert not TrustDomain.objects.filter(slug="late").exists()


def test_a_line_that_a_crash_has_cut_is_passed_over(journal_files, domain):
    journal.append_fact("number-block", domain=domain.slug, name="a", below=101)
    with (journal_files / "journal.jsonl").open("ab") as file:
        file.write(b'{"kind": "number-blo')
    journal.append_fact("number-block", domain=domain.slug, name="b", below=201)
    assert [fact["name"] for fact in journal.read_facts() if fact["kind"] == "number-block"] == ["a", "b"]


def test_a_domain_and_its_authority_come_back(journal_files, signer, offline):
    from fleet.officer import authority
    from pki.services import authorities, domains

    who = actors.system_actor("late-domain", "test")
    made = domains.create(actor=who, slug="late-domain", name="Late", host_names=["late.example"])
    root = (offline / "root-ca" / "root-ca.pem").read_bytes()
    certificate = authority.certify_issuing_ca(offline / "root-ca", authorities.issuing_csr(actor=who, name="Late CA"))
    installed = authorities.install(actor=who, certificate=certificate, root=root)
    facts = list(journal.read_facts())
    Authority.objects.filter(domain=made).exclude(parent=None).delete()
    Authority.objects.filter(domain=made).delete()
    assert [fact["kind"] for fact in facts] == ["domain", "authority"]
    assert restore_check.resume_after_restore().applied == {"authority": 1}
    back = Authority.objects.get(domain=made, kind=Authority.Kind.ISSUING)
    assert back.fingerprint == installed.fingerprint
    assert (back.state, back.parent.kind) == (Authority.State.ACTIVE, Authority.Kind.ROOT)


def test_numbers_are_reserved_in_blocks_that_a_restore_jumps_past(domain):
    first = numbers.reserve_small(domain=domain, name="ddi-action", many=250)
    second = numbers.reserve_small(domain=domain, name="ddi-action", many=3)
    assert (list(first), list(second)) == (list(range(1, 251)), [251, 252, 253])
    MonotoneNumber.objects.filter(domain=domain, name="ddi-action").update(value=20)
    journal.apply_facts()
    assert numbers.following_small(domain=domain, name="ddi-action") > 253


@regression("R6", "an invented restore that names the last head hides no removed entries")
def test_an_invented_restore_hides_nothing(book, domain, owner):
    kept = book("a").size
    lost = book(*"bcdefgh")
    go_back(domain, kept)
    detail = {
        "epoch": 1, "lost_epoch": lost.epoch, "lost_size": lost.size, "lost_root": lost.root_hash, "applied": {},
    }  # fmt: skip
    who = actors.system_actor(domain.slug, "restore", via="command")
    ledger.record(actor=who, action="ledger.restored", thing=("ledger", domain.slug), detail=detail)
    assert restore_check.restore_problems(), "the database is older than the journal, whatever it says of itself"
    with pytest.raises(InvalidError, match="needs a signed restore"):
        ledger.sequence_leaves(domain=domain)
    problems = verify(domain).problems
    assert any("has no signature of the signer" in problem for problem in problems)
    assert any("does not match the entries" in problem for problem in problems)


@regression("R6", "a signed restore of one epoch or domain proves no other")
@pytest.mark.parametrize(
    "change", [{"epoch": 2}, {"lost_size": 1}, {"domain": "other"}, {"sig": "00" * 64}, {"at": ""}]
)
def test_a_changed_restore_is_not_proved(book, domain, owner, change):
    kept = book("a").size
    book("b")
    go_back(domain, kept)
    restore_check.resume_after_restore()
    book("c")
    assert verify(domain).ok
    entry = LedgerEntry.objects.get(domain=domain, action="ledger.restored")
    LedgerEntry.objects.filter(pk=entry.pk).update(detail=entry.detail | change)
    assert any("has no signature of the signer" in problem for problem in verify(domain).problems)


@regression("R6", "a restore made before restores were signed stays verifiable, and only up to its epoch")
def test_a_restore_of_an_older_version_stays_verifiable(book, domain, owner):
    kept = book("a").size
    book("b")
    go_back(domain, kept)
    restore_check.resume_after_restore()
    book("c")
    entry = LedgerEntry.objects.get(domain=domain, action="ledger.restored")
    old = {name: entry.detail[name] for name in ("epoch", "lost_epoch", "lost_size", "lost_root", "applied")}
    with Claims() as claims:
        own = (head for head in journal.published_heads() if head["domain"] == domain.slug)
        claims.add_published(ClaimedHead(head["epoch"], head["size"], head["root"]) for head in own)
        held = {unsigned: ledger_check._Proofs({}, unsigned).hold(domain, old, claims) for unsigned in (0, 1)}
        assert held == {0: False, 1: True}
        assert not ledger_check._Proofs({}, 9).hold(domain, old | {"epoch": 2}, claims)
        assert not ledger_check._Proofs({}, 9).hold(domain, old | {"epoch": "1"}, claims)
