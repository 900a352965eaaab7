"""Golden vectors and the measured arena: a model that does not compute what its author says is never accepted."""

import hashlib
import io
import json
import re

import cbor2
import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from ota import fit, measuring
from ota.contract import golden, interpreter
from ota.contract.golden import GoldenVector
from ota.errors import RefusedBundleError
from ota.measuring import vectors
from ota.models import Assignment, Bundle
from ota.selectors import fitting
from ota.services import arenas, bundles, reports, trust_keys
from pki.kernel import actor as actors
from pki.kernel.errors import InvalidError
from tests.factories import models
from tests.factories.artefacts import Makers, public
from tests.factories.ground import system

MODEL = models.dense()
GOLDEN = vectors.make_vectors(MODEL)


def rewritten(change):
    """Return the golden vectors with each case changed."""
    return golden.write_vectors([change(number, one) for number, one in enumerate(golden.read_vectors(GOLDEN))])


class TestFormat:
    """``golden.cbor`` and what is compared."""

    def test_what_is_written_is_read(self):
        cases = golden.read_vectors(GOLDEN)
        assert golden.write_vectors(cases) == GOLDEN
        assert len(cases) == vectors.CASES
        assert {one.tolerance for one in cases} == {1}

    @pytest.mark.parametrize(
        "value",
        [
            [], {}, {"v": 2, "cases": []}, {"v": 1, "cases": [{"in": [b""], "out": [b""], "tol": 1}] * 7},
            {"v": 1, "cases": [{"in": [b""], "out": [b""], "tol": 1}] * 65}, {"v": 1, "cases": [None] * 8},
            {"v": 1, "cases": [{"in": [], "out": [b""], "tol": 1}] * 8}, {"v": 1, "cases": [{"in": [b""], "out": [b""], "tol": -1}] * 8},
            {"v": 1, "cases": [{"in": [b""], "out": ["x"], "tol": 1}] * 8}, {"v": 1, "cases": [{"in": [b""], "out": [b""], "tol": True}] * 8},
            {"v": 1, "cases": [{"in": [b""], "out": [b""], "tol": float("nan")}] * 8}, {"v": 1, "cases": [{"in": [b""] * 17, "out": [b""], "tol": 1}] * 8},
            {"v": 1, "cases": [{"in": [b""], "out": [b""], "tol": 1}] * 8, "more": 1},
        ],
    )  # fmt: skip
    def test_anything_else_is_refused(self, value):
        with pytest.raises(InvalidError, match=r"[Gg]olden vector|finite number"):
            golden.read_vectors(cbor2.dumps(value))

    @given(st.binary(max_size=200))
    def test_noise_is_refused_and_never_breaks_the_reader(self, data):
        with pytest.raises(InvalidError):
            golden.read_vectors(data)

    @pytest.mark.parametrize(
        ("wanted", "got", "off"),
        [
            (np.int8([1, -128]), np.int8([1, 127]), 255), (np.uint8([0, 9]), np.uint8([255, 9]), 255), (np.float32([1.5]), np.float32([1.0]), 0.5),
            (np.float32([1]), np.float32([np.nan]), float("inf")), (np.float32([np.nan]), np.float32([np.nan]), float("inf")),
            (np.int8([1]), np.int8([1, 1]), float("inf")), (np.int64([2**62]), np.int64([-(2**62)]), float(2**63)), (np.int8([]), np.int8([]), 0),
        ],
    )  # fmt: skip
    def test_the_largest_difference_counts_and_wraps_nowhere(self, wanted, got, off):
        assert golden.largest_difference(wanted.tobytes(), got) == off


class TestTolerance:
    """Vectors that would hardly notice a broken model need their author's word."""

    @pytest.mark.parametrize(
        ("values", "dtype", "tolerance", "wide"),
        [
            (np.int8([1, 5]), "INT8", 4, False), (np.int8([1, 5]), "INT8", 5, True), (np.bool_([True]), "BOOL", 5, True),
            (np.float32([2, -10]), "FLOAT32", 1, False), (np.float32([2, -10]), "FLOAT32", 1.01, True), (np.float32([0]), "FLOAT32", 0.1, True),
            (np.float32([0]), "FLOAT32", 0, False), (np.float32([np.inf]), "FLOAT32", 1e300, True),
        ],
    )  # fmt: skip
    def test_steps_or_a_tenth_of_what_is_reached(self, values, dtype, tolerance, wide):
        assert golden.is_wide([GoldenVector((b"",), (values.tobytes(),), tolerance)], [dtype]) is wide

    def test_the_usual_one_is_a_step_or_a_thousandth(self):
        assert golden.usual_tolerance([(b"\x01",)], ["i1"]) == 1
        assert golden.usual_tolerance([(np.float32([-8]).tobytes(),)], ["f4"]) == 0.008
        mixed = [(b"\x01", np.float32([0.9]).tobytes())]
        tolerance = golden.usual_tolerance(mixed, ["i1", "f4"])
        assert not golden.is_wide([GoldenVector((b"",), mixed[0], tolerance)], ["INT8", "FLOAT32"])

    def test_each_output_is_judged_by_its_own_reach(self):
        wanted = (np.float32([0.9]).tobytes(), np.float32([1000]).tobytes())
        assert golden.is_wide([GoldenVector((b"",), wanted, 99)], ["FLOAT32", "FLOAT32"])


