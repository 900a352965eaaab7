"""What a model exchanges with its application: quantisation and labels are part of it, and changes are acknowledged."""

import hashlib
import io
import json

import pytest
from onnx import parser

from devices import runtime
from ota import fit
from ota.errors import ManifestError, RefusedBundleError
from ota.fit import ModelCapacity, fit_verdict
from ota.formats import graph, onnx_model, tflite
from ota.formats.judgement import Judgement
from ota.manifest import agreement, parse_manifest
from ota.models import Bundle
from ota.services import bundles, releases, statements, trust_keys
from pki.kernel import canonical
from pki.kernel.errors import InvalidError
from tests.factories import models
from tests.factories.artefacts import Makers, public
from tests.factories.ground import system
from tests.regressions import regression

PORT = {"shape": [1, 4], "dtype": "INT8", "scale": "0.05", "zero_point": 3}
FACTS = {
    "flash": 9,
    "arena": {"need": 0, "source": "declared"},
    "inputs": [PORT],
    "outputs": [PORT],
    "labels": ["no", "yes"],
}


def told(profile, **facts):
    found = fit_verdict(
        "model", "tflite", {**FACTS, **facts}, ModelCapacity(1 << 20, 1 << 20, runtime.parse_runtime_profile(profile))
    )
    return [one.sentence for one in found]


def given(**changes):
    return {"inputs": [{**PORT, **changes}]}


@regression("R14", "a profile that states scale and zero point, and models with others")
def test_scale_and_zero_point_are_compared_with_the_profile():
    assert told({"inputs": [{"shape": [1, 4], "dtype": "INT8"}]}) == []
    assert told(given()) == []
    assert told(given(scale="0.0500000007")) == [], "the same 32-bit number"
    [scale] = told(given(scale="0.1"))
    assert scale == (
        "input 0 is INT8 1x4 scale 0.05 zero point 3 and the application uses INT8 1x4 scale 0.1 zero point 3"
    )
    assert len(told(given(zero_point=-128))) == 1
    assert len(told(given(), inputs=[{**PORT, "scale": None, "zero_point": None}])) == 1, (
        "nothing is said is not the same"
    )


@regression("R14", "a profile that states labels, and models with others or in another order")
def test_labels_are_compared_with_the_profile():
    assert told({"labels": ["no", "yes"]}) == []
    assert told({"labels": ["yes", "no"]}) == [
        "it declares label 0 is 'no' instead of 'yes', and the application expects 2 labels in its own order"
    ]
    assert "2 labels instead of 3" in told({"labels": ["no", "yes", "maybe"]})[0]
    assert "no labels" in told({"labels": ["no", "yes"]}, labels=[])[0]


@pytest.mark.parametrize(
    "changes",
    [{"scale": 0.1}, {"scale": "0"}, {"scale": "-1"}, {"scale": "nan"}, {"scale": "1e999"}, {"zero_point": "3"}, {"zero_point": True},
     {"zero_point": 1 << 40}, {"axis": 0}],
)  # fmt: skip
def test_a_quantisation_that_cannot_be_meant_is_refused(changes):
    with pytest.raises(InvalidError, match="field inputs"):
        runtime.parse_runtime_profile(given(**changes))
    for labels in ([], ["a", "a"], [1], ["a\n"], ["x" * 101], "ab"):
        with pytest.raises(InvalidError, match="field labels"):
            runtime.parse_runtime_profile({"labels": labels})


def changed(**after):
    return [(one.acknowledgement, one.text) for one in fit.port_changes(FACTS, {**FACTS, **after})]


@regression("R14", "scale, zero point, shape, type or labels that differ from the model before")
def test_each_difference_to_the_model_before_is_named():
    assert changed() == []
    assert changed(labels=["yes", "no"]) == [
        ("labels-changed", "labels are reordered: 0: 'no' -> 'yes', 1: 'yes' -> 'no'")
    ]
    assert changed(labels=["no", "yes", "maybe"]) == [
        ("labels-changed", "labels change (2 before, 3 now): the last ones")
    ]
    assert changed(labels=[])[0][1] == "labels are no longer declared (2 were)"
    [(word, text)] = changed(outputs=[{**PORT, "scale": "0.1"}])
    assert (word, text.split(" to ")[1]) == ("io-changed", "INT8 1x4 scale 0.1 zero point 3")
    for port in (
        {**PORT, "zero_point": 0},
        {**PORT, "dtype": "UINT8"},
        {**PORT, "shape": [1, 5]},
        {**PORT, "scale": None},
    ):
        assert [one for one, _ in changed(inputs=[port])] == ["io-changed"]
    assert changed(inputs=[])[0][1] == "the number of inputs changes from 1 to 0"


