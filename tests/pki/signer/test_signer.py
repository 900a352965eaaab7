"""The signer as an attacker inside another process meets it: over its socket, with one role's secret."""

import json
import secrets
import socket
import struct
import subprocess
import sys
import uuid
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from fleet.officer import authority
from pki.kernel import canonical
from pki.kernel.errors import DeniedError, InvalidError, NotFoundError
from pki.signer import frames
from pki.signer.client import Signer, role_secret, secret_file
from pki.signer.server import ANY, ROLES
from tests.factories.devices import csr
from tests.regressions import regression

pytestmark = pytest.mark.django_db
SHAPES = {
    "issue_device": {"csr": b"", "device_key": "", "device_name": ""},
    "door_identity": {"host_names": ["x.example"]},
    "create_authority_key": {"name": "Mine"},
    "install_authority": {"certificate": b"", "root": b""},
}


@pytest.fixture
def line(signer, domain):
    """Return how to ask the signer in a role for this domain."""
    opened = []

    def ask(role, operation, slug=domain.slug, **fields):
        client = Signer(signer, role, [domain.slug])
        opened.append(client)
        client._connections.update({slug: client._connect(domain.slug)} if role == "door" else {})
        return client._call(operation, slug, **fields)

    yield ask
    for client in opened:
        client.close()


def now(**ahead):
    return (datetime.now(UTC) + timedelta(**ahead)).isoformat()


def log(folder):
    return [json.loads(one) for one in (folder / "keys" / "signer.jsonl").read_text().splitlines()]


def test_a_listener_gets_a_device_certificate_built_by_the_signer_alone(line, domain):
    der, key = csr("CN asked for by the device")
    name = str(uuid.uuid4())
    answer = line("door", "issue_device", csr=der, device_key=name, device_name="sensor")
    certificate = x509.load_der_x509_certificate(answer["certificate"])
    assert certificate.public_key().public_numbers() == key.public_key().public_numbers()
    assert certificate.subject.rfc4514_string() == "CN=sensor"
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"urn:muster:device:{domain.slug}:{name}"]


def test_no_extension_of_a_request_reaches_the_certificate(line):
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    greedy = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    greedy = greedy.add_extension(x509.BasicConstraints(ca=True, path_length=9), critical=True)
    greedy = greedy.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
    greedy = greedy.add_extension(x509.SubjectAlternativeName([x509.DNSName("victim.example")]), critical=False)
    der = greedy.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    answer = line("door", "issue_device", csr=der, device_key=str(uuid.uuid4()), device_name="x")
    certificate = x509.load_der_x509_certificate(answer["certificate"])
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert b"victim" not in answer["certificate"]


@pytest.mark.parametrize("role", sorted(ROLES))
def test_each_role_is_refused_everything_that_is_not_its_own(line, signer, role):
    foreign = {name for names in ROLES.values() for name in names} - ROLES[role] - ANY
    for operation in sorted(foreign):
        with pytest.raises(DeniedError, match=f"{role} may not run"):
            line(role, operation, **SHAPES.get(operation, {"payload": b"{}"}))
    refused = [one for one in log(signer) if one.get("refused") and one["role"] == role]
    assert {one["op"] for one in refused} >= foreign


def test_a_listener_may_make_no_ca_sign_no_tuf_metadata_and_read_no_key():
    assert ROLES["door"] == {"issue_device", "sign_director", "sign_time", "oscore_secret"}
    everything = {name for names in ROLES.values() for name in names} | ANY
    assert not {name for name in everything if "export" in name or "private" in name or name == "sign"}


