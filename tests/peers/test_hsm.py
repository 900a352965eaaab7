"""An issuing CA whose key lies in a SoftHSM token: it cannot be read, and what it signs verifies everywhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from fleet.environment import ROOT
from tests.peers.programs import require

pytestmark = pytest.mark.peer
PIN = "4711-0815"
CHILD = """
import json, sys, base64
import django
django.setup()
from pathlib import Path
from django.conf import settings
from fleet.management.serving.supervisor import signer_running
from pki.kernel import actor as actors
from pki.kernel.errors import DomainError
from pki.models import Certificate, LedgerEntry, TrustDomain
from pki.services import certificates, crls, signing
from tests.factories.devices import csr
stop = signer_running(settings.FLEET_DIR)
domain, by = TrustDomain.objects.get(slug="default"), actors.system_actor("default", "test")
found = {"errors": []}
for _ in range(int(sys.argv[1])):
    try:
        issued = certificates.issue_device(
            actor=by, csr=csr()[0], device_key="0190b5a0-0000-7000-8000-000000000001", device_name="a"
        ).certificate
        found["leaf"] = bytes(issued.der).hex()
        crls.publish_due(domain=domain)
        key = issued.authority.key_id
        found["list"] = (crls.crl_folder(key) / "00.crl").read_bytes().hex()
        found["responder"] = signing.signer_client("status").ocsp_identity("default", key)[1].hex()
    except DomainError as error:
        found["errors"].append([error.kind, error.detail])
found["certificates"] = Certificate.objects.count()
found["issued"] = LedgerEntry.objects.filter(action="certificate.issued").count()
stop()
print(json.dumps(found))
"""


class SetUp:
    """A folder of ours beside a token of its own."""

    def __init__(self, folder):
        require("softhsm2-util")
        self.folder, self.token = folder / "set-up", folder / "token"
        self.token.mkdir()
        module = next((str(one) for one in Path("/usr/lib").rglob("libsofthsm2.so")), None)
        assert module, "libsofthsm2.so is not installed"
        configuration = self.token / "softhsm2.conf"
        configuration.write_text(
            f"directories.tokendir = {self.token}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        self.pin = folder / "pin"
        self.pin.write_text(PIN)
        self.environment = {**os.environ, "SOFTHSM2_CONF": str(configuration), "FLEET_DIR": str(self.folder)}
        self.environment |= {"FLEET_KEY_BACKEND": "pkcs11", "FLEET_PKCS11_MODULE": module}
        self.environment |= {"FLEET_PKCS11_TOKEN": "fleet-ca", "FLEET_PKCS11_PIN_FILE": str(self.pin)}
        self.environment |= {"DJANGO_SETTINGS_MODULE": "fleet.settings", "PYTHONPATH": str(ROOT)}
        for name in ("DATABASE_URL", "TELEMETRY_DATABASE_URL"):
            self.environment.pop(name, None)
        self.run("softhsm2-util", "--init-token", "--free", "--label", "fleet-ca", "--pin", PIN, "--so-pin", "so-pin")
        self.ceremony()

    def run(self, *command):
        done = subprocess.run(
            [str(one) for one in command],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ceremony(self):
        root, csr, issued = self.folder / "offline", self.folder / "issuing.csr", self.folder / "issuing.pem"
        self.run(sys.executable, "manage.py", "upgrade")
        self.run(sys.executable, "-m", "fleet.officer", "ca-root", "--out", root, "--name", "Root")
        self.run(sys.executable, "manage.py", "ca", "csr", "--name", "Token CA", "--out", csr)
        self.run(
            sys.executable, "-m", "fleet.officer", "ca-issue", "--root", root, "--csr", csr, "--out", issued, "--yes"
        )
        command = ("manage.py", "ca", "import", "--certificate", issued, "--root", root / "root-ca.pem")
        self.run(sys.executable, *command)

    def issue(self, times=1):
        return json.loads(self.run(sys.executable, "-c", CHILD, times).splitlines()[-1])


@pytest.fixture(scope="module")
def set_up(tmp_path_factory):
    return SetUp(tmp_path_factory.mktemp("hsm"))


def test_what_the_token_signs_verifies_with_openssl(set_up, tmp_path):
    found = set_up.issue()
    assert found["errors"] == []
    pem = serialization.Encoding.PEM
    leaf = x509.load_der_x509_certificate(bytes.fromhex(found["leaf"]))
    (tmp_path / "leaf.pem").write_bytes(leaf.public_bytes(pem))
    responder = x509.load_der_x509_certificate(bytes.fromhex(found["responder"]))
    (tmp_path / "ocsp.pem").write_bytes(responder.public_bytes(pem))
    (tmp_path / "list.pem").write_bytes(x509.load_der_x509_crl(bytes.fromhex(found["list"])).public_bytes(pem))
    root, issuing = set_up.folder / "offline/root-ca.pem", set_up.folder / "issuing.pem"
    verify = ("openssl", "verify", "-CAfile", root, "-untrusted", issuing)
    assert "OK" in set_up.run(*verify, tmp_path / "leaf.pem")
    assert "OK" in set_up.run(*verify, tmp_path / "ocsp.pem")
    listed = subprocess.run(
        ["openssl", "crl", "-in", tmp_path / "list.pem", "-CAfile", issuing, "-noout"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "verify OK" in listed.stderr


def test_no_private_key_of_the_ca_lies_on_the_disk(set_up):
    keys = set_up.folder / "keys" / "default"
    assert (keys / "issuing.ref").exists()
    assert not (keys / "issuing.key").exists()


def test_the_key_cannot_be_read_from_the_token(set_up):
    module = set_up.environment["FLEET_PKCS11_MODULE"]
    tool = (require("pkcs11-tool"), "--module", module, "--token-label", "fleet-ca", "--login", "--pin", PIN)
    said = subprocess.run(
        [*tool, "--list-objects", "--type", "privkey"],
        env=set_up.environment,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert "never extractable" in said, said


def test_a_token_that_is_gone_means_unavailable_and_nothing_is_written(set_up, tmp_path):
    before = set_up.issue(0)
    set_up.token.rename(tmp_path / "away")
    set_up.token.mkdir()
    (set_up.token / "softhsm2.conf").write_text((tmp_path / "away" / "softhsm2.conf").read_text())
    try:
        found = set_up.issue()
        assert found["errors"][0][0] == "unavailable", found
        assert (found["certificates"], found["issued"]) == (before["certificates"], before["issued"])
    finally:
        (set_up.token / "softhsm2.conf").unlink()
        set_up.token.rmdir()
        (tmp_path / "away").rename(set_up.token)
    assert set_up.issue()["errors"] == []


def test_a_wrong_pin_is_tried_once(set_up):
    set_up.pin.write_text("wrong-pin")
    try:
        details = [detail for _, detail in set_up.issue(3)["errors"]]
        assert "rejects the PIN" in details[0]
        assert all("rejected the PIN" in detail for detail in details[1:])
    finally:
        set_up.pin.write_text(PIN)


OFFICER = """
import json, sys
from pathlib import Path
from fleet.officer import keys
signer = keys.load_signer(Path(sys.argv[1]))
signature = signer.sign(b"a request")
_, public = keys.load_officer(Path(sys.argv[2]))
public.verify_signature(signature, b"a request")
try:
    public.verify_signature(signature, b"another")
