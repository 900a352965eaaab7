"""A real signer in the test process's own FLEET_DIR, and fresh trust domains whose keys it holds."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from django.conf import settings

from fleet.officer import authority
from pki.kernel import actor as actors
from pki.kernel.actor import Actor, ActorKind, Role
from pki.services import authorities, domains
from pki.signer.client import is_signer_listening


@pytest.fixture(scope="session")
def signer():
    """Run the signer process for the session."""
    folder = Path(settings.FLEET_DIR)
    environment = {**os.environ, "FLEET_DIR": str(folder)}
    log = (folder / "signer-stderr.log").open("wb")
    process = subprocess.Popen([sys.executable, "-m", "pki.signer"], env=environment, stderr=log)
    deadline = time.monotonic() + 20
    while not is_signer_listening(folder):
        assert process.poll() is None, (folder / "signer-stderr.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield folder
    process.terminate()
    process.wait(timeout=10)
    log.close()


@pytest.fixture(scope="session")
def offline(tmp_path_factory):
    """Return a folder with an offline root CA, made by the officers' tool."""
    folder = tmp_path_factory.mktemp("offline")
    authority.make_root_ca(folder / "root-ca", "Test Root")
    return folder


def new_domain(offline):
    """Return a new trust domain with an issuing CA."""
    slug = f"d{uuid.uuid4().hex[:12]}"
    system = actors.system_actor(slug, "test")
    made = domains.create(actor=system, slug=slug, name="Test", host_names=[f"{slug}.example"])
    root = (offline / "root-ca" / "root-ca.pem").read_bytes()
    csr = authorities.issuing_csr(actor=system, name="Test Issuing CA")
    authorities.install(actor=system, certificate=authority.certify_issuing_ca(offline / "root-ca", csr), root=root)
    return made


@pytest.fixture
def domain(db, signer, offline):
    """Return a new trust domain with an issuing CA."""
    return new_domain(offline)


@pytest.fixture
def other_domain(db, signer, offline):
    """Return another trust domain with an issuing CA."""
    return new_domain(offline)


def system(domain):
    """Return the system's actor in a domain."""
    return actors.system_actor(domain.slug, "test")


def person(domain, *roles):
    """Return an operator's actor with these roles."""
    return Actor(ActorKind.OPERATOR, "anna", domain.slug, frozenset(Role(role) for role in roles), "test")