class TestInterpreter:
    """The reference interpreter, in this process and in its child."""

    def test_a_model_passes_its_own_vectors_and_another_model_does_not(self):
        cases = golden.read_vectors(GOLDEN)
        found = interpreter.try_out(MODEL, cases)
        assert (found.runs, found.failed, found.total) == (True, 0, 1264)
        other = interpreter.try_out(models.dense(seed=2), cases)
        assert (other.runs, other.failed) == (True, 1)
        assert other.difference > 1

    def test_inputs_of_another_length_fail_and_do_not_crash(self):
        short = [GoldenVector((one.given[0][:-1],), one.wanted) for one in golden.read_vectors(GOLDEN)]
        assert interpreter.try_out(MODEL, short).failed == 1
        assert interpreter.try_out(MODEL, [GoldenVector((b"", b""), (b"",))] * 8).failed == 1
        assert interpreter.try_out(MODEL, [GoldenVector((b"",), (b"",))] * 8).failed == 1

    def test_a_case_may_be_a_stream_of_steps(self):
        made = golden.read_vectors(vectors.make_vectors(MODEL, steps=5))
        assert {len(one.wanted[0]) for one in made} == {5 * 4}
        assert interpreter.try_out(MODEL, made).failed == 0
        last = [GoldenVector(one.given, (one.wanted[0][:-1] + bytes([one.wanted[0][-1] ^ 0x40]),)) for one in made]
        assert interpreter.try_out(MODEL, last).failed == 1

    @pytest.mark.parametrize(
        "said",
        [
            {}, {"runs": True}, {"runs": "yes"}, {"runs": True, "total": "x", "head": 0, "failed": 0, "difference": 0.0},
            {"runs": True, "total": -5, "head": 0, "failed": 0, "difference": 0.0}, {"runs": True, "total": 9, "head": 10, "failed": 0, "difference": 0.0},
            {"runs": True, "total": 9, "head": 1, "failed": 9, "difference": 0.0}, {"runs": True, "total": 9, "head": 1, "failed": 0, "difference": float("inf")},
            {"runs": True, "total": 1 << 60, "head": 1, "failed": 0, "difference": 0.0},
        ],
    )  # fmt: skip
    def test_a_child_that_was_taken_over_is_believed_nothing_odd(self, said):
        assert measuring.read_trial(said, cases=8) == measuring.Trial(
            runs=False, message="the interpreter's result cannot be parsed"
        )

    def test_the_child_measures_as_this_process_does_and_survives_what_is_no_model(self, tmp_path):
        model, vectors = tmp_path / "m.tflite", tmp_path / "golden.cbor"
        model.write_bytes(MODEL)
        vectors.write_bytes(GOLDEN)
        assert measuring.measure_model(model, vectors) == measuring.Trial(runs=True, total=1264, head=32)
        model.write_bytes(MODEL[:200])
        found = measuring.measure_model(model)
        assert not found.runs
        assert found.message

    def test_an_author_makes_vectors_from_inputs_of_his_own(self, tmp_path):
        inputs = tmp_path / "x.npy"
        np.save(inputs, np.random.default_rng(3).integers(-128, 128, (9, 16), dtype=np.int8))
        out = tmp_path / "golden.cbor"
        path = tmp_path / "m.tflite"
        path.write_bytes(MODEL)
        call_command("bundle", "golden", str(path), str(out), "--inputs", str(inputs))
        assert len(golden.read_vectors(out.read_bytes())) == 9
        np.save(inputs, np.zeros((9, 16), dtype=np.int8))
        with pytest.raises(CommandError, match="returns the same output for all these inputs"):
            call_command("bundle", "golden", str(path), str(out), "--inputs", str(inputs))
        np.save(inputs, np.zeros((9, 17), dtype=np.int8))
        with pytest.raises(CommandError, match="does not run on these inputs"):
            call_command("bundle", "golden", str(path), str(out), "--inputs", str(inputs))


