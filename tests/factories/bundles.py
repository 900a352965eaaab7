"""Signed bundles, officers, and releases published by two of them."""

import hashlib
import io
import json
import uuid

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from imgtool.main import imgtool

from fleet.officer import describe, keys, metadata
from fleet.officer.signing_requests.compare import check_request
from fleet.officer.signing_requests.read import read_request
from fleet.officer.signing_requests.sign import sign_request
from ota.selectors import statements as rows
from ota.services import bundles, releases, statements, trust_keys
from ota.services import metadata as repository
from tests.factories.ground import system


class Workshop:
    """A place that makes and releases firmware for one domain."""

    def __init__(self, domain, hardware_model, folder):
        self.domain, self.hardware, self.folder = domain, hardware_model, folder
        self.key = folder / "firmware.pem"
        private = ec.generate_private_key(ec.SECP256R1())
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        self.key.write_bytes(private.private_bytes(pem, pkcs8, serialization.NoEncryption()))
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        public = private.public_key().public_bytes(pem, spki).decode()
        trust_keys.add(actor=system(domain), name="firmware", format="mcuboot", pem=public)
        for name in ("anna", "bruno", "carla"):
            keys.generate_key(folder, name)

    def image(self, version="1.0.0", counter=1, key=None):
        """Return an MCUboot image signed by imgtool."""
        flat, signed = self.folder / f"{uuid.uuid4().hex}.flat", self.folder / f"{version}.bin"
        flat.write_bytes(hashlib.sha256(version.encode()).digest() * 200)
        command = ["sign", "--key", str(key or self.key), "--version", version, "--security-counter", str(counter)]
        command += ["--header-size", "0x20", "--pad-header", "--align", "4", "--slot-size", "0x20000"]
        imgtool.main([*command, str(flat), str(signed)], standalone_mode=False)
        return signed.read_bytes()

    def manifest(self, data, version="1.0.0", counter=1, **further):
        """Return the bundle.json of an image."""
        model = self.hardware
        facts = {
            "schema": 1,
            "id": "app",
            "version": version,
            "kind": "firmware",
            "format": "mcuboot",
            "component": "app",
            "security_counter": counter,
            "audience": ["production"],
            "hw": [{"vendor_id": str(model.vendor_id), "class_id": str(model.class_id), "name": model.name}],
            "files": [
                {"path": "app.bin", "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "role": "image"}
            ],
        }
        return {**facts, **further}

    def upload(self, data, manifest):
        """Upload a bundle through the service."""
        files = {"app.bin": io.BytesIO(data)}
        return bundles.upload(actor=system(self.domain), manifest=json.dumps(manifest).encode(), files=files)

    def bundle(self, version="1.0.0", counter=1):
        """Return an accepted bundle."""
        data = self.image(version, counter)
        return self.upload(data, self.manifest(data, version, counter))

    def ceremony(self, bits=2):
        """Install root and first targets."""
        online = repository.online_keys(actor=system(self.domain))
        officers = [self.folder / f"{name}.pub.json" for name in ("anna", "bruno", "carla")]
        self.root = metadata.signed_root(officers, dict(online), self.signers)
        repository.install_root(actor=system(self.domain), root=self.root)
        self.first = metadata.first_targets(self.root, self.signers, bits)
        repository.install_targets(actor=system(self.domain), targets=self.first)

    @property
    def signers(self):
        """Return the keys of two officers."""
        return [self.folder / "anna.key", self.folder / "bruno.key"]

    def request(self, statement):
        """Return what officers get."""
        return read_request(json.dumps(rows.prepared_documents(statement)).encode())

    def told(self, statement):
        """Return what the officers' tool says of it."""
        request = self.request(statement)
        return describe.describe_lines(request, check_request(request, [self.root]))

    def sign(self, statement, officer):
        """Return an officer's signature.json."""
        request = self.request(statement)
        check_request(request, [self.root])
        return sign_request(request, self.folder / f"{officer}.key")

    def publish(self, statement):
        """Publish a statement that two officers sign."""
        for officer in ("anna", "bruno"):
            signature = self.sign(statement, officer)
            statements.submit(actor=system(self.domain), statement=statement, signature=signature)
        return statements.publish(actor=system(self.domain), statement=statement)

    def release(self, bundle, **options):
        """Return a published release."""
        made = releases.prepare_release(actor=system(self.domain), bundle=bundle, **options)
        self.publish(made.statement)
        made.refresh_from_db()
        return made


@pytest.fixture
def workshop(domain, hardware_model, tmp_path):
    """Return a workshop of the domain."""
    return Workshop(domain, hardware_model, tmp_path)


@pytest.fixture
def published(workshop):
    """Return a workshop whose TUF repository is there."""
    workshop.ceremony()
    return workshop
