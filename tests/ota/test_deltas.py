"""Patches: made in the child, tried before they are offered, chosen by what the device has declared."""

import bz2
import gzip
import hashlib
import io
import lzma
import random
import tracemalloc

import bsdiff4.core
import cbor2
import detools
import detools.create
import hdiffpatch
import pytest
import zstandard
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ota.deltas import advice
from ota.deltas.candidates import CANDIDATES
from ota.deltas.choose import CANDIDATE_NAMES, TriedPatch, choose_patch
from ota.models import Assignment, Delta, PatchTry, Rollout
from ota.planning import Thresholds, WavePlan
from ota.selectors import patches
from ota.services import assignments, deltas, director, downloads, reports, rollouts
from ota.services.assignments import Feedback
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.errors import InvalidError, NotFoundError
from pki.kernel.recent import Recent
from tests import mutations
from tests.factories.artefacts import noise
from tests.factories.assignments import schedule_assignment
from tests.factories.ground import system

#: what the libraries and our own checks raise for what is no patch
REFUSALS = (
    InvalidError,
    ValueError,
    OverflowError,
    OSError,
    detools.Error,
    zstandard.ZstdError,
    hdiffpatch.HDiffPatchError,
)
ABLE = [{"format": name, "ram_max": 1 << 28, "out_max": 1 << 28} for name in CANDIDATE_NAMES]
BASE, FULL = "a" * 64, 100_000


def offer(size, base=BASE, format_="muster-1", ram=1000):
    return TriedPatch(format_, base, f"{size:064}", size, ram)


def test_the_table_of_makers_and_the_names_are_the_same():
    assert tuple(CANDIDATES) == CANDIDATE_NAMES


@pytest.mark.parametrize("name", CANDIDATE_NAMES)
def test_each_candidate_yields_the_very_image(name):
    old = noise(40_000, 1)
    new = old[:20_000] + b"new" * 500 + old[21_000:]
    made = CANDIDATES[name].make(old, new)
    assert CANDIDATES[name].apply(old, made, len(new)) == new
    assert len(made) < len(new) // 4


def small():
    old = noise(4000, 1)
    return old, old[:2000] + b"new" * 50 + old[2100:]


@pytest.mark.parametrize("length", [0, 1, 4049, 4051, 1 << 40])
@pytest.mark.parametrize("name", CANDIDATE_NAMES)
def test_a_patch_for_another_length_than_the_signed_one_is_not_applied(name, length):
    old, new = small()
    made = CANDIDATES[name].make(old, new)
    with pytest.raises(InvalidError):
        CANDIDATES[name].apply(old, made, length)


@pytest.mark.parametrize("name", CANDIDATE_NAMES)
def test_a_small_patch_that_would_fill_the_memory_is_refused_at_its_head(name):
    bomb = CANDIDATES[name].make(b"", bytes(1 << 20))
    assert len(bomb) < 1 << 15
    tracemalloc.start()
    with pytest.raises(InvalidError):
        CANDIDATES[name].apply(b"", bomb, 100)
    assert tracemalloc.get_traced_memory()[1] < 1 << 17
    tracemalloc.stop()


def test_a_stream_of_bsdiff_that_is_longer_than_its_head_says_is_refused():
    numbers = [bsdiff4.core.encode_int64(one) for one in (100, 0, 0)]
    control, bomb = bz2.compress(b"".join(numbers)), bz2.compress(bytes(1 << 20))
    head = b"BSDIFF40" + b"".join(bsdiff4.core.encode_int64(one) for one in (len(control), len(bomb), 100))
    with pytest.raises(InvalidError, match="longer than its result allows"):
        CANDIDATES["bsdiff"].apply(bytes(100), head + control + bomb + bz2.compress(b""), 100)


@pytest.mark.parametrize("name", CANDIDATE_NAMES)
def test_mutated_patches_never_yield_another_length(name):
    old, new = small()
    source, good = random.Random(5), CANDIDATES[name].make(old, new)
    refused = 0
    for _ in range(300):
        data = mutations.mutated(source, good)
        try:
            result = CANDIDATES[name].apply(old, data, len(new))
        except REFUSALS:
            refused += 1
            continue
        assert len(result) == len(new)
    assert refused > 200