def test_a_listener_of_one_domain_gets_nothing_in_another(line, signer, offline):
    from pki.kernel import actor as actors
    from pki.services import authorities, domains

    slug = f"x{uuid.uuid4().hex[:8]}"
    who = actors.system_actor(slug, "test")
    domains.create(actor=who, slug=slug, name="Other", host_names=[])
    request = authorities.issuing_csr(actor=who, name="Other Issuing CA")
    root = (offline / "root-ca" / "root-ca.pem").read_bytes()
    authorities.install(actor=who, certificate=authority.certify_issuing_ca(offline / "root-ca", request), root=root)
    der, _ = csr()
    fields = {"csr": der, "device_key": str(uuid.uuid4()), "device_name": "x"}
    with pytest.raises(DeniedError, match="only"):
        line("door", "issue_device", slug=slug, **fields)
    with pytest.raises(DeniedError, match="only"):
        line("door", "sign_director", slug=slug, payload=b"{}")
    assert secret_file(signer, "door", slug).read_text() != secret_file(signer, "door", line("door", "ping") and "")


@pytest.mark.parametrize(
    "key",
    ["", "x", "other:018f0000-0000-7000-8000-000000000001", "018F0000-0000-7000-8000-000000000001", 7, None, "0" * 32],
)
def test_a_device_is_named_by_a_uuid_and_nothing_else(line, key):
    der, _ = csr()
    with pytest.raises(InvalidError, match="UUID"):
        line("door", "issue_device", csr=der, device_key=key, device_name="x")


@pytest.mark.parametrize("days", [0, -1, 1126, 10**9, True, "9", 1.5])
def test_a_certificate_lives_no_longer_than_the_signer_allows(line, days):
    der, _ = csr()
    with pytest.raises(InvalidError, match="days"):
        line("door", "issue_device", csr=der, device_key=str(uuid.uuid4()), device_name="x", days=days)


@pytest.mark.parametrize("slug", ["../default", "", "nobody", "a/b", "A", "x" * 200])
def test_a_domain_that_does_not_exist_yields_nothing_and_leaves_nothing(line, signer, slug):
    with pytest.raises((InvalidError, NotFoundError)):
        line("serve", "door_identity", slug=slug, host_names=["x.example"])
    with pytest.raises((InvalidError, NotFoundError)):
        line("work", "sign_head", slug=slug, payload=b"{}")
    assert {place.name for place in (signer / "keys").iterdir() if place.is_dir()} & {slug, "nobody"} == set()


def sign(line, role, document, slug=None, **fields):
    payload = canonical.dumps({"_type": document, **fields})
    return line(role, f"sign_{document}", payload=payload)


@pytest.fixture
def online(line):
    line("admin", "create_online_keys")


def tuf(kind, version, **ahead):
    return {
        "spec_version": "1.0.31",
        "version": version,
        "expires": (datetime.now(UTC) + timedelta(**ahead)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "meta": {},
    }


def test_versions_of_tuf_metadata_only_grow_and_cannot_be_used_up(line, online):
    present = int(datetime.now(UTC).timestamp())
    sign(line, "work", "timestamp", **tuf("timestamp", present, minutes=30))
    for version in (present, present - 1, 0, -1, True, "7", None, present + 10**6, 2**31 + 10**9):
        with pytest.raises(InvalidError, match="version"):
            sign(line, "work", "timestamp", **tuf("timestamp", version, minutes=30))
    sign(line, "work", "timestamp", **tuf("timestamp", present + 1, minutes=30))


def test_online_metadata_is_short_lived(line, online):
    present = int(datetime.now(UTC).timestamp())
    for ahead in ({"hours": 2}, {"days": 365}, {"minutes": -1}):
        with pytest.raises(InvalidError, match="valid for"):
            sign(line, "work", "timestamp", **tuf("timestamp", present, **ahead))
    with pytest.raises(InvalidError, match="valid for"):
        sign(line, "work", "snapshot", **tuf("snapshot", present, days=8))


@pytest.mark.parametrize("kind", ["root", "targets", "timestamp", "mirrors"])
def test_an_operation_signs_no_document_of_another_type(line, online, kind):
    payload = canonical.dumps({"_type": kind, **tuf(kind, 1, minutes=5)})
    with pytest.raises(InvalidError, match="type"):
        line("work", "sign_snapshot", payload=payload)


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b'{"_type": "director"}', b'{"_type":"director","_type":"director"}', b"\xff", b"9" * 200_001],
)
def test_what_is_not_canonical_json_is_not_signed(line, online, payload):
    with pytest.raises(InvalidError):
        line("door", "sign_director", payload=payload)