except Exception as error:
    print(json.dumps({"keyid": signer.public_key.keyid == public.keyid, "scheme": public.scheme, "other": type(error).__name__}))
"""


def test_an_officers_key_in_a_token_signs_and_its_file_holds_no_secret(set_up, tmp_path):
    set_up.run("softhsm2-util", "--init-token", "--free", "--label", "officers", "--pin", PIN, "--so-pin", "so-pin")
    set_up.environment["MUSTER_PIN_FILE"] = str(set_up.pin)
    make = (sys.executable, "-m", "fleet.officer", "keygen", "--out", tmp_path, "--name", "anna")
    make += ("--pkcs11", set_up.environment["FLEET_PKCS11_MODULE"], "--token", "officers")
    set_up.run(*make)
    named = json.loads((tmp_path / "anna.key").read_text())
    assert named == {
        "pkcs11": {"module": set_up.environment["FLEET_PKCS11_MODULE"], "token": "officers", "label": "anna"}
    }
    said = json.loads(set_up.run(sys.executable, "-c", OFFICER, tmp_path / "anna.key", tmp_path / "anna.pub.json"))
    assert said == {"keyid": True, "scheme": "ecdsa-sha2-nistp256", "other": "UnverifiedSignatureError"}
    # The same name again is refused, beside the file and in the token.
    (tmp_path / "anna.key").unlink()
    done = subprocess.run(
        [str(one) for one in make], cwd=ROOT, env=set_up.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "already has a key 'anna'" in done.stderr
    wrong = {**set_up.environment, "MUSTER_PIN_FILE": str(tmp_path / "wrong")}
    (tmp_path / "wrong").write_text("0000")
    (tmp_path / "anna.key").write_text(json.dumps(named))
    sign = [sys.executable, "-c", OFFICER, str(tmp_path / "anna.key"), str(tmp_path / "anna.pub.json")]
    done = subprocess.run(sign, cwd=ROOT, env=wrong, capture_output=True, text=True, check=False)
    assert "rejects the PIN" in done.stderr
