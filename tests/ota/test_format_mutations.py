"""Damaged artefacts end in a refusal, soon, whatever was changed: 1,000 of each here, 10,000 in ``make acceptance``."""

import hashlib
import io
import json
import os
import random

import pytest
from django.conf import settings

from ota.models import Bundle
from ota.services import bundles, trust_keys
from pki.kernel.errors import DomainError
from tests import mutations
from tests.factories.artefacts import Makers
from tests.factories.ground import system
from tests.regressions import regression


@pytest.fixture(scope="module")
def makers(tmp_path_factory):
    return Makers(tmp_path_factory.mktemp("artefacts"))


@pytest.mark.parametrize("number", range(9))
def test_readers_of_artefacts_refuse_and_nothing_else(makers, number):
    assert mutations.survives(mutations.format_targets(makers)[number], 1000) == []


DESCRIPTIONS = {target.name: target for target in mutations.description_targets()}


@regression("C2", "mutated descriptions, archives and revisions")
@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_readers_of_descriptions_refuse_and_nothing_else(name):
    target = DESCRIPTIONS[name]
    target.read(target.good)
    assert mutations.survives(target, 500) == []


#: ``make acceptance`` sends 200 of each format
UPLOADS = int(os.environ.get("MUSTER_MUTATED_UPLOADS", "5"))
FORMATS = ["mcuboot", "esp", "swu", "rauc", "mender", "generic", "tflite", "onnx", "oms"]


def manifest(model, format_, files, **changes):
    """Return the bundle.json of an artefact."""
    roles = dict(zip(files, ("image", "signature"), strict=False))
    return {
        "schema": 1, "id": f"x-{format_}", "version": "2.3.4", "kind": "model" if format_ in {"tflite", "onnx", "oms"} else "firmware",
        "format": format_, "component": "app", "security_counter": 5, "audience": ["production"],
        "hw": [{"vendor_id": str(model.vendor_id), "class_id": str(model.class_id), "name": model.name}],
        "files": [
            {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "role": roles[name]}
            for name, data in files.items()
        ],
        **changes,
    }  # fmt: skip


def upload(domain, model, format_, artefact, **changes):
    """Upload an artefact through the service."""
    names = ("a.swu" if format_ == "swu" else "a.bin", "a.sig")
    files = {name: data for name, data in zip(names, artefact, strict=True) if data is not None}
    text = json.dumps(manifest(model, format_, files, **changes)).encode()
    streams = {name: io.BytesIO(data) for name, data in files.items()}
    return bundles.upload(actor=system(domain), manifest=text, files=streams)


def lying():
    """Return the files of blobs, kept and on their way."""
    return {path for path in (settings.FLEET_DIR / "blobs").rglob("*") if path.is_file()}


@pytest.mark.django_db
@pytest.mark.parametrize("format_", FORMATS)
def test_through_the_whole_upload(makers, domain, hardware_model, format_):
    [anchor] = makers.anchors(format_)
    trust_keys.add(actor=system(domain), name=anchor.name, format=format_, pem=anchor.pem)
    image, signature = makers.make(format_)
    source, before = random.Random(format_), lying()
    for _ in range(UPLOADS):
        damaged = mutations.mutated(source, image)
        if damaged == image:  # a byte was replaced by itself
            continue
        with pytest.raises(DomainError):
            upload(domain, hardware_model, format_, (damaged, signature))
    assert not Bundle.objects.filter(domain=domain).exists()
    assert lying() == before
    kept = upload(domain, hardware_model, format_, (image, signature))
    assert kept.facts["signer"] == anchor.name
    if format_ in {"generic", "tflite", "onnx", "oms"}:
        with pytest.raises(DomainError, match=r"needs (a detached|its) signature"):
            upload(domain, hardware_model, format_, (image, None), version="9.9.9")
        return
    with pytest.raises(DomainError, match=r"bundle\.json says"):
        upload(domain, hardware_model, format_, (image, signature), version="9.9.9", security_counter=9)