def in_lzma(size):
    """Return a patch of detools that unpacks megabytes before its differences."""
    out = io.BytesIO()
    packer = detools.create.create_compressor("lzma", 8, 7)
    head = bytes([0 << 4 | 1]) + detools.create.pack_size(100)
    body = detools.create.pack_size(size) + bytes(size)
    out.write(head + packer.compress(body) + packer.flush())
    return out.getvalue()


def test_what_a_patch_of_detools_unpacks_before_its_differences_is_refused():
    bomb = in_lzma(1 << 24)
    assert len(bomb) < 10_000
    tracemalloc.start()
    with pytest.raises(InvalidError, match="heatshrink"):
        CANDIDATES["detools-heatshrink"].apply(b"", bomb, 100)
    assert tracemalloc.get_traced_memory()[1] < 1 << 17
    tracemalloc.stop()


def test_a_patch_of_bsdiff_with_more_steps_than_its_result_needs_is_refused():
    number = bsdiff4.core.encode_int64
    control = bz2.compress((number(0) + number(0) + number(1)) * 200_000)
    empty = bz2.compress(b"")
    data = b"BSDIFF40" + b"".join(map(number, (len(control), len(empty), 100))) + control + empty * 2
    with pytest.raises(InvalidError, match="longer than its result allows"):
        CANDIDATES["bsdiff"].apply(bytes(1000), data, 100)


@pytest.mark.parametrize(
    ("offers", "appliers", "runs", "size"),
    [
        ([], ABLE, BASE, None),
        ([offer(500), offer(400, format_="bsdiff")], ABLE, BASE, 400),
        ([offer(500), offer(400, format_="bsdiff")], ABLE[:1], BASE, 500),
        ([offer(500)], [], BASE, None),
        ([offer(500)], ABLE, "b" * 64, None),
        ([offer(500)], ABLE, "", None),
        ([offer(500, ram=1 << 30)], ABLE, BASE, None),
        ([offer(500)], [{**ABLE[0], "out_max": 10}], BASE, None),
        ([offer(95_000)], ABLE, BASE, None),
        ([offer(60_000, "")], ABLE, "", 60_000),
        ([offer(60_000, ""), offer(57_000)], ABLE, BASE, 60_000),
        ([offer(60_000, ""), offer(50_000)], ABLE, BASE, 50_000),
    ],
)
def test_the_smallest_that_pays_and_that_the_device_can_apply(offers, appliers, runs, size):
    chosen = choose_patch(offers, appliers, runs, FULL)
    assert (chosen.size if chosen else None) == size


@pytest.mark.parametrize(
    ("packed", "said"),
    [(gzip.compress, "a gzip stream"), (lzma.compress, "an xz stream"), (bz2.compress, "a bzip2 stream"),
     (lambda data: b"S" + lzma.compress(data), "packed or encrypted content")],
)  # fmt: skip
def test_the_author_of_a_compressed_image_is_told(tmp_path, packed, said):
    image = tmp_path / "image"
    image.write_bytes(packed(random.Random(3).randbytes(300_000)))
    assert f"It is {said}, so patches save almost nothing" in advice.of_file(image)


@pytest.mark.parametrize(("share", "is_told"), [(0.02, True), (0.1, False)])
def test_an_image_counts_as_packed_when_three_per_cent_or_less_could_be_saved(tmp_path, share, is_told):
    source, image = random.Random(4), tmp_path / "image"
    gap = int(1024 * share)
    image.write_bytes(b"".join(source.randbytes(1024 - gap) + bytes(gap) for _ in range(400)))
    assert bool(advice.of_file(image)) == is_told


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b" * 100, bytes(1 << 17), b"text of a firmware " * 9000])
def test_the_author_of_any_other_image_is_not(tmp_path, data):
    image = tmp_path / "image"
    image.write_bytes(data)
    assert advice.of_file(image) == ""


