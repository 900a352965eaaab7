"""The fit gate: a model goes only where flash, arena, runtime, schema, operators, types and I/O fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import runtime
from devices.services import hardware
from ota.errors import RefusedBundleError
from ota.fit import ModelCapacity, fit_verdict
from ota.formats import graph, onnx_model, tflite
from ota.models import Bundle
from ota.planning import WavePlan
from ota.selectors import fitting
from ota.services import releases, rollouts
from pki.kernel.errors import ConflictError, InvalidError
from pki.models import LedgerEntry
from tests.factories import models
from tests.factories.ground import system

PORT = {"shape": [1, 16], "dtype": "INT8"}


def facts_of(data):
    model = graph.read_model(data)
    found = tflite.inspect_tflite(model)
    return {**found, "flash": len(data), "arena": {"need": found["arena"]["predicted"], "source": "predicted"}}


@pytest.fixture(scope="module")
def facts():
    return facts_of(models.dense((16, 8, 4)))


def codes(facts, profile, form="tflite"):
    return [
        one.kind
        for one in fit_verdict(
            "model", form, facts, ModelCapacity(1 << 20, 1 << 20, runtime.parse_runtime_profile(profile))
        )
    ]


def test_a_profile_that_says_nothing_compares_flash_and_arena_only(facts):
    assert codes(facts, {}) == []


def test_a_profile_that_knows_all_the_model_needs_lets_it_through(facts):
    operators = {name: one["version"] for name, one in facts["operators"].items()}
    whole = {
        "runtime": "tflm", "schema_max": facts["schema"], "ops": operators, "dtypes": facts["dtypes"],
        "inputs": [{"shape": one["shape"], "dtype": one["dtype"]} for one in facts["inputs"]],
        "outputs": [{"shape": one["shape"], "dtype": one["dtype"]} for one in facts["outputs"]],
        "kernel_factor": "1.25",
    }  # fmt: skip
    assert codes(facts, whole) == []


@pytest.mark.parametrize(
    ("profile", "code", "sentence"),
    [
        ({"runtime": "onnx"}, "runtime_mismatch", "it is for tflite and the firmware runs onnx"),
        ({"schema_max": 2}, "schema_unsupported", "its schema is 3 and the firmware supports up to 2"),
        ({"ops": {}}, "op_missing", "the firmware has no operator FULLY_CONNECTED"),
        ({"dtypes": ["FLOAT32"]}, "dtype_unsupported", "the firmware does not support INT32"),
        (
            {"inputs": [{"shape": [1, 99], "dtype": "INT8"}]},
            "io_mismatch",
            "input 0 is INT8 1x16 and the application uses INT8 1x99",
        ),
        ({"outputs": []}, "io_mismatch", "the number of outputs is 1 and the application uses 0"),
    ],
)
def test_what_the_firmware_lacks_is_said_by_code_and_in_words(facts, profile, code, sentence):
    found = fit_verdict(
        "model", "tflite", facts, ModelCapacity(1 << 20, 1 << 20, runtime.parse_runtime_profile(profile))
    )
    assert found[0].kind == code
    assert found[0].sentence == sentence
    assert found[0].to_dict()["text"] == sentence


def test_an_operator_of_a_newer_version_is_refused_with_both_versions(facts):
    newer = {**facts, "operators": {"CONV_2D": {"count": 1, "version": 5}}}
    [one] = fit_verdict("model", "tflite", newer, ModelCapacity(1 << 20, 1 << 20, {"ops": {"CONV_2D": 3}}))
    assert (one.kind, one.context["subject"], one.context["need"], one.context["have"]) == (
        "op_version",
        "CONV_2D",
        5,
        3,
    )


def test_custom_operators_count_only_by_their_own_list(facts):
    custom = {**facts, "operators": {"EDGE_TPU": {"count": 1, "version": 1}}, "custom_operators": ["EDGE_TPU"]}
    assert codes(custom, {}) == []
    assert codes(custom, {"ops": "all"}) == ["custom_op"]
    assert codes(custom, {"ops": "all", "custom_ops": ["EDGE_TPU"]}) == []


def test_a_factor_for_the_kernels_concerns_predictions_only(facts):
    need = facts["arena"]["need"]
    tight = ModelCapacity(1 << 20, need, {"kernel_factor": "1.5"})
    [one] = fit_verdict("model", "tflite", facts, tight)
    assert (one.kind, one.context["need"]) == ("arena_exceeded", -(-need * 3 // 2))
    declared = {**facts, "arena": {"need": need, "source": "declared"}}
    assert fit_verdict("model", "tflite", declared, tight) == []


def test_an_onnx_model_is_compared_by_its_opset_types_and_ports():
    found = onnx_model.inspect_onnx(models.matmul())
    facts = {**found, "flash": 99, "arena": {"need": 0, "source": "not measured"}}
    ports = {
        side: [{"shape": one["shape"], "dtype": one["dtype"]} for one in found[side]] for side in ("inputs", "outputs")
    }
    fitting_ = {"runtime": "onnx", "schema_max": 21, "dtypes": ["FLOAT32"], "ops": {"MatMul": 13}, **ports}

    def told(profile, arena=0):
        return [
            one.kind
            for one in fit_verdict(
                "model", "onnx", facts, ModelCapacity(1 << 20, arena, runtime.parse_runtime_profile(profile))
            )
        ]

    assert told(fitting_) == []
    assert told(fitting_ | {"schema_max": 20}) == ["schema_unsupported"]
    assert told(fitting_ | {"dtypes": ["INT8"]}) == ["dtype_unsupported"]
    assert told(fitting_ | {"ops": {"Relu": 1}}) == ["op_missing"]
    assert told(fitting_ | {"ops": {"MatMul": 9}}) == ["op_version"]
    assert told(fitting_ | {"inputs": [{"shape": [9, 9], "dtype": "FLOAT32"}]}) == ["io_mismatch"]
    assert told({}, arena=4096) == ["not_measured"]


def test_a_dimension_that_a_model_leaves_open_matches_any_number(facts):
    batch = {**facts, "inputs": [{"shape": ["N", 16], "dtype": "INT8"}]}
    assert codes(batch, {"inputs": [{"shape": [4, 16], "dtype": "INT8"}]}) == []
    assert codes(batch, {"inputs": [{"shape": [4, 17], "dtype": "INT8"}]}) == ["io_mismatch"]


@pytest.mark.parametrize(
    "profile",
    [
        None, [], {"colour": 1}, {"runtime": "tensorflow"}, {"runtime": ["tflm"]}, {"schema_max": 0}, {"schema_max": True},
        {"ops": "some"}, {"ops": {"conv": 1}}, {"ops": {"CONV_2D": 0}}, {"ops": {"CONV_2D": "1"}}, {"ops": []},
        {"custom_ops": [1]}, {"custom_ops": ["a b"]}, {"dtypes": ["int8"]}, {"dtypes": [["INT8"]]}, {"kernel_factor": 1.5},
        {"kernel_factor": "0.5"}, {"kernel_factor": "1e9"}, {"inputs": PORT}, {"inputs": [{"shape": [1]}]},
        {"inputs": [{"shape": [-1], "dtype": "INT8"}]}, {"inputs": [{"shape": [1], "dtype": ["INT8"]}]},
        {"outputs": [PORT] * 17}, {"ops": {f"OP{number}": 1 for number in range(401)}},
    ],
)  # fmt: skip
def test_a_profile_that_cannot_be_meant_is_refused(profile):
    with pytest.raises(InvalidError, match="runtime profile"):
        runtime.parse_runtime_profile(profile)


WORD = st.sampled_from(["", "all", "tflm", "CONV_2D", "INT8", "1.5", "shape", "dtype", "conv"])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 9) | WORD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3),
    max_leaves=9,
)


@given(st.dictionaries(st.sampled_from(sorted(runtime.FIELDS)), ANY, max_size=4))
def test_whatever_is_given_is_refused_or_can_be_compared(facts, document):
    try:
        profile = runtime.parse_runtime_profile(document)
    except InvalidError:
        return
    for one in fit_verdict("model", "tflite", facts, ModelCapacity(1 << 20, 1 << 20, profile)):
        assert one.sentence


@pytest.mark.django_db
class TestInTheFleet:
    """The gate at the services."""

    @pytest.fixture
    def model(self, published):
        """Return an accepted bundle whose facts are those of a model that fits."""
        bundle = published.bundle()
        facts = facts_of(models.dense((16, 8, 4)))
        Bundle.objects.filter(pk=bundle.pk).update(kind="model", format="tflite", facts={**bundle.facts, **facts})
        kind = published.hardware
        type(kind).objects.filter(pk=kind.pk).update(flash_model=1 << 20, arena=1 << 20)
        kind.refresh_from_db()
        return Bundle.objects.get(pk=bundle.pk)

    def describe(self, published, profile):
        return hardware.set_runtime_profile(actor=system(published.domain), model=published.hardware, profile=profile)

    def test_what_does_not_fit_is_not_released(self, published, model):
        self.describe(published, {"ops": {}})
        with pytest.raises(RefusedBundleError, match="no operator FULLY_CONNECTED"):
            releases.prepare_release(actor=system(published.domain), bundle=model)
        self.describe(published, {})
        releases.prepare_release(actor=system(published.domain), bundle=model)

    def test_what_does_not_fit_any_more_is_not_rolled_out(self, published, model, enrol):
        enrol("dev-1")
        release = published.release(model)
        self.describe(published, {"schema_max": 1})
        with pytest.raises(ConflictError, match="its schema is 3 and the firmware supports up to 1"):
            rollouts.create(actor=system(published.domain), name="m", release=release, waves=[WavePlan(share=1000)])
        self.describe(published, {"schema_max": 3})
        rollouts.create(actor=system(published.domain), name="m", release=release, waves=[WavePlan(share=1000)])

    def test_a_rollout_is_held_as_soon_as_it_does_not_fit_any_more(self, published, model, enrol):
        enrol("dev-1")
        who, release = system(published.domain), published.release(model)
        made = rollouts.create(actor=who, name="m", release=release, waves=[WavePlan(share=1000)])
        rollouts.start(actor=who, rollout=made)
        self.describe(published, {"schema_max": 1})
        rollouts.tick(domain=published.domain)
        made.refresh_from_db()
        assert (made.state, made.waves.get().state) == ("held", "waiting")
        assert "its schema is 3 and the firmware supports up to 1" in made.hold_reason
        self.describe(published, {})
        rollouts.resume(actor=who, rollout=made)
        rollouts.tick(domain=published.domain)
        made.refresh_from_db()
        assert (made.state, made.waves.get().state) == ("running", "open")

    def test_the_matrix_says_what_fits_what_now(self, published, model):
        [row] = fitting.fit_matrix(actor=system(published.domain)).rows
        assert (row.bundle, row.cells) == (model, ([],))
        self.describe(published, {"runtime": "onnx"})
        found = fitting.fit_matrix(actor=system(published.domain))
        assert [one.name for one in found.models] == [published.hardware.name]
        assert [one.kind for one in found.rows[0].cells[0]] == ["runtime_mismatch"]

    def test_a_model_that_needs_a_newer_firmware_than_any_that_is_released_does_not_fit(self, published, model):
        published.release(published.bundle("2.0.0", 2))
        needs = {**model.manifest, "requires": [{"component": "app", "min_counter": 3}]}
        model.manifest = needs
        [one] = fitting.incompatibility_reasons(model, published.hardware)
        assert (one.kind, one.context["subject"], one.context["need"], one.context["have"]) == (
            "needs_firmware",
            "app",
            3,
            2,
        )
        assert "it depends on app with a security counter of at least 3, and the newest release has 2" in one.sentence
        needs["requires"] = [{"component": "app", "min_counter": 2}, {"component": "never-released", "min_counter": 9}]
        assert fitting.incompatibility_reasons(model, published.hardware) == []

    def test_a_description_stands_in_the_ledger(self, published):
        self.describe(published, {"runtime": "tflm"})
        [entry] = LedgerEntry.objects.filter(action="hardware.described")
        assert entry.detail == {"runtime": {"runtime": "tflm"}}
