"""Rows U and D4: the director in a thief's hands, alone and with everything else that is online."""

import base64
import datetime as dt
import json
import uuid

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from devices.errors import ReplayError
from fleet.agent import config, est
from fleet.agent.errors import RefusedError
from fleet.agent.key import FileKey
from fleet.agent.transport import Transport
from fleet.officer import authority
from ota.services import reports
from pki.kernel import canonical, clock
from pki.kernel.actor import Actor, ActorKind
from pki.kernel.errors import DeniedError
from tests.attacks.conftest import OLD
from tests.attacks.table import attack
from tests.fleet.agent.adversary import DEVICE, HARDWARE, IMAGE, bundle, image, path_of, row


@attack("U1")
def test_an_image_that_is_not_listed(thief, refused):
    evil = bundle(image(b"evil"), version="6.6.6")
    thief.serve(image(b"evil"))
    thief.direct(rows=[row(evil)])
    refused("not signed by the release officers")


@attack("U1")
@pytest.mark.parametrize("change", [{"sha256": "ab" * 32}, {"length": 1}, {"counter": 99}, {"component": "boot"}])
def test_a_listed_name_with_other_facts(thief, refused, change):
    thief.direct(rows=[{**thief.row, **change}])
    words = "differ about" if set(change) & {"sha256", "length"} else "another component or security counter"
    refused(words, state="refused")


OTHER = {"vendor_id": HARDWARE, "class_id": "2f0d1c6e-0000-5000-8000-000000000002", "name": "other"}


@attack("U2", "T18")
@pytest.mark.parametrize("told", [HARDWARE, OTHER["class_id"]])
def test_a_listed_image_of_other_hardware(thief, refused, told):
    other = bundle(version="2.0.0", hw=[OTHER])
    thief.release([bundle(), other], version=3)
    thief.direct(rows=[row(other, hw=told)])
    refused("for other hardware")


@attack("U2")
def test_an_answer_for_another_device_or_of_another_tenant(thief, refused):
    thief.direct(device="0190b5a0-0000-7000-8000-000000000002")
    refused("for another device")
    thief.direct(nonce="00" * 16)
    refused("not the answer to this request")


@attack("U3")
def test_the_image_repository_alone(thief, victim):
    thief.direct(rows=[])
    thief.release([bundle()], version=3)
    assert victim.tries() == ("nothing", "")
    assert victim.installed == OLD


@attack("U4")
def test_whoever_has_all_that_is_online_brings_back_only_what_people_signed(thief, victim):
    older = bundle(image(b"older"), version="0.5.0", security_counter=1)
    thief.serve(image(b"older"))
    thief.release([bundle(), older], version=3, floors={"app": {HARDWARE: 2}})
    thief.direct(rows=[row(older)])
    assert "below the signed floor of 2" in victim.tries()[1]
    assert victim.installed == OLD
    thief.direct()
    assert victim.tries() == ("confirmed", "")


@attack("U6")
def test_a_floor_by_the_director(thief, victim):
    thief.direct(**{"x-muster-floors": {"app": {HARDWARE: 2**31 - 1}}, "floors": {"app": {HARDWARE: 2**31 - 1}}})
    assert victim.tries() == ("confirmed", "")
    later = bundle(image(b"later"), version="1.1.0", security_counter=4)
    thief.serve(image(b"later"))
    thief.release([bundle(), later], version=3)
    thief.direct(rows=[row(later, action=8)])
    assert victim.tries(8) == ("confirmed", "")


@attack("U7")
def test_a_withdrawn_image_and_a_laboratory_build(thief, refused):
    lab = bundle(image(b"lab"), version="3.0.0", audience=["lab"])
    thief.release([bundle(), lab], version=3, withdrawn={path_of(bundle()): "bricks boards"})
    refused("withdrawn by the release officers: bricks boards")
    thief.direct(rows=[row(lab)])
    refused("not signed for production")


def evil_config(folder, **further):
    root = authority.make_root_ca(folder / "evil", "Evil").read_text()
    return json.dumps({"schema": 1, "version": "9.0.0", "anchors": [root], **further}).encode()


def believed(victim):
    """Return what a device believes: address, roots, first TUF root, and what only officers set."""
    kept = victim.settings.folder / config.KEPT
    orders = kept.read_bytes() if kept.exists() else b""
    return config.effective_settings(victim.settings), victim.anchors(), victim.settings.tuf_root.read_bytes(), orders


ORDERS = {"time_sources": ["ntp.evil.example"], "policy_keys": ["00" * 32], "secrets": {"wifi": "ZXZpbA=="}}


@attack("U8")
def test_what_only_officers_set_does_not_come_by_the_twin(thief, victim):
    before = believed(victim)
    wish = {"server": "https://evil.example", "anchors": "evil", "tuf_root": "evil", **ORDERS}
    thief.routes["/v1/twin"] = cbor2.dumps({"config": wish, "version": 3, "components": {}})
    victim.sync()
    assert victim.state.get("config", {}) == {}
    assert believed(victim) == before


@attack("U8")
@pytest.mark.parametrize("kind", ["set-server", "set-anchors", "set-time-source", "set-policy-key", "wipe"])
def test_what_only_officers_set_does_not_come_by_a_command(thief, victim, kind):
    before, answers = believed(victim), []
    order = {"id": str(uuid.UUID(int=7)), "kind": kind, "expires": "2999-01-01T00:00:00Z"}
    thief.direct(rows=[], commands=[order])
    thief.routes["/v1/command"] = thief.routes["/v1/director"]
    thief.routes[f"/v1/command/{order['id']}"] = lambda handler, body: (
        answers.append(cbor2.loads(body)), handler.whole(b"")
    )  # fmt: skip
    victim.obey()
    assert answers[0]["state"] == "refused"
    assert believed(victim) == before


