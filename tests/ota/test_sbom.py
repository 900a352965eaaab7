"""A bill of materials is read, bounded, and must be about the very image."""

import hashlib
import io
import json

import pytest

from ota import sbom
from ota.errors import RefusedBundleError
from ota.selectors import bundles as rows
from ota.selectors.contents import bundle_contents
from ota.services import bundles
from pki.kernel import clock
from pki.kernel.errors import InvalidError, NotFoundError
from tests.factories.ground import system

IMAGE = "ab" * 32
CYCLONE = {
    "bomFormat": "CycloneDX", "specVersion": "1.6",
    "metadata": {"component": {"type": "firmware", "name": "app", "hashes": [{"alg": "SHA-256", "content": IMAGE}]}},
    "components": [
        {"type": "library", "name": "mbedtls", "version": "3.6.2", "licenses": [{"license": {"id": "Apache-2.0"}}]},
        {"type": "library", "name": "lwip", "licenses": [{"expression": "BSD-3-Clause"}]},
        {"type": "machine-learning-model", "name": "wake", "version": "2"},
    ],
}  # fmt: skip
SPDX = {"spdxVersion": "SPDX-2.3", "packages": [{"name": "zlib", "versionInfo": "1.3", "licenseConcluded": "Zlib"}]}


def test_both_formats_say_what_is_inside():
    found = sbom.read_bill(json.dumps(CYCLONE).encode(), IMAGE)
    assert (found["format"], found["components"]) == ("CycloneDX 1.6", 3)
    assert found["licences"] == {"Apache-2.0": 1, "BSD-3-Clause": 1, "unknown": 1}
    assert found["first"][0] == {"name": "mbedtls", "version": "3.6.2", "licence": "Apache-2.0", "kind": "library"}
    found = sbom.read_bill(json.dumps(SPDX).encode(), IMAGE)
    assert (found["format"], found["licences"]) == ("SPDX-2.3", {"Zlib": 1})


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"bomFormat": "CycloneDX"}', b'{"spdxVersion": "x", "packages": [1]}',
     json.dumps({**CYCLONE, "components": [{}]}).encode(), b" " * (sbom.MAX_SBOM + 1), json.dumps({**CYCLONE, "metadata": []}).encode()],
)  # fmt: skip
def test_what_is_no_bill_is_refused(data):
    with pytest.raises(RefusedBundleError, match="neither CycloneDX nor SPDX"):
        sbom.read_bill(data, IMAGE)


def test_a_bill_about_another_image_or_without_end_is_refused():
    with pytest.raises(RefusedBundleError, match="another image"):
        sbom.read_bill(json.dumps(CYCLONE).encode(), "cd" * 32)
    many = {**CYCLONE, "components": [{"name": "x"}] * (sbom.MOST_COMPONENTS + 1)}
    with pytest.raises(RefusedBundleError, match="the maximum is"):
        sbom.read_bill(json.dumps(many).encode(), IMAGE)


@pytest.mark.django_db
def test_an_upload_keeps_what_its_bill_says(workshop):
    image = workshop.image()
    digest = hashlib.sha256(image).hexdigest()
    cyclone = json.loads(json.dumps(CYCLONE))
    cyclone["metadata"]["component"]["hashes"][0]["content"] = digest
    bill = json.dumps(cyclone).encode()
    manifest = workshop.manifest(image, sbom="sbom.json")
    facts = {"path": "sbom.json", "size": len(bill), "sha256": hashlib.sha256(bill).hexdigest(), "role": "sbom"}
    manifest["files"].append(facts)
    files = {"app.bin": io.BytesIO(image), "sbom.json": io.BytesIO(bill)}
    kept = bundles.upload(actor=system(workshop.domain), manifest=json.dumps(manifest).encode(), files=files)
    assert kept.facts["sbom"]["components"] == 3
    assert any("3 components listed" in one["outcome"] for one in kept.report)


def test_what_no_database_and_no_page_can_hold_is_replaced():
    odd = {
        **CYCLONE,
        "components": [{"name": "a\ud800\u0000", "version": "\u202e1", "licenses": [{"expression": "MIT\n"}]}],
    }
    [one] = sbom.read_bill(json.dumps(odd).encode(), IMAGE)["first"]
    assert one == {"name": "a\ufffd\ufffd", "version": " 1", "licence": "MIT ", "kind": ""}


