"""What is accepted at upload, what is refused and why; nothing of a refused bundle stays."""

import hashlib
import io
import json
import uuid

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings

from ota.models import Bundle, TrustKey
from ota.services import bundles, trust_keys
from pki.kernel.errors import ConflictError, DeniedError, InvalidError
from pki.models import LedgerEntry
from tests.factories.ground import person, system

pytestmark = pytest.mark.django_db


def blobs():
    folder = settings.FLEET_DIR / "blobs"
    return {path for path in folder.rglob("*") if path.is_file()} if folder.exists() else set()


def refused(workshop, data, manifest, words):
    before = blobs()
    with pytest.raises(InvalidError, match=words):
        workshop.upload(data, manifest)
    assert not Bundle.objects.filter(domain=workshop.domain).exists()
    assert blobs() == before


def test_a_signed_image_is_kept_with_its_report(workshop):
    bundle = workshop.bundle()
    assert bundle.facts["version"].startswith("1.0.0")
    assert any(one["check"] == "signature" for one in bundle.report)
    assert LedgerEntry.objects.filter(domain=workshop.domain, action="bundle.accepted").count() == 1


def test_the_same_bundle_again_is_the_same_bundle(workshop):
    data = workshop.image()
    manifest = workshop.manifest(data)
    assert workshop.upload(data, manifest).pk == workshop.upload(data, manifest).pk


def test_a_truncated_image_is_refused_and_the_ledger_says_who_sent_it(workshop):
    data = workshop.image()[:3000]
    manifest = workshop.manifest(data)
    refused(workshop, data, manifest, "truncated")
    [entry] = LedgerEntry.objects.filter(domain=workshop.domain, action="bundle.refused")
    assert (entry.detail["name"], "truncated" in entry.detail["reason"]) == ("app", True)


def test_an_image_signed_by_a_stranger_is_refused(workshop):
    stranger = workshop.folder / "stranger.pem"
    form = serialization.PrivateFormat.PKCS8
    key = ec.generate_private_key(ec.SECP256R1())
    stranger.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    data = workshop.image(key=stranger)
    refused(workshop, data, workshop.manifest(data), "key")


@pytest.mark.parametrize("position", [40, 1000, 3000])
def test_a_flipped_bit_in_the_signed_part_is_refused(workshop, position):
    data = bytearray(workshop.image())
    data[position] ^= 1
    refused(workshop, bytes(data), workshop.manifest(bytes(data)), "hash|signature|signed|damaged")


def test_bytes_after_the_image_are_refused(workshop):
    data = workshop.image() + b"smuggled"
    refused(workshop, data, workshop.manifest(data), "unsigned bytes follow")


def test_hardware_that_is_not_registered_is_refused(workshop):
    data = workshop.image()
    other = {"vendor_id": str(uuid.uuid4()), "class_id": str(uuid.uuid4()), "name": "other"}
    refused(workshop, data, workshop.manifest(data, hw=[other]), "not registered")


def test_bytes_that_are_not_the_listed_ones_are_refused(workshop):
    data = workshop.image()
    manifest = workshop.manifest(data)
    manifest["files"][0]["sha256"] = hashlib.sha256(b"other").hexdigest()
    refused(workshop, data, manifest, "does not match the digest")


def test_a_counter_that_differs_from_the_signed_one_is_refused(workshop):
    data = workshop.image(counter=1)
    refused(workshop, data, workshop.manifest(data, counter=2), "security counter")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b'{"schema": 1, "schema": 1}',
        b'{"schema": 2}',
        b'{"a": 1.5}',
        b'{"schema": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_manifest_that_is_no_manifest_is_refused(workshop, text):
    with pytest.raises(InvalidError):
        bundles.upload(actor=system(workshop.domain), manifest=text, files={"app.bin": io.BytesIO(b"x")})


@pytest.mark.parametrize("path", ["../app.bin", "/app.bin", "a//b", "a\\b", "a\x00b", ".."])
def test_paths_that_climb_are_refused(workshop, path):
    data = workshop.image()
    manifest = workshop.manifest(data)
    manifest["files"][0]["path"] = path
    with pytest.raises(InvalidError, match="path"):
        bundles.upload(
            actor=system(workshop.domain), manifest=json.dumps(manifest).encode(), files={path: io.BytesIO(data)}
        )


def test_a_version_cannot_get_other_content(workshop):
    workshop.bundle()
    data = workshop.image(counter=1) + b"\xff" * 16
    with pytest.raises(ConflictError, match="already exists with different content"):
        workshop.upload(data, workshop.manifest(data))


def test_a_viewer_uploads_nothing(workshop):
    with pytest.raises(DeniedError):
        bundles.upload(actor=person(workshop.domain, "viewer"), manifest=b"{}", files={})


def test_without_a_trust_key_nothing_is_believed(workshop):
    key = workshop.domain
    from ota.selectors import bundles as rows

    trust_keys.withdraw(actor=system(key), key=rows.trust_keys(actor=system(key)).get())
    data = workshop.image()
    refused(workshop, data, workshop.manifest(data), "No trust key")


def test_a_private_key_is_not_taken_as_a_trust_key(workshop):
    pem = workshop.key.read_text()
    with pytest.raises(InvalidError, match="private key"):
        trust_keys.add(actor=system(workshop.domain), name="oops", format="mcuboot", pem=pem)


def test_a_key_of_one_product_vouches_for_no_other(workshop):
    keys = TrustKey.objects.filter(domain=workshop.domain)
    data = workshop.image()
    keys.update(product="other")
    refused(workshop, data, workshop.manifest(data), "No trust key is registered for app, the format mcuboot")
    keys.update(product="app")
    assert workshop.upload(data, workshop.manifest(data)).facts["signer"] == "firmware"