class Stage:
    """One device that runs an old image and shall run a new one."""

    def __init__(self, published, enrol):
        self.domain = published.domain
        self.old, self.new = published.bundle("1.0.0", 1), published.bundle("2.0.0", 2)
        self.release = published.release(self.new)
        self.enrol, self.one = enrol, enrol("delta-1")
        self.sequence = 0

    def report(self, **changes):
        self.sequence += 1
        image = self.old.image
        parts = {"app": {"version": "1.0.0", "sha256": image.sha256, "counter": 1, "confirmed": True}}
        body = {"device": self.one.device.key, "sequence": self.sequence, "at": 0, "components": parts, **changes}
        payload = cbor2.dumps(body)
        reports.receive_report(
            actor=self.actor, device=self.one.device, payload=payload,
            signature=self.one.key.sign(payload, ec.ECDSA(hashes.SHA256())), certificate=bytes(self.one.certificate.der),
        )  # fmt: skip
        self.one.device.twin.refresh_from_db()

    @property
    def actor(self):
        return actors.device_actor(self.domain.slug, self.one.device.key)

    def roll_out(self):
        made = rollouts.create(
            actor=system(self.domain), name="d", release=self.release, waves=[WavePlan(share=1000)],
            thresholds=Thresholds(900, 100),
        )  # fmt: skip
        rollouts.start(actor=system(self.domain), rollout=made)
        rollouts.tick(domain=self.domain)

    def ticks(self):
        while deltas.make_missing_patch(domain=self.domain):
            pass

    def row(self):
        import json

        data = director.director_document(actor=self.actor, device=self.one.device, nonce=b"n" * 16)
        return json.loads(data)["signed"]["assignments"][0]


@pytest.fixture
def stage(published, enrol):
    return Stage(published, enrol)


def read_by_tick(domain):
    """Return how many queries a run of the job asks, and whether it reads assignments or devices."""
    with CaptureQueriesContext(connection) as asked:
        deltas.make_missing_patch(domain=domain)
    tables = ('"ota_assignment"', '"devices_device"', '"devices_twin"')
    return len(asked), any(table in query["sql"] for query in asked for table in tables)


@pytest.mark.django_db
def test_devices_are_looked_at_only_when_a_rollout_has_gone_on(stage):
    stage.report(appliers=ABLE)
    stage.ticks()
    assert read_by_tick(stage.domain) == (1, False)
    stage.roll_out()
    assert read_by_tick(stage.domain)[1], "a wave has opened"
    stage.ticks()
    for _ in range(3):
        assert read_by_tick(stage.domain) == (3, False)
    action = Assignment.objects.get(closed_at=None)
    said = Feedback("finished")
    assignments.store_feedback(actor=stage.actor, device=stage.one.device, action_id=action.action_id, said=said)
    assert read_by_tick(stage.domain)[1], "the only device has ended its update"
    assert read_by_tick(stage.domain) == (3, False)
    Recent.forget_all()  # as after ten minutes, and in another process
    assert read_by_tick(stage.domain)[1]


@pytest.mark.django_db
def test_old_patches_that_nobody_waits_for_are_forgotten_in_pieces_once_an_hour(stage, monkeypatch):
    monkeypatch.setattr(deltas, "PRUNED", 2)
    old, new = clock.now() - 2 * deltas.KEPT, clock.now()
    for number, at in enumerate([old] * 5 + [new]):
        Delta.objects.create(domain=stage.domain, result=f"{number:064x}", format="bsdiff", made_at=at)
    assert not deltas.make_missing_patch(domain=stage.domain)
    assert [one.made_at for one in Delta.objects.all()] == [new]
    Delta.objects.update(made_at=old)
    assert not deltas.make_missing_patch(domain=stage.domain)
    assert Delta.objects.exists()
    Recent.forget_all()
    assert not deltas.make_missing_patch(domain=stage.domain)
    assert not Delta.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["update", "repair"])
