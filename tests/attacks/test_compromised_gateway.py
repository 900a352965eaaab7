"""Code that runs in a device gateway reads no key and gets no CA, codeSigning or foreign-domain certificate."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from fleet.officer import authority
from pki.kernel import actor as actors
from pki.kernel import confine
from pki.services import authorities, domains, signing
from tests.architecture.sources import ROOT
from tests.factories.devices import csr

pytestmark = pytest.mark.django_db


@pytest.fixture
def other(signer, offline):
    """Return a second domain with a CA of its own."""
    slug = f"o{uuid.uuid4().hex[:8]}"
    who = actors.system_actor(slug, "test")
    domains.create(actor=who, slug=slug, name="Other", host_names=[])
    root = (offline / "root-ca" / "root-ca.pem").read_bytes()
    issued = authority.certify_issuing_ca(offline / "root-ca", authorities.issuing_csr(actor=who, name="Other CA"))
    authorities.install(actor=who, certificate=issued, root=root)
    return slug


def signers(folder):
    """Return the id of the signer process of a folder."""
    for place in Path("/proc").iterdir():
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            environment = (place / "environ").read_bytes() if b"pki.signer" in words else b""
        except OSError:
            continue
        if f"FLEET_DIR={folder}".encode() in environment.split(b"\0"):
            return int(place.name)
    raise AssertionError(folder)


@pytest.mark.skipif(not confine.has_landlock(), reason="this kernel has no Landlock")
def test_a_listener_that_was_taken_over_gets_at_nothing(signer, domain, other, offline):
    signing.signer_client("admin").create_online_keys(domain.slug)
    keys = sorted(str(path) for path in (signer / "keys" / domain.slug).glob("*.key"))
    secrets = [str(signer / "secrets" / name) for name in ("vault.key", "signer-admin", "signer-work", "signer-serve")]
    targets = [*keys, *secrets, str(signer / "keys" / "signer.jsonl"), str(offline / "root-ca" / "root-ca.key")]
    der, _ = csr()
    arguments = [str(signers(signer)), domain.slug, other, json.dumps(targets), der.hex(), str(uuid.uuid4())]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "attacks" / "compromised_gateway.py"), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "FLEET_DIR": str(signer)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["confined"]
    allowed = {"its own work", "write the database"}
    assert {name for name, outcome in said["found"].items() if outcome == "done"} == allowed, said
    assert len(said["found"]) >= len(targets) + 18