@pytest.mark.parametrize("expires", ["soon", "2030-01-01", "2030-01-01T00:00:00", None, 5])
def test_a_time_without_a_zone_is_no_time(line, online, expires):
    with pytest.raises(InvalidError, match="RFC 3339"):
        sign(line, "door", "director", expires=expires)


@regression("R11", "a taken-over listener asks for director documents with extreme versions and times")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2**60}, "between 1"),
        ({"version": 0}, "between 1"),
        ({"version": True}, "between 1"),
        ({"issued": "2099-01-01T00:00:00+00:00"}, "current time"),
        ({"issued": "2001-01-01T00:00:00+00:00"}, "current time"),
    ],
)
def test_a_director_document_is_bounded_in_version_and_time(line, online, change, words):
    usual = {"issued": now(), "expires": now(minutes=30), "version": int(datetime.now(UTC).timestamp())}
    sign(line, "door", "director", **usual)
    with pytest.raises(InvalidError, match=words):
        sign(line, "door", "director", **{**usual, **change})


@regression("R11", "a taken-over worker asks for ledger heads that nothing can follow")
@pytest.mark.parametrize("change", [{"size": 2**60}, {"epoch": 2**60}, {"size": -1}, {"epoch": -1}])
def test_a_ledger_head_is_bounded_above_the_last_one(line, online, domain, change):
    usual = {"domain": domain.slug, "epoch": 0, "root": "ab" * 32, "at": now()}
    sign(line, "work", "head", **usual, size=1)
    with pytest.raises(InvalidError, match=r"at most|signed restore"):
        sign(line, "work", "head", **{**usual, "size": 2, **change})
    sign(line, "work", "head", **usual, size=2)


def test_the_signer_lends_its_name_to_no_other_time_than_its_own(line, online):
    sign(line, "door", "time", nonce="00", now=now())
    with pytest.raises(InvalidError, match="own"):
        sign(line, "door", "time", nonce="00", now=now(minutes=5))


def head(domain, epoch, size, root="0" * 64, **fields):
    return {"domain": domain.slug, "epoch": epoch, "size": size, "root": root, "at": now()} | fields


def test_the_signer_never_signs_two_ledgers_of_one_size(line, online, domain):
    answer = sign(line, "work", "head", **head(domain, 0, 5))
    assert answer["sig"]
    sign(line, "work", "head", **head(domain, 0, 5))
    for other in (
        head(domain, 0, 5, "1" * 64),
        head(domain, 0, 4),
        head(domain, True, 6),
        head(domain, 0, 6, "x"),
        head(domain, 0, 6) | {"domain": "other"},
        head(domain, 0, 6, at=now(hours=1)),
    ):
        with pytest.raises(InvalidError):
            sign(line, "work", "head", **other)
    with pytest.raises(InvalidError, match="needs a signed restore"):
        sign(line, "work", "head", **head(domain, 1, 2))
    begun = {"domain": domain.slug, "lost_epoch": 0, "lost_size": 5, "lost_root": "0" * 64}
    for epoch in (0, True, 2000):
        with pytest.raises(InvalidError, match="must begin epoch"):
            sign(line, "admin", "restore", **begun, epoch=epoch, at=now())
    with pytest.raises(DeniedError):
        sign(line, "work", "restore", **begun, epoch=1, at=now())
    sign(line, "admin", "restore", **begun, epoch=1, at=now())
    sign(line, "work", "head", **head(domain, 1, 2))
    with pytest.raises(InvalidError, match="does not sign an older one"):
        sign(line, "work", "head", **head(domain, 0, 9))
    last = {"epoch": 1, "size": 2, "root": "0" * 64, "unsigned_restores": 0}
    assert line("door", "last_head")["head"] == last


def test_a_signature_verifies_under_the_public_key_that_the_signer_names(line, online, domain):
    payload = canonical.dumps({"_type": "time", "nonce": "00", "now": now()})
    answer = line("door", "sign_time", payload=payload)
    key = line("door", "public_keys")["keys"]["director"]
    assert answer["keyid"] == key["keyid"]
    public = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(key["keyval"]["public"]))
    public.verify(bytes.fromhex(answer["sig"]), payload)