def test_an_old_patch_stays_while_an_assignment_needs_it_which_the_kept_counts_tell(stage, kind):
    stage.report(appliers=[])
    stage.roll_out()
    rows = Assignment.objects.filter(domain=stage.domain, closed_at=None)
    needed = rows.get().bundle.image.sha256
    if kind == "repair":
        rows.update(kind="repair", rollout=None, wave=None)
    for result in (needed, "0" * 64):
        old = clock.now() - 2 * deltas.KEPT
        Delta.objects.create(domain=stage.domain, result=result, base="1" * 64, format="bsdiff", made_at=old)
    with CaptureQueriesContext(connection) as seen:
        assert not deltas.make_missing_patch(domain=stage.domain)
    assert [one.result for one in Delta.objects.filter(domain=stage.domain)] == [needed]
    late = [one["sql"] for one in seen if 'FROM "ota_delta"' in one["sql"] and "NOT (" in one["sql"]]
    assert late
    assert [sql for sql in late if "ota_assignment" in sql] == []
    rows.update(status="finished", closed_at=clock.now())
    Recent.forget_all()
    assert not deltas.make_missing_patch(domain=stage.domain)
    assert not Delta.objects.filter(domain=stage.domain).exists()


@pytest.mark.django_db
def test_an_image_that_was_collected_since_the_plan_was_made_is_left_out(stage):
    stage.report(appliers=ABLE)
    stage.roll_out()
    assert deltas.make_missing_patch(domain=stage.domain)
    stage.old.files.update(collected_at=clock.now())
    stage.ticks()
    left = {one.base for one in Delta.objects.filter(domain=stage.domain)[1:]}
    assert left <= {""}


@pytest.mark.django_db
def test_a_device_that_can_apply_patches_is_given_one(stage):
    stage.report(appliers=ABLE)
    stage.roll_out()
    assert patches.patch_progress(stage.new) is None
    assert deltas.make_missing_patch(domain=stage.domain)
    wanted = len(CANDIDATE_NAMES) + 1
    assert patches.patch_progress(stage.new) == (1, wanted)
    stage.ticks()
    assert patches.patch_progress(stage.new) == (wanted, wanted)
    made = Delta.objects.filter(domain=stage.domain)
    assert {one.format for one in made if one.base} == set(CANDIDATE_NAMES)
    assert [one.format for one in made if not one.base] == ["muster-1"]
    row = stage.row()
    stage.one.device.twin.refresh_from_db()
    assert stage.one.device.twin.reported["proof"]["client"] == "native"
    delta = row["delta"]
    told = patches.of_bundle(stage.new)
    assert {(one.base, one.format) for one in told} >= {("1.0.0", "bsdiff"), ("", "muster-1")}
    assert [one.saved for one in told] == sorted((one.saved for one in told), reverse=True)
    best = told[0]
    assert best.saved == pytest.approx(1 - best.size / stage.new.image.size)
    assert (delta["base"], delta["format"]) == ("", "muster-1"), "these images pack so well that no patch pays"
    assert not any(one.trouble for one in made)
    file = downloads.by_digest(actor=stage.actor, device=stage.one.device, sha256=delta["sha256"])
    old = b"" if not delta["base"] else downloads.blobs.blob_store().path(delta["base"]).read_bytes()
    image = CANDIDATES[delta["format"]].apply(old, file.path.read_bytes(), row["length"])
    assert hashlib.sha256(image).hexdigest() == row["sha256"]


def failing(stage, many, failures):
    """Let so many other devices of the rollout tell how their patch went."""
    rollout = Rollout.objects.get(domain=stage.domain)
    wave = rollout.waves.first()
    for number in range(many):
        other = stage.enrol(f"delta-other-{number}").device
        row = schedule_assignment(rollout=rollout, wave=wave, device=other, bundle=stage.new)
        row.status = "scheduled"
        row.save()
        who = actors.device_actor(stage.domain.slug, other.key)
        trouble = "the patched image is not the signed one" if number < failures else ""
        deltas.note_patch_result(actor=who, device=other, action_id=row.action_id, format_="muster-1", trouble=trouble)
    return rollout


