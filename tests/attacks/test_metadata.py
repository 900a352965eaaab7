"""Rows T: the update metadata in a thief's hands."""

import shutil
import time
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.ngclient import Updater
from tuf.ngclient._internal import trusted_metadata_set

from fleet.agent import transport
from fleet.officer import keys
from pki.kernel import clock
from tests.attacks.table import attack
from tests.fleet.agent.adversary import HARDWARE, IMAGE, bundle, drip, image, path_of, row


def plain(thief, folder):
    """Let python-tuf's own client, as it is installed, look for the bundle; return what it lists."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    updater = Updater(str(folder), f"{thief.address}/v1/metadata/", bootstrap=thief.first_root)
    updater.refresh()
    return updater.get_targetinfo(path_of(bundle()))


def test_the_honest_case_is_installed(thief, victim):
    assert victim.tries() == ("confirmed", "")
    assert victim.installed == IMAGE


@attack("T1")
def test_changed_bytes(thief, refused):
    thief.routes[f"/v1/blob/{thief.row['sha256']}"] = IMAGE[:-1] + b"?"
    refused("are not the signed ones")


@attack("T2")
def test_a_bin_by_an_unknown_key(thief, victim, refused):
    keys.generate_key(thief.folder, "mallory")
    keys.generate_key(thief.folder, "mallory2")
    thief.release([bundle()], ("mallory", "mallory2"), version=3)
    refused("was signed by 0/2 keys")


@attack("T3")
def test_an_older_timestamp(thief, victim, refused):
    old = {name: data for name, data in thief.routes.items() if "timestamp" in name}
    thief.publish(2, 3)
    assert victim.looks() == []
    thief.routes.update(old)
    refused("version")


@attack("T4")
def test_an_older_snapshot_by_the_stolen_timestamp_key(thief, victim, refused):
    thief.publish(5, 5)
    assert victim.looks() == []
    thief.publish(4, 6)
    refused("version")


@attack("T5")
def test_an_older_bin_by_the_stolen_online_keys(thief, victim, refused):
    thief.release([bundle()], version=3)
    assert victim.looks() == []
    thief.publish(4, 4, names={"b-0": 2, "b-1": 2})
    refused("version")


@attack("T6")
def test_an_expired_timestamp(thief, victim, refused):
    thief.publish(2, 3, timestamp_at=clock.now() - timedelta(hours=3))
    refused("expired")
    assert victim.looks()[0][0] == "refused"


@attack("T7")
def test_newer_metadata_are_hidden(thief, victim, refused, tmp_path):
    thief.newest = {"timestamp": 9, "snapshot": 9}  # an honest director knows of them
    assert plain(thief, tmp_path / "plain") is not None
    refused("newer update metadata is withheld")
    [(state, reason)] = victim.looks()
    assert state == "refused"
    assert "withheld" in reason


@attack("T8")
def test_a_clock_in_2000_and_an_expired_timestamp(thief, refused, tmp_path, monkeypatch):
    thief.publish(2, 3, timestamp_at=clock.now() - timedelta(days=2))
    year_2000 = datetime(2000, 1, 1, tzinfo=UTC)

    class Stopped(datetime):
        @classmethod
        def now(cls, _zone=None):
            return year_2000

    monkeypatch.setattr(clock, "now", Stopped.now)
    monkeypatch.setattr(trusted_metadata_set, "datetime", SimpleNamespace(datetime=Stopped, timezone=timezone))
    assert plain(thief, tmp_path / "plain") is not None
    refused("expired")


@attack("T9")
def test_a_newer_bin_under_an_older_snapshot(thief, refused):
    old = dict(thief.routes)
    thief.release([bundle()], version=3)
    newer = {name: data for name, data in thief.routes.items() if name.startswith("/v1/metadata/3.b")}
    thief.routes.update(old)
    for name, data in newer.items():
        thief.routes[name.replace("/3.", "/2.")] = data
    thief.newest = {"timestamp": 2, "snapshot": 2}
    refused("got v3")


@attack("T10")
def test_a_snapshot_that_drops_a_bin(thief, victim, refused):
    thief.publish(5, 5, names={"b-0": 0, "b-1": 0})
    refused("missing info for")


@attack("T11")
def test_an_endless_image(thief, victim, refused):
    sent = []

    def endless(handler, _body):
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 30))
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(IMAGE)
                sent.append(len(IMAGE))
        except OSError:
            pass

    thief.routes[f"/v1/blob/{thief.row['sha256']}"] = endless
    refused("received more bytes")
    part = victim.slots("app").inactive.with_suffix(".part")
    assert not part.exists() or part.stat().st_size <= len(IMAGE) + 16 * 1024


@attack("T12")
def test_a_timestamp_of_a_megabyte(thief, refused):
    thief.routes["/v1/metadata/timestamp.json"] = b"{" + b" " * 1_000_000
    refused("exceeding the maximum allowed length")


def sign_root(thief, root, names):
    made = Metadata(root)
    for name in names:
        made.sign(keys.load_signer(thief.folder / f"{name}.key"), append=True)
    thief.routes[f"/v1/metadata/{root.version}.root.json"] = made.to_bytes()


@attack("T13")
def test_a_root_by_one_officer(thief, refused):
    root = Metadata[Root].from_bytes(thief.first_root).signed
    root.version = 2
    root.roles["targets"].threshold = 1
    sign_root(thief, root, ["anna"])
    refused("root was signed by 1/2 keys")


@attack("T14")
@pytest.mark.parametrize("role", ["targets", "bins"])
def test_targets_by_one_officer(thief, refused, role):
    thief.release([bundle()], ("anna",) if role == "bins" else ("anna", "bruno"), version=3)
    if role == "targets":
        thief.targets.signatures.popitem()
        thief.publish(3, 3)
    refused("was signed by 1/2 keys")


EVIL = image(b"evil" * 100)


@attack("T15", "U4")
def test_an_image_that_officers_never_signed(thief, victim, refused):
    evil = bundle(EVIL, version="9.0.0", security_counter=9)
    thief.serve(EVIL)
    thief.release([bundle(), evil], (), version=3)
    for one in thief.bins.values():
        one.sign(thief.online["snapshot"], append=True)
        one.sign(thief.online["timestamp"], append=True)
    thief.publish(3, 3)
    thief.direct(rows=[row(evil)])
    refused("was signed by 0/2 keys")


@attack("T16")
def test_bins_whose_keys_lie_on_the_server(thief, victim, refused):
    """Even officers who were talked into delegating the bins to a server's key would not be followed."""
    thief.release([bundle()], version=3)
    online = thief.online["snapshot"].public_key
    delegations = thief.targets.signed.delegations
    delegations.keys[online.keyid] = online
    delegations.succinct_roles.keyids = [online.keyid]
    delegations.succinct_roles.threshold = 1
    thief.targets.signatures.clear()
    for name in ("anna", "bruno"):
        thief.targets.sign(keys.load_signer(thief.folder / f"{name}.key"), append=True)
    for one in thief.bins.values():
        one.signatures.clear()
        one.sign(thief.online["snapshot"])
    thief.publish(3, 3)
    refused("delegate hash bins to keys that are not the release officers")