def test_quantisation_is_read_from_both_formats():
    found = tflite.inspect_tflite(graph.read_model(models.dense((16, 4))))
    assert (found["inputs"][0]["scale"], found["inputs"][0]["zero_point"]) == ("0.0500000007", 0)
    head = '<ir_version: 8, opset_import: ["" : 13]> g (int8[1,4] x) => (int8[1,4] y)'
    constants = "<float s = {0.05}, int8 z = {3}, float[2] many = {0.1, 0.2}>"
    body = "{ f = DequantizeLinear (x, s, z) y = QuantizeLinear (f, s, z) }"
    found = onnx_model.inspect_onnx(parser.parse_model(f"{head} {constants} {body}").SerializeToString())
    assert [(one["scale"], one["zero_point"]) for one in (*found["inputs"], *found["outputs"])] == [
        ("0.0500000007", 3)
    ] * 2
    channels = "{ f = DequantizeLinear <axis = 1> (x, many) y = QuantizeLinear (f, s, z) }"
    with pytest.raises(RefusedBundleError, match="per channel"):
        onnx_model.inspect_onnx(parser.parse_model(f"{head} {constants} {channels}").SerializeToString())


@regression("R14", "an input with one scale for each channel")
def test_an_input_with_a_scale_for_each_channel_is_refused():
    tensor = graph.Tensor("x", (1, 4), "INT8", 0, variable=False, scale=0.1, zero_point=0, steps=4)
    with pytest.raises(RefusedBundleError, match="4 scales"):
        tflite._port(tensor)


@pytest.mark.django_db
class TestBeforeOfficersSign:
    """Two models of one component, the second with other facts."""

    @pytest.fixture
    def make(self, published):
        """Return a maker of uploaded bundles that are turned into models with these facts."""
        type(published.hardware).objects.update(flash_model=1 << 20, arena=1 << 20)

        def made(version, acknowledges=(), **facts):
            bundle = published.bundle(version, int(version[0]))
            manifest = {**bundle.manifest, "acknowledges": list(acknowledges)} if acknowledges else bundle.manifest
            row = Bundle.objects.filter(pk=bundle.pk)
            row.update(kind="model", format="tflite", facts={**bundle.facts, **FACTS, **facts}, manifest=manifest)
            return row.get()

        return made

    @regression("R14", "labels reordered and another scale in a new version, with and without acknowledgement")
    def test_a_change_needs_an_acknowledgement_and_is_shown(self, published, make):
        published.release(make("1.0.0"))
        reordered = make("2.0.0", labels=["yes", "no"])
        with pytest.raises(RefusedBundleError, match=r"labels are reordered.*put 'labels-changed' into `acknowledges`"):
            releases.prepare_release(actor=system(published.domain), bundle=reordered)
        other_scale = make("3.0.0", ["labels-changed"], labels=["yes", "no"], inputs=[{**PORT, "scale": "0.1"}])
        with pytest.raises(RefusedBundleError, match="'io-changed'"):
            releases.prepare_release(actor=system(published.domain), bundle=other_scale)
        releases.prepare_release(actor=system(published.domain), bundle=make("4.0.0"))
        both = make("5.0.0", ["labels-changed", "io-changed"], labels=["yes", "no"], inputs=[{**PORT, "scale": "0.1"}])
        statement = releases.prepare_release(actor=system(published.domain), bundle=both).statement
        assert "labels are reordered: 0: 'no' -> 'yes'" in statement.summary
        assert "input 0 changes from INT8 1x4 scale 0.05" in statement.summary


def manifest_of(workshop, **further):
    data = models.dense((16, 4))
    return workshop.manifest(data, kind="model", format="tflite", component="model.wake", **further)


@pytest.mark.django_db
def test_labels_are_signed_with_the_bundle_and_shown(workshop):
    said = parse_manifest(
        canonical.dumps(manifest_of(workshop, fit={"labels": ["no", "yes"]}, acknowledges=["labels-changed"]))
    )
    assert said.fit.labels == ("no", "yes")
    for labels in ([], ["a", "a"], ["a\n"]):
        with pytest.raises(ManifestError, match="labels"):
            parse_manifest(canonical.dumps(manifest_of(workshop, fit={"labels": labels})))
    model = graph.read_model(models.dense((16, 4)))
    assert agreement.check_agreement(said, Judgement({**tflite.inspect_tflite(model), "flash": 9}, [])).facts[
        "labels"
    ] == [
        "no",
        "yes",
    ]


@pytest.mark.django_db
def test_an_opaque_model_is_compared_by_what_its_author_declares(workshop):
    """Nothing in the file says what it needs, so that the fit gate goes by bundle.json."""
    opaque = {**manifest_of(workshop, fit={"arena": 4096}), "format": "generic"}
    facts = agreement.check_agreement(parse_manifest(canonical.dumps(opaque)), Judgement({"flash": 9}, [])).facts
    assert fit_verdict("model", "generic", facts, ModelCapacity(1 << 20, 8192)) == []
    assert [one.kind for one in fit_verdict("model", "generic", facts, ModelCapacity(1 << 20, 1024))] == [
        "arena_exceeded"
    ]