@pytest.fixture
def forge(domain, hardware_model, tmp_path):
    """Return a function that uploads a model with golden vectors, signed as it must be."""
    makers = Makers(tmp_path / "makers")
    trust_keys.add(actor=system(domain), name="models", format="tflite", pem=public(makers.key))

    def run(data=MODEL, vectors_=GOLDEN, **changes):
        parts = {"m.tflite": (data, "image"), "m.jws": (makers.jws(data), "signature")}
        parts |= {"golden.cbor": (vectors_, "golden")} if vectors_ is not None else {}
        hw = [{"vendor_id": str(hardware_model.vendor_id), "class_id": str(hardware_model.class_id), "name": "node"}]
        listed = [
            {"path": name, "size": len(one), "sha256": hashlib.sha256(one).hexdigest(), "role": role}
            for name, (one, role) in parts.items()
        ]
        facts = {
            "schema": 1, "id": "wake", "version": "1.0.0", "kind": "model", "format": "tflite", "component": "model.wake",
            "security_counter": 1, "audience": ["production"], "hw": hw, "files": listed, **changes,
        }  # fmt: skip
        files = {name: io.BytesIO(one) for name, (one, _) in parts.items()}
        return bundles.upload(actor=system(domain), manifest=json.dumps(facts).encode(), files=files)

    return run


def refused(forge, words, **wish):
    with pytest.raises(InvalidError, match=words):
        forge(**wish)
    assert not Bundle.objects.filter(name="wake").exists()


@pytest.mark.django_db
class TestUpload:
    """The server runs what comes in."""

    def test_vectors_that_hold_are_kept_and_said(self, forge):
        digest = hashlib.sha256(GOLDEN).hexdigest()
        evaluation = {"metric": "accuracy", "minimum": "0.93", "window": 500, "golden": digest}
        kept = forge(eval=evaluation)
        assert kept.facts["golden"] == {"cases": vectors.CASES, "tolerance": "1"}
        said = {one["check"]: one for one in kept.report}
        assert said["golden vectors"]["outcome"] == f"all {vectors.CASES} match"
        assert said["golden vectors"]["tool"] == measuring.interpreter_version()
        assert kept.facts["arena"]["source"] == "measured"
        assert kept.facts["arena"]["need"] == fit.arena_margin(1264)

    def test_a_model_that_does_not_compute_what_its_vectors_say_is_refused(self, forge):
        refused(forge, r"Golden vector 1 fails: .* differs by \d+, and the tolerance is 1", data=models.dense(seed=2))

    def test_vectors_that_prove_nothing_are_refused(self, forge):
        one = golden.read_vectors(GOLDEN)[0]
        refused(forge, "expect the same outputs", vectors_=golden.write_vectors([one] * 8))
        wide = rewritten(lambda _, case: GoldenVector(case.given, case.wanted, 5))
        refused(forge, "tolerates more than 4 steps", vectors_=wide)
        assert forge(vectors_=wide, acknowledges=["wide-tolerance"]).facts["golden"]["tolerance"] == "5"

    @pytest.mark.parametrize("data", [b"x", GOLDEN + b"\0", GOLDEN[:-1], bytes(golden.MAX_GOLDEN + 1)])
    def test_vectors_that_cannot_be_read_are_refused(self, forge, data):
        refused(forge, "CBOR|vectors", vectors_=data)

    def test_the_manifest_says_only_what_belongs_to_models(self, forge, workshop):
        image = workshop.image()
        with pytest.raises(InvalidError, match="belong to models only"):
            workshop.upload(image, workshop.manifest(image, eval={"metric": "x", "minimum": "1"}))
        with pytest.raises(InvalidError, match="belong to models only"):
            workshop.upload(image, workshop.manifest(image, acknowledges=["wide-tolerance"]))
        refused(forge, "files does not list", eval={"metric": "x", "minimum": "1", "golden": "0" * 64})
        refused(forge, "minimum", eval={"metric": "x", "minimum": "much"})
        refused(forge, "unknown fields", eval={"metric": "x", "minimum": "1", "more": 1})
        refused(forge, "acknowledges", acknowledges=["everything"])

    def test_an_arena_declared_below_the_measured_one_needs_the_authors_word(self, forge):
        refused(forge, "declares 1263 bytes of arena, and the interpreter took 1264", fit={"arena": 1263})
        kept = forge(fit={"arena": 1263}, acknowledges=["arena-below-measured"])
        assert (kept.facts["arena"]["need"], kept.facts["arena"]["source"]) == (1263, "declared")
        assert any("less than it seems to need" in one["outcome"] for one in kept.report)

    def test_a_model_that_the_interpreter_does_not_run_fits_no_device_that_has_it(self, forge, hardware_model):
        kept = forge(data=models.dense((16, 8, 4), operator="FLOOR_MOD"), vectors_=None)
        assert not kept.facts["trial"]["runs"]
        [one] = fitting.incompatibility_reasons(kept, hardware_model)
        assert one.kind == "does_not_run"
        assert re.search("does not run it: .+", one.sentence)
        hardware_model.runtime = {"runtime": "litert"}
        assert fitting.incompatibility_reasons(kept, hardware_model) == []
        refused_data = models.dense((16, 8, 4), operator="FLOOR_MOD")
        with pytest.raises(RefusedBundleError, match="cannot be run"):
            forge(data=refused_data, version="1.0.1")