def test_every_act_stands_in_the_signers_own_log_before_it_is_answered(line, signer):
    der, _ = csr()
    answer = line("door", "issue_device", csr=der, device_key=str(uuid.uuid4()), device_name="x")
    last = log(signer)[-1]
    assert last["op"] == "issue_device"
    assert bytes.fromhex(last["der"]) == answer["certificate"]
    assert (signer / "keys" / "signer.jsonl").stat().st_mode & 0o777 == 0o600


def raw(signer, data):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(signer / "run" / "signer.sock"))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        # What the signer did not read when it hung up comes back as a reset.
        with suppress(ConnectionResetError):
            while part := connection.recv(65536):
                answer += part
        return answer


def framed(value):
    data = cbor2.dumps(value)
    return struct.pack(">I", len(data)) + data


@pytest.mark.parametrize("role", [*sorted(ROLES), "root", "", 7, None, "signer-admin", "../django.key"])
@pytest.mark.parametrize("secret", ["wrong", "", None, 7, b"x"])
def test_a_wrong_secret_opens_nothing(signer, domain, role, secret):
    hello = {"role": role, "domain": domain.slug if role == "door" else "", "secret": secret}
    answer = raw(signer, framed(hello) + framed({"op": "ping", "domain": ""}))
    (length,) = struct.unpack(">I", answer[:4])
    assert cbor2.loads(answer[4 : 4 + length])["ok"] is False
    assert len(answer) == 4 + length


def test_one_roles_secret_is_not_anothers(signer, domain):
    hello = {"role": "admin", "secret": role_secret(signer, "work")}
    assert b"unauthenticated" in raw(signer, framed(hello))
    hello = {"role": "door", "domain": "default", "secret": role_secret(signer, "door", domain.slug)}
    assert b"unauthenticated" in raw(signer, framed(hello))
    hello = {"role": "door", "domain": "", "secret": role_secret(signer, "work")}
    assert b"unauthenticated" in raw(signer, framed(hello))


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", 2**32 - 1),
        struct.pack(">I", frames.MAX_HELLO + 1) + b"\0" * (frames.MAX_HELLO + 1),
        struct.pack(">I", 5) + b"\xff" * 5,
        struct.pack(">I", 3) + cbor2.dumps([1, 2])[:3],
        struct.pack(">I", 0),
        framed([1]),
        struct.pack(">I", 6) + bytes.fromhex("d8235f612b00"),
        b"\0\0",
    ],
    ids=["4 GiB", "above the hello's limit", "no CBOR", "a list", "empty", "a list of one", "a tag", "half a length"],
)
def test_a_malformed_frame_ends_the_connection_and_nothing_else(signer, line, data):
    assert raw(signer, data) == b""
    assert line("door", "ping")["ok"]


def test_a_frame_above_the_limit_is_refused_after_the_greeting_too(signer, line):
    hello = {"role": "work", "secret": role_secret(signer, "work")}
    answer = raw(signer, framed(hello) + struct.pack(">I", frames.MAX_FRAME + 1))
    assert cbor2.loads(answer[4:]) == {"ok": True}


def test_random_bytes_do_not_bring_it_down(signer, line):
    for _ in range(50):
        raw(signer, secrets.token_bytes(secrets.randbelow(200)))
    assert line("door", "ping")["ok"]


def test_a_second_signer_for_the_same_keys_does_not_start(signer):
    code = "import sys; from pathlib import Path; from pki.signer import server; server.SignerServer(Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(signer)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Another signer" in done.stderr


def test_keys_lie_encrypted_in_a_folder_of_their_owner(signer, domain, online):
    assert (signer / "keys").stat().st_mode & 0o777 == 0o700
    found = list((signer / "keys" / domain.slug).glob("*.key"))
    assert {path.stem for path in found} == {"issuing", "snapshot", "timestamp", "director", "ledger"}
    for path in found:
        assert path.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        assert path.stat().st_mode & 0o777 == 0o600
