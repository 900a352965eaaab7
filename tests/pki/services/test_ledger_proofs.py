"""Proofs from the database, and the export that anybody can verify with one file and no code of ours."""

import json
import subprocess
import sys

import pytest

from pki.kernel import actor as actors
from pki.ledger import merkle, proofs
from pki.models import LedgerEntry, LedgerHead, LedgerNode, LedgerOrder
from pki.selectors import signed_head
from pki.services import ledger, ledger_proofs
from tests.architecture.sources import ROOT
from tests.factories.ground import person, system
from tests.regressions import regression

pytestmark = pytest.mark.django_db
VERIFIER = ROOT / "pki/ledger/verifier.py"


def included(found, entry):
    path = [bytes.fromhex(one) for one in found.path]
    leaf = bytes.fromhex(ledger.leaf_hash(entry))
    return proofs.path_includes(leaf, found.index, found.size, path, bytes.fromhex(found.root))


def test_every_entry_has_a_proof_and_every_older_head_a_consistency(book, domain):
    book("a", "b", "c")
    old = signed_head(actor=system(domain))
    book("d", "e")
    who = person(domain, "viewer")
    for entry in LedgerEntry.objects.filter(domain=domain):
        assert included(ledger_proofs.prove_inclusion(actor=who, entry=str(entry.public_id)), entry)
    found = ledger_proofs.prove_consistency(actor=who, old=old.size)
    path = [bytes.fromhex(one) for one in found.path]
    roots = bytes.fromhex(old.root_hash), bytes.fromhex(found.new_root)
    assert proofs.path_extends(old.size, roots[0], found.new_size, roots[1], path)


def test_large_trees_keep_the_hashes_of_their_parts(book, domain):
    book(*(str(number) for number in range(600)))
    who = system(domain)
    entries = list(LedgerEntry.objects.filter(domain=domain).order_by("id"))
    for entry in (entries[0], entries[255], entries[256], entries[-1]):
        assert included(ledger_proofs.prove_inclusion(actor=who, entry=str(entry.public_id)), entry)
    assert LedgerNode.objects.filter(domain=domain, level=8).count() == 2


def test_a_head_goes_on_from_the_edge_of_the_last_one(book, domain):
    for name in "abcdefg":
        book(name)
    leaves = [bytes.fromhex(ledger.leaf_hash(one)) for one in LedgerEntry.objects.filter(domain=domain).order_by("id")]
    assert signed_head(actor=system(domain)).root_hash == merkle.tree_root(leaves).hex()


def exported(domain, path):
    path.write_bytes(b"".join(ledger_proofs.export_ledger(actor=system(domain))))
    return path


def verify(path, *further):
    command = [sys.executable, "-I", str(VERIFIER), str(path), *further]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=path.parent)


def test_the_export_verifies_alone(book, domain, tmp_path):
    book("a", "b", "c")
    book("d")
    path = exported(domain, tmp_path / "export.jsonl")
    assert verify(path).returncode == 0, verify(path).stdout
    key = json.loads(path.read_text().splitlines()[0])["keys"][0]
    assert verify(path, "--key", key).returncode == 0
    assert verify(path, "--key", "00" * 32).returncode == 1


@pytest.mark.parametrize("act", ["change", "remove", "swap", "cut"])
def test_an_export_that_somebody_touched_does_not(book, domain, tmp_path, act):
    book("a", "b", "c", "d")
    path = exported(domain, tmp_path / "export.jsonl")
    lines = path.read_text().splitlines()
    places = [number for number, line in enumerate(lines) if '"kind":"entry"' in line]
    if act == "change":
        lines[places[-2]] = lines[places[-2]].replace("thing.done", "thing.none")
    elif act == "remove":
        del lines[places[-2]]
    elif act == "swap":
        lines[places[-1]], lines[places[-2]] = lines[places[-2]], lines[places[-1]]
    else:
        lines = [line for line in lines if '"kind":"head"' not in line]
    path.write_text("\n".join(lines))
    assert verify(path).returncode == 1


@regression("R6", "the verifier that runs alone takes no restore that the ledger's key has not signed")
def test_an_export_with_an_invented_restore_does_not_verify(book, domain, owner, tmp_path):
    kept = book("a").size
    lost = book("b", "c")
    LedgerHead.objects.filter(domain=domain, size__gt=kept).delete()
    LedgerOrder.objects.filter(domain=domain, index__gte=kept).delete()
    LedgerEntry.objects.filter(domain=domain, order__isnull=True).delete()
    detail = {"epoch": 1, "lost_epoch": 0, "lost_size": lost.size, "lost_root": lost.root_hash}
    who = actors.system_actor(domain.slug, "restore")
    row = ledger.record(actor=who, action="ledger.restored", thing=("ledger", domain.slug), detail=detail)
    LedgerOrder.objects.create(domain=domain, index=kept, entry=row)
    done = verify(exported(domain, tmp_path / "export.jsonl"))
    assert done.returncode == 1
    assert "is not signed by this key" in done.stdout