@attack("T17")
def test_a_fast_forward_and_the_recovery(thief, victim, refused):
    far = 2**31 - 1
    for one in (thief.targets, *thief.bins.values()):
        assert one.signed.version == 2
    thief.publish(far, far)
    thief.direct(version=clock.unix() + 3000)  # as far ahead as a device lets a director count
    assert victim.looks() == []
    thief.rotate()
    outcomes = [victim.tries() for _ in range(2)]
    assert ("confirmed", "") in outcomes
    assert victim.installed == IMAGE


@attack("T18")
def test_an_image_for_other_hardware(thief, refused, tmp_path):
    other = bundle(hw=[{"vendor_id": HARDWARE, "class_id": "2f0d1c6e-0000-5000-8000-000000000002", "name": "other"}])
    thief.release([other], version=3)
    thief.direct(rows=[row(other)])
    assert plain(thief, tmp_path / "plain") is not None
    refused("for other hardware")


@attack("T19")
def test_an_older_listed_image(thief, refused, tmp_path):
    thief.release([bundle()], version=3, floors={"app": {HARDWARE: 4}})
    assert plain(thief, tmp_path / "plain") is not None
    refused("below the signed floor of 4")


@attack("T20")
def test_a_drip_feed(thief, refused):
    thief.routes[f"/v1/blob/{thief.row['sha256']}"] = drip
    began = time.monotonic()
    refused("slower than 1 KiB/s", state="unreachable")
    assert time.monotonic() - began < 30


@attack("T20")
def test_a_feed_just_above_the_least_speed(thief, refused, monkeypatch):
    """Fast enough at each moment, and too slow on the whole: the time for all of it is bounded too."""
    monkeypatch.setattr(transport, "WHOLE_S", 1.0)
    monkeypatch.setattr(transport, "WHOLE_RATE", 1 << 30)
    thief.routes[f"/v1/blob/{thief.row['sha256']}"] = lambda handler, body: drip(handler, body, rate=4000)
    began = time.monotonic()
    refused("the whole download takes too long", state="unreachable")
    assert time.monotonic() - began < 30


def test_what_the_table_says_of_plain_tuf_is_tried_with_it(thief, tmp_path):
    thief.release([bundle()], ("anna",), version=3)
    with pytest.raises(RepositoryError):
        plain(thief, tmp_path / "plain")