@pytest.mark.django_db
class TestReported:
    """What devices say of the arena counts more than what was declared, measured or predicted."""

    @pytest.fixture
    def given(self):
        """Return a function that gives a bundle to devices to install."""

        def run(bundle, *devices):
            for number, device in enumerate(devices):
                Assignment.objects.create(
                    domain=bundle.domain, action_id=number + 1, device=device, bundle=bundle, kind="update", content_stamp=1,
                )  # fmt: skip

        return run

    def tell(self, device, digest, arena, *, confirmed=True):
        who = actors.device_actor(device.domain.slug, device.key)
        rows = {"model.wake": {"sha256": digest, "arena": arena, "confirmed": confirmed}}
        arenas.note_arenas(actor=who, device=device, components=rows)

    def test_the_median_of_a_hardware_model_decides(self, forge, hardware_model, enrol, given):
        kept = forge(fit={"arena": 5000})
        digest = kept.image.sha256
        devices = [enrol(f"dev-{number}").device for number in range(3)]
        self.tell(devices[0], digest, 50_000)
        assert not kept.arenas.exists()  # nobody gave it this model
        given(kept, *devices)
        self.tell(devices[0], digest, 90_000, confirmed=False)
        assert not kept.arenas.exists()
        for device in devices[:2]:
            self.tell(device, digest, 1 << 40)
        again = Bundle.objects.get(pk=kept.pk)
        assert fitting.bundle_facts(again, hardware_model)["arena"]["source"] == "declared"  # two are too few
        for device in devices:
            self.tell(device, digest, 50_000)
        [one] = fitting.incompatibility_reasons(Bundle.objects.get(pk=kept.pk), hardware_model)
        assert (one.kind, one.context["need"], one.context["source"]) == ("arena_exceeded", 50_000, "reported")
        for device, arena in zip(devices, (9000, 9100, 1 << 40), strict=True):
            self.tell(device, digest, arena)
        again = Bundle.objects.get(pk=kept.pk)
        assert fitting.bundle_facts(again, hardware_model)["arena"]["need"] == 9100
        assert fitting.incompatibility_reasons(again, hardware_model) == []
        for device in devices:
            self.tell(device, digest, 1)
        assert (
            fitting.bundle_facts(Bundle.objects.get(pk=kept.pk), hardware_model)["arena"]["need"] == 1264
        )  # as measured

    def test_a_report_brings_it(self, forge, enrol, given):
        kept, one = forge(), enrol("dev-1")
        given(kept, one.device)
        component = {"version": "1.0.0", "sha256": kept.image.sha256, "counter": 1, "confirmed": True, "arena": 1300}
        body = {"device": one.device.key, "sequence": 1, "components": {"model.wake": component}}
        payload = cbor2.dumps(body)
        signature = one.key.sign(payload, ec.ECDSA(hashes.SHA256()))
        who = actors.device_actor(one.device.domain.slug, one.device.key)
        reports.receive_report(
            actor=who, device=one.device, payload=payload, signature=signature, certificate=bytes(one.certificate.der)
        )
        assert kept.arenas.get().median == 1300
        body["components"]["model.wake"]["arena"] = 0
        with pytest.raises(InvalidError, match="a model may have arena"):
            reports.parse_report(cbor2.dumps(body))