@pytest.mark.django_db
@pytest.mark.parametrize(("many", "failures", "off"), [(3, 2, False), (3, 3, True), (5, 0, False)])
def test_a_format_that_fails_in_a_rollout_is_not_given_out_in_it_any_more(stage, many, failures, off):
    stage.report(appliers=[one for one in ABLE if one["format"] == "muster-1"])
    stage.roll_out()
    stage.ticks()
    assert "delta" in stage.row()
    rollout = failing(stage, many, failures)
    assert ("delta" not in stage.row()) == off
    [use] = patches.in_rollout(rollout.pk)
    assert (use.tried, use.failed, use.is_off) == (many, failures, off)
    assert patches.switched_off(rollout.pk + 1) == set()


def test_a_few_failures_among_many_switch_nothing_off():
    assert not patches.Use("muster-1", 300, 3).is_off
    assert patches.Use("muster-1", 299, 3).is_off
    assert not patches.Use("muster-1", 10, 2).is_off


@pytest.mark.django_db
def test_a_device_tells_how_its_patch_went_and_may_say_it_twice(stage):
    stage.report(appliers=ABLE)
    stage.roll_out()
    stage.ticks()
    action = stage.row()["action"]
    for _ in range(2):
        stage.report(action=action, state="confirmed", patch={"format": "muster-1", "trouble": "x" * 500})
    [told] = PatchTry.objects.all()
    assert (told.format, len(told.trouble)) == ("muster-1", 200)
    assert told.trouble.endswith("x [cut]")


@pytest.mark.parametrize(
    "patch",
    [7, [], {}, {"format": "muster-1"}, {"format": "moon", "trouble": ""}, {"format": "zstd", "trouble": 7},
     {"format": "zstd", "trouble": "", "more": 1}],
)  # fmt: skip
def test_what_is_no_word_about_a_patch_is_refused(patch):
    body = {"device": "x", "sequence": 1, "components": {}, "action": 1, "state": "confirmed", "patch": patch}
    with pytest.raises(InvalidError, match="`patch`"):
        reports.parse_report(cbor2.dumps(body))


@pytest.mark.django_db
def test_a_device_that_declares_nothing_gets_the_image(stage):
    stage.report()
    stage.roll_out()
    stage.ticks()
    assert not Delta.objects.filter(domain=stage.domain).exists()
    assert "delta" not in stage.row()


@pytest.mark.django_db
def test_a_patch_of_nobodys_action_is_not_given_out(stage, enrol):
    stage.report(appliers=ABLE[:1])
    stage.roll_out()
    stage.ticks()
    sha256 = Delta.objects.filter(domain=stage.domain, trouble="").first().sha256
    other = enrol("delta-2")
    actor = actors.device_actor(stage.domain.slug, other.device.key)
    with pytest.raises(NotFoundError):
        downloads.by_digest(actor=actor, device=other.device, sha256=sha256)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "appliers", [1, [1], [{}], [{"format": 1, "ram_max": 1, "out_max": 1}], ABLE * 2, [{**ABLE[0], "x": 1}]]
)
def test_appliers_that_are_none_are_refused(stage, appliers):
    with pytest.raises(InvalidError, match="appliers"):
        stage.report(appliers=appliers)


@pytest.mark.django_db
def test_a_format_that_is_not_made_here_is_no_mistake(stage):
    stage.report(appliers=[{"format": "of-tomorrow", "ram_max": 1, "out_max": 1}])
    assert stage.one.device.twin.reported["appliers"] == []


@pytest.mark.django_db
def test_an_image_of_another_domain_is_no_base_of_a_patch(stage, other_domain):
    """A device names what it runs: with another tenant's image it would be given what differs from that one."""
    stage.report(appliers=ABLE)
    stage.roll_out()
    type(stage.old).objects.filter(pk=stage.old.pk).update(domain=other_domain)
    stage.ticks()
    assert {one.base for one in Delta.objects.all()} == {""}