@pytest.mark.django_db
def test_lists_are_filtered_by_words_kind_and_release(published):
    first, second = published.bundle(), published.bundle("1.1.0")
    published.release(second)

    def asked(**wanted):
        return list(rows.list_bundles(actor=system(published.domain), wanted=rows.BundleFilter(**wanted)))

    assert asked(q="APP 1.1") == [second]
    assert asked(kind="firmware", release="none") == [first]
    assert asked(release="published") == [second]
    assert asked(kind="model") == []


ML_BOM = {
    "bomFormat": "CycloneDX", "specVersion": "1.6",
    "metadata": {"component": {
        "type": "machine-learning-model", "name": "wake", "hashes": [{"alg": "SHA-256", "content": IMAGE}],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "pedigree": {"ancestors": [{"name": "base", "version": "1", "hashes": [{"alg": "SHA-256", "content": "cd" * 32}]}]},
        "modelCard": {
            "modelParameters": {"task": "keyword spotting", "modelArchitecture": "MixConv", "datasets": [{"name": "speech"}, {}]},
            "quantitativeAnalysis": {"performanceMetrics": [{"type": "recall", "value": "0.97"}]},
            "considerations": {"useCases": ["wake a device"], "technicalLimitations": ["English\nonly"]},
        },
    }},
}  # fmt: skip


def test_the_card_of_a_model_is_read():
    card = sbom.read_bill(json.dumps(ML_BOM).encode(), IMAGE, model=True)["card"]
    assert card == {
        "task": "keyword spotting", "architecture": "MixConv", "datasets": ["speech", "undisclosed"],
        "metrics": [{"type": "recall", "value": "0.97"}], "uses": ["wake a device"], "limits": ["English only"],
        "licences": ["Apache-2.0"], "ancestors": [{"name": "base", "version": "1", "sha256": "cd" * 32}],
    }  # fmt: skip
    assert "card" not in sbom.read_bill(json.dumps(ML_BOM).encode(), IMAGE)


def test_the_model_may_stand_among_the_components_and_has_to_be_this_one():
    listed = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [ML_BOM["metadata"]["component"]]}
    assert sbom.read_bill(json.dumps(listed).encode(), IMAGE, model=True)["card"]["task"] == "keyword spotting"
    with pytest.raises(RefusedBundleError, match="another image"):
        sbom.read_bill(json.dumps(listed).encode(), "ef" * 32, model=True)


@pytest.mark.parametrize("card", [[], {"modelParameters": []}, {"quantitativeAnalysis": {"performanceMetrics": [{}]}}])
def test_a_card_that_is_none_is_refused(card):
    broken = json.loads(json.dumps(ML_BOM))
    broken["metadata"]["component"]["modelCard"] = card
    with pytest.raises(RefusedBundleError, match="neither CycloneDX nor SPDX"):
        sbom.read_bill(json.dumps(broken).encode(), IMAGE, model=True)


@pytest.mark.django_db
def test_contents_are_searched_and_cut_into_pages(workshop):
    image = workshop.image()
    parts = [
        {"name": f"lib-{number:03}", "version": "1", "licenses": [{"license": {"id": "MIT"}}]} for number in range(250)
    ]
    bill = json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": parts}).encode()
    manifest = workshop.manifest(image, sbom="sbom.json")
    manifest["files"].append(
        {"path": "sbom.json", "size": len(bill), "sha256": hashlib.sha256(bill).hexdigest(), "role": "sbom"}
    )
    files = {"app.bin": io.BytesIO(image), "sbom.json": io.BytesIO(bill)}
    kept = bundles.upload(actor=system(workshop.domain), manifest=json.dumps(manifest).encode(), files=files)
    whole = bundle_contents(kept)
    assert (whole.found, whole.pages, len(whole.rows)) == (250, 3, 100)
    last = bundle_contents(kept, page=99)
    assert (last.page, len(last.rows), last.rows[-1]["name"]) == (3, 50, "lib-249")
    assert [one["name"] for one in bundle_contents(kept, "mit LIB-017").rows] == ["lib-017"]
    assert bundle_contents(kept, "nothing").rows == []
    with pytest.raises(InvalidError, match="at most 100"):
        bundle_contents(kept, "x" * 101)
    assert bundle_contents(workshop.bundle("1.0.1")).rows == []
    kept.files.filter(role="sbom").update(collected_at=clock.now())
    with pytest.raises(NotFoundError, match="no longer stored"):
        bundle_contents(kept)