@attack("U8")
@pytest.mark.parametrize("further", [{}, {"server": "https://127.0.0.1:1"}, ORDERS])
def test_what_only_officers_set_does_not_come_by_a_configuration_of_one_officer(thief, victim, tmp_path, further):
    before = believed(victim)
    text = canonical.dumps({**json.loads(evil_config(tmp_path)), **further})
    one = bundle(text, id="trust-anchors", component="config", kind="config", format="config", version="9.0.0")
    thief.serve(text)
    thief.release([bundle(), one], ("anna",), version=3)
    thief.direct(rows=[row(one)])
    said, reason = victim.tries()
    assert (said, "was signed by 1/2 keys" in reason) == ("refused", True), reason
    assert believed(victim) == before


@attack("U8")
@pytest.mark.parametrize("lie", ["evil-ca", "other-key", "soon-over", "other-device"])
def test_certificates_of_a_thief_do_not_take_the_place_of_the_devices_own(thief, tmp_path, lie):
    ours, evil = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    key = FileKey(tmp_path / "disk")
    holder = est.Holder(key, "victim", tmp_path / "disk" / "chain.pem", ours.root_file)
    est._keep([ours.issue(key.public)], [ours.certificate], holder)
    before = holder.chain.read_bytes()
    signer = evil if lie == "evil-ca" else ours
    public = ec.generate_private_key(ec.SECP256R1()).public_key() if lie == "other-key" else key.public
    life = dt.timedelta(minutes=5 if lie == "soon-over" else 60 * 24)
    leaf = signer.issue(public, life, "0190b5a0-0000-7000-8000-0000000000ff" if lie == "other-device" else DEVICE)
    thief.routes["/.well-known/est/cacerts"] = signer.bag([evil.root, signer.certificate])
    thief.routes["/.well-known/est/simplereenroll"] = signer.bag([leaf])
    line = Transport(thief.address, None)
    with pytest.raises(RefusedError):
        est.renew_certificate(line, holder)
    line.close()
    assert holder.chain.read_bytes() == before


class Authority:
    """A root, and a CA that issues below it."""

    def __init__(self, folder):
        self.root_file = authority.make_root_ca(folder, folder.name)
        self.root = x509.load_pem_x509_certificate(self.root_file.read_bytes())
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CA {folder.name}")])
        csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(self.key, hashes.SHA256())
        pem = authority.certify_issuing_ca(folder, csr.public_bytes(serialization.Encoding.PEM))
        self.certificate = x509.load_pem_x509_certificate(pem)

    def issue(self, public, life=dt.timedelta(days=30), device=DEVICE):
        now = clock.now()
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:uuid:{device}")])
        builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(self.certificate.subject)
        builder = builder.public_key(public).serial_number(x509.random_serial_number()).not_valid_before(now)
        return builder.not_valid_after(now + life).add_extension(names, critical=True).sign(self.key, hashes.SHA256())

    def bag(self, certificates):
        return base64.b64encode(pkcs7.serialize_certificates(certificates, serialization.Encoding.DER))


@attack("D4")
def test_a_download_resumed_after_the_file_changed(thief, victim, refused):
    part = victim.slots("app").inactive.with_suffix(".part")
    part.write_bytes(image(b"something else" * 4000)[: len(IMAGE) // 2])
    victim.slots("app").inactive.with_suffix(".part-of").write_text(thief.row["sha256"])
    asked = []

    def rest(handler, _body):
        asked.append(handler.headers.get("If-Range"))
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        handler.whole(IMAGE[start:], 206)

    thief.routes[f"/v1/blob/{thief.row['sha256']}"] = rest
    refused("are not the signed ones")
    assert asked == [f'"{thief.row["sha256"]}"']


@attack("D4")
def test_a_download_resumed_at_another_place(thief, victim, refused):
    victim.slots("app").inactive.with_suffix(".part").write_bytes(IMAGE[:1000])
    victim.slots("app").inactive.with_suffix(".part-of").write_text(thief.row["sha256"])
    thief.routes[f"/v1/blob/{thief.row['sha256']}"] = lambda handler, _: handler.whole(IMAGE[999:], 206)
    refused("received more bytes")


@attack("U5")
@pytest.mark.django_db
def test_reports_of_another_device_and_old_ones(enrol):
    one, other = enrol("one"), enrol("other")

    def send(speaker, device, payload):
        who = Actor(ActorKind.DEVICE, speaker.device.key, speaker.device.domain.slug, frozenset(), "test")
        der = bytes(speaker.certificate.der)
        signature = speaker.key.sign(payload, ec.ECDSA(hashes.SHA256()))
        reports.receive_report(actor=who, device=device, payload=payload, signature=signature, certificate=der)

    payload = cbor2.dumps({"device": one.device.key, "sequence": 5, "at": 0, "components": {}})
    send(one, one.device, payload)
    with pytest.raises(ReplayError):
        send(one, one.device, payload)
    with pytest.raises(DeniedError):
        send(other, other.device, payload)
    with pytest.raises(DeniedError):
        send(other, one.device, payload)