@pytest.mark.django_db
class TestFromUploadToSignature:
    """Real models through the whole upload."""

    @pytest.fixture
    def upload(self, published, tmp_path):
        """Return an upload of a signed TensorFlow Lite model."""
        makers = Makers(tmp_path / "makers")
        trust_keys.add(actor=system(published.domain), name="models", format="tflite", pem=public(makers.key))
        type(published.hardware).objects.update(flash_model=1 << 20, arena=1 << 20)

        def send(version, data, labels, acknowledges=()):
            files = {"m.tflite": data, "m.sig": makers.jws(data)}
            entries = [
                {"path": name, "size": len(one), "sha256": hashlib.sha256(one).hexdigest(), "role": role}
                for (name, one), role in zip(files.items(), ("image", "signature"), strict=True)
            ]
            further = {"acknowledges": list(acknowledges)} if acknowledges else {}
            manifest = published.manifest(
                data, version, int(version[0]), kind="model", format="tflite", component="model.wake",
                files=entries, fit={"labels": labels}, **further,
            )  # fmt: skip
            streams = {name: io.BytesIO(one) for name, one in files.items()}
            return bundles.upload(actor=system(published.domain), manifest=json.dumps(manifest).encode(), files=streams)

        return send

    @regression("R14", "labels reordered in an upload, and what the officers' tool shows of it")
    def test_reordered_labels_are_refused_acknowledged_and_shown(self, published, upload):
        model = models.dense((16, 4))
        published.release(upload("1.0.0", model, ["no", "yes"]))
        with pytest.raises(RefusedBundleError, match="labels are reordered"):
            upload("2.0.0", model, ["yes", "no"])
        with pytest.raises(RefusedBundleError, match="output 0 changes from INT8 1x4"):
            upload("2.0.0", models.dense((16, 5)), ["no", "yes"])
        bundle = upload("2.0.0", model, ["yes", "no"], ["labels-changed"])
        assert bundle.facts["labels"] == ["yes", "no"]
        assert "labels are reordered" in bundle.facts["changes"][0]
        shown = "\n".join(
            published.told(releases.prepare_release(actor=system(published.domain), bundle=bundle).statement)
        )
        assert "ACKNOWLEDGES labels-changed" in shown
        assert "yes" in shown.partition("label")[2]

    @regression("R14", "two models with other labels, prepared before either was published")
    def test_a_change_is_compared_again_when_it_is_published(self, published, upload):
        model, who = models.dense((16, 4)), system(published.domain)
        made = [upload("1.0.0", model, ["no", "yes"]), upload("2.0.0", model, ["yes", "no"])]
        first, second = (releases.prepare_release(actor=who, bundle=one).statement for one in made)
        published.publish(first)
        with pytest.raises(RefusedBundleError, match="labels are reordered"):
            statements.publish(actor=who, statement=second)

    @regression("R14", "other labels than those of a model that was withdrawn: devices still run it")
    def test_a_model_that_was_withdrawn_is_compared_with(self, published, upload):
        model = models.dense((16, 4))
        release = published.release(upload("1.0.0", model, ["no", "yes"]))
        releases.withdraw(actor=system(published.domain), release=release, reason="bad")
        with pytest.raises(RefusedBundleError, match="labels are reordered"):
            upload("2.0.0", model, ["yes", "no"])

    @regression("R14", "other labels than those of the model before a withdrawn one: devices may run either")
    def test_the_model_before_a_withdrawn_one_is_compared_with_too(self, published, upload):
        model, who = models.dense((16, 4)), system(published.domain)
        published.release(upload("1.0.0", model, ["no", "yes"]))
        wrong = published.release(upload("2.0.0", model, ["yes", "no"], ["labels-changed"]))
        releases.withdraw(actor=who, release=wrong, reason="bad")
        with pytest.raises(RefusedBundleError, match=r"Compared with .*1\.0\.0.*labels are reordered"):
            upload("3.0.0", model, ["yes", "no"])

    @regression("R14", "what is published while a signing request waits, in its summary when it is prepared again")
    def test_a_request_that_is_prepared_again_says_what_changes_now(self, published, upload):
        model, who = models.dense((16, 4)), system(published.domain)
        later = upload("2.0.0", model, ["yes", "no"], ["labels-changed"])
        assert "reordered" not in releases.prepare_release(actor=who, bundle=later).statement.summary
        published.release(upload("1.0.0", model, ["no", "yes"]))
        assert "labels are reordered" in releases.prepare_release(actor=who, bundle=later).statement.summary
