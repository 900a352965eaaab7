"""Rows B: what is uploaded by an attacker, judged by the verifiers themselves; ``tests/ota`` uploads through the service."""

import base64
import gzip
import hashlib
import json
import os
import subprocess
import tarfile

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ota.errors import RefusedBundleError
from ota.formats import esp, generic, jws, mcuboot, mender, oms, onnx_model, rauc, swu, tflite
from ota.formats.judgement import ArtefactToVerify, TrustAnchor
from pki.kernel import clock
from pki.kernel.public_keys import key_identity
from tests.attacks.table import attack
from tests.factories import models
from tests.factories.artefacts import (
    BIN,
    CODE,
    DAY,
    Makers,
    archive,
    esp_image,
    listed,
    make_zeros,
    noise,
    private,
    public,
    remade,
    tar,
    untar,
)
from tests.peers.swupdate import make_swu
from tests.regressions import regression

VERIFIERS = {"mcuboot": mcuboot, "esp": esp, "swu": swu, "rauc": rauc, "mender": mender}
VERIFIERS |= {
    "generic": generic,
    "generic-cms": generic,
    "tflite": tflite,
    "onnx": onnx_model,
    "oms": oms,
    "oms-cert": oms,
}
FORMATS = sorted(VERIFIERS)
BY_CA = ["swu", "rauc", "generic-cms", "oms-cert"]

BY_SIGNER = {
    "swu": Makers.swu,
    "generic-cms": Makers.generic_cms,
    "oms-cert": lambda makers, signer: makers.oms_cert(
        signer, "device-ca" if signer.startswith("dev") else "signing-ca"
    ),
}


@pytest.fixture(scope="module")
def makers(tmp_path_factory):
    return Makers(tmp_path_factory.mktemp("artefacts"))


class Judge:
    """Judges artefacts in this process: what the child does once it is shut in."""

    def __init__(self, makers, folder):
        self.makers, self.folder = makers, folder

    def __call__(self, format_, artefact, crl="", anchors=None, folder=()):
        image, signature = artefact
        scratch = self.folder / f"scratch{len(list(self.folder.iterdir()))}"
        scratch.mkdir()
        path, beside = scratch / "artefact", scratch / "beside"
        path.write_bytes(image)
        if signature is not None:
            beside.write_bytes(signature)
        known = self.makers.anchors(format_, crl) if anchors is None else anchors
        name = format_.split("-")[0]
        given = beside if signature is not None else None
        case = ArtefactToVerify(name, path, given, known, clock.unix(), scratch, folder or listed(format_, image))
        return VERIFIERS[format_].judge(case)

    def refuses(self, format_, artefact, words="", **further):
        with pytest.raises(RefusedBundleError, match=words or None):
            self(format_, artefact, **further)


@pytest.fixture
def judge(makers, tmp_path):
    return Judge(makers, tmp_path)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_good_artefact_is_accepted_and_says_what_it_is(judge, makers, format_):
    found = judge(format_, makers.make(format_))
    assert found.facts["signer"] in {"signing-ca", "key"}
    assert found.facts["flash"] > 0
    assert any(one["check"] == "signature" for one in found.statements)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_stranger_vouches_for_nothing(judge, makers, format_, tmp_path):
    stranger = Makers(tmp_path / "stranger")
    judge.refuses(format_, stranger.make(format_))
    judge.refuses(format_, makers.make(format_), anchors=())


@attack("B1")
@pytest.mark.parametrize("signer", ["expired", "future"])
@pytest.mark.parametrize("format_", ["swu", "generic-cms", "oms-cert"])
def test_a_signer_out_of_its_time(judge, makers, format_, signer):
    made = BY_SIGNER[format_](makers, signer)
    judge.refuses(format_, made, "not valid now|expired")


@attack("B1")
def test_a_rauc_signer_whose_time_is_over(judge, makers, monkeypatch):
    made = makers.rauc()
    assert judge("rauc", made)
    monkeypatch.setattr(clock, "unix", lambda: 4_000_000_000)
    judge.refuses("rauc", made, "not valid now")


@attack("B2")
@pytest.mark.parametrize("format_", BY_CA)
def test_a_revoked_signer(judge, makers, format_):
    made = makers.rauc("revoked") if format_ == "rauc" else BY_SIGNER[format_](makers, "revoked")
    assert judge(format_, made)  # nobody has registered a CRL: nothing is known
    judge.refuses(format_, made, "was revoked", crl=makers.pki.crl("revoked"))
    assert judge(format_, makers.make(format_), crl=makers.pki.crl("revoked"))
    judge.refuses(format_, makers.make(format_), "out of date", crl=makers.pki.crl(age=40, life=30))


@attack("B3", "B4")
@pytest.mark.parametrize("signer", ["device", "devsign", "noeku", "nodigsig"])
@pytest.mark.parametrize("format_", ["swu", "generic-cms", "oms-cert"])
def test_a_signer_who_may_not_sign_code(judge, makers, format_, signer):
    made = BY_SIGNER[format_](makers, signer)
    judge.refuses(format_, made)


@attack("B3", "B4")
@pytest.mark.parametrize(("signer", "ca"), [("device", "device-ca"), ("devsign", "device-ca")])
def test_a_rauc_bundle_of_the_ca_that_issues_to_devices(judge, makers, signer, ca):
    try:
        made = makers.rauc(signer, ca)
    except subprocess.CalledProcessError:
        return  # rauc itself does not make it
    judge.refuses("rauc", made)


@attack("B5")
def test_a_swu_member_that_nobody_listed(judge, makers):
    files = (makers.pki.folder / "signer.pem", makers.pki.folder / "signer.key")
    good = make_swu(makers.folder, "2.3.4", "/run/x", noise(3000, 4), files)
    at = good.rindex(b"070702")
    evil = good[:at] + archive([("evil.bin", b"evil")])
    judge.refuses("swu", (evil, None), "not listed")


@attack("B5", "B6")
@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (lambda work: (work / "evil.sh").write_text("evil"), "does not list"),
        (lambda work: (work / "link").symlink_to("/etc/passwd"), "not a regular file|contains no file"),
        (lambda work: (work / "folder").mkdir(), "not a regular file|contains no file"),
        (lambda work: os.mkfifo(work / "pipe"), "not a regular file|contains no file"),
    ],
)
def test_a_rauc_bundle_with_more_than_its_manifest_names(judge, makers, extra, words):
    judge.refuses("rauc", makers.rauc(extra=extra), words)


def test_a_rauc_bundle_of_another_format(judge, makers):
    judge.refuses("rauc", makers.rauc(format="plain"), "verity")


def payload(members):
    return tar(members, compress=True)


@attack("B5", "B6")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: {**found, "evil.bin": b"evil"}, "in this order"),
        (lambda found: {**found, "data/0001.tar.gz": payload([("x", b"y")])}, "in this order"),
        (lambda found: {**found, "data/0000.tar.gz": payload([("../../etc/passwd", b"x")])}, "plain relative paths"),
        (lambda found: {**found, "data/0000.tar.gz": payload([("/etc/passwd", b"x")])}, "plain relative paths"),
        (lambda found: {**found, "data/0000.tar.gz": payload([("x", b"", "/etc/passwd")])}, "only regular files"),
        (lambda found: {**found, "data/0000.tar.gz": payload([("x", b"1"), ("x", b"2")])}, "twice"),
        (lambda found: {**found, "data/0000.tar.gz": b"no gzip"}, "not a complete gzip"),
        (lambda found: {**found, "header.tar.gz": payload([("header-info", b"{}")])}, "lacks artifact_name"),
        (lambda found: {**found, "header.tar.gz": payload([("header-info", b"[" * 5000)])}, "not acceptable JSON"),
        (lambda found: {**found, "header.tar.gz": payload([])}, "no header-info"),
        (lambda found: {**found, "version": b'{"format":"mender","version":2}'}, "version 3"),
        (lambda found: {name: found[name] for name in found if name != "header.tar.gz"}, "in this order"),
    ],
)
def test_a_mender_artifact_that_its_signer_made_evil(judge, makers, change, words):
    """Signed by the right key: the rules are ours, not the signature's."""

    judge.refuses("mender", (remade(makers.mender()[0], makers.key, change), None), words)


@attack("B5")
@pytest.mark.parametrize(
    "smuggle",
    [lambda data: data[:-1] + b"?", lambda data: data + b"evil" * 128, lambda data: data[:-19],
     lambda data: data[:560] + b"?" + data[561:], lambda data: data[:-900] + b"?" + data[-899:]],
)  # fmt: skip
def test_a_mender_artifact_with_bytes_that_belong_to_no_member(judge, makers, smuggle):
    made = makers.mender()[0]
    assert made[560] == 0, "behind the member `version` there is padding"
    judge.refuses("mender", (smuggle(made), None), "unsigned bytes")


@attack("B5")
def test_a_mender_artifact_without_a_signature(judge, makers):
    judge.refuses("mender", makers.mender(key=None), "in this order")


@attack("B7")
@regression("C8", "a Mender payload of 300 MiB of zeros, and a bomb beyond the limit")
def test_a_mender_bomb(judge, makers):
    zeros, piece = tarfile.TarInfo("file"), 64 << 20
    packed = gzip.compress(bytes(piece), 1)
    for pieces, words in ((5, "not listed"), (9, "more than the 512 MiB")):
        zeros.size = pieces * piece
        payload = gzip.compress(zeros.tobuf()) + packed * pieces + gzip.compress(bytes(1024))
        made = tar(list({**dict(untar(makers.mender()[0])), "data/0000.tar.gz": payload}.items()))
        judge.refuses("mender", (made, None), words)


@attack("B7")
def test_a_rauc_bomb(judge, makers, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "manifest.raucm").write_text("x")
    make_zeros(tmp_path / "tree" / "rootfs.img", 600 << 20)
    command = ["mksquashfs", tmp_path / "tree", tmp_path / "image", "-no-progress", "-quiet"]
    subprocess.run(command, check=True, capture_output=True)
    manifest = b"[update]\ncompatible=node\n[bundle]\nformat=verity\n[image.rootfs]\nfilename=rootfs.img\n"
    signature = makers.cms(manifest, embedded=True)
    made = (tmp_path / "image").read_bytes() + signature + len(signature).to_bytes(8, "big")
    judge.refuses("rauc", (made, None), "more than the 512 MiB")


@attack("B7")
@regression("C8", "a payload of 320 MiB of zeros in a SWUpdate archive, and a bomb beyond the limit")
def test_a_swu_bomb(judge, makers):
    files = (makers.pki.folder / "signer.pem", makers.pki.folder / "signer.key")
    packed = gzip.compress(bytes(64 << 20), 1)
    assert judge("swu", (make_swu(makers.folder, "2.3.4", "/run/x", packed * 5, files), None))
    made = make_swu(makers.folder, "2.3.4", "/run/x", packed * 9, files)
    judge.refuses("swu", (made, None), "more than the 512 MiB")


@attack("B6")
@pytest.mark.parametrize("name", ["../evil", "/evil", "a/b", "x\ny", "sw-description"])
def test_swu_names_that_climb(judge, makers, name):
    good = makers.swu()[0]
    at = good.rindex(b"070702")
    judge.refuses("swu", (good[:at] + archive([(name, b"evil")]), None), "refused")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data[:-4096], "truncated"),
        (lambda data: data + b"evil" * 1024, "sector|nobody"),
        (lambda data: data[:-10] + b"\x00" + data[-9:], "unsigned bytes"),
        (lambda data: data[:-4096] + b"\xff" * 4096, "signed this image"),
        (lambda data: data[:5000] + b"?" + data[5001:], "signed this image"),
        (lambda data: data[:20], "multiple"),
        (lambda data: data[:1] + b"\xf0" + data[2:], "segments"),
    ],
)
def test_an_esp_image_that_was_changed(judge, makers, spoil, words):
    judge.refuses("esp", (spoil(makers.esp()[0]), None), words)


def test_an_esp_image_signed_with_rsa(judge, makers):
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    (makers.folder / "rsa.pem").write_bytes(private(key))
    image = makers.esp(key="rsa.pem")[0]
    anchors = (TrustAnchor("rsa", public(key)),)
    assert judge("esp", (image, None), anchors=anchors).facts["security_counter"] == 5
    changed = image[:9000] + bytes([image[9000] ^ 1]) + image[9001:]
    judge.refuses("esp", (changed, None), "signed this image", anchors=anchors)


def test_an_esp_image_that_says_nothing_of_itself(judge, makers):
    image = bytearray(esp_image())
    image[32:36] = b"\0" * 4
    judge.refuses("esp", makers.esp(bytes(image)), "no app description")


JWS_LIES = [
    {"alg": "none"}, {"alg": "HS256"}, {"alg": "ES256", "crit": ["x"], "x": 1}, {"alg": "ES256", "b64": False, "crit": ["b64"]},
    {"alg": "ES256", "jwk": {"kty": "EC"}}, {"alg": "ES256", "x5u": "https://evil"},
]  # fmt: skip


@pytest.mark.parametrize("header", JWS_LIES)
def test_a_jws_whose_header_changes_the_rules(judge, makers, header):
    data = noise(1000, 1)
    judge.refuses("generic", (data, makers.jws(data, header)), "ES256")


def thumbprint(key):
    """Return the JWK thumbprint of a P-256 key (RFC 7638), as `step crypto jws sign` writes it for the key id."""
    point = key.public_numbers()
    x, y = (base64.urlsafe_b64encode(one.to_bytes(32, "big")).decode().rstrip("=") for one in (point.x, point.y))
    members = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
    return base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).decode().rstrip("=")


def text_of(key):
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize("spelling", ["name", "identity", "thumbprint"])
@regression("V6", "a JWS whose kid names another registered key than the one that has signed")
def test_a_jws_is_by_the_key_that_its_kid_names(makers, spelling):
    data, keys = noise(1000, 1), [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    anchors = [TrustAnchor(name, text_of(key.public_key())) for name, key in zip(("one", "two"), keys, strict=True)]
    kids = {
        "name": ["one", "two"],
        "identity": [key_identity(key.public_key()) for key in keys],
        "thumbprint": [thumbprint(key.public_key()) for key in keys],
    }[spelling]
    for place, name in enumerate(("one", "two")):
        right = makers.jws(data, {"alg": "ES256", "kid": kids[place]}, key=keys[place])
        assert jws.verify_jws(data, right, anchors) == name
        wrong = makers.jws(data, {"alg": "ES256", "kid": kids[1 - place]}, key=keys[place])
        with pytest.raises(RefusedBundleError, match="No registered trust key"):
            jws.verify_jws(data, wrong, anchors)
    hint = makers.jws(data, {"alg": "ES256", "kid": "of no key that is registered here"}, key=keys[1])
    assert jws.verify_jws(data, hint, anchors) == "two"


@pytest.mark.parametrize("raw", [bytes(64), b"\x30" * 70, b""])
def test_a_jws_that_is_none(judge, makers, raw):
    data = noise(1000, 1)
    judge.refuses("generic", (data, makers.jws(data, raw=raw)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"external": True}, "other files"), ({"op": "NoSuchThing"}, "not a valid ONNX"), ({"op": "Add"}, "")],
)
def test_an_onnx_model_that_is_none_or_not_whole(judge, makers, changes, words):
    data = models.matmul(**changes)
    if not words:
        assert judge("onnx", (data, makers.jws(data))).facts["operators"] == {"Add": {"count": 1, "version": 14}}
        return
    judge.refuses("onnx", (data, makers.jws(data)), words)


@pytest.mark.parametrize("format_", ["mcuboot", "esp", "swu", "rauc", "mender"])
def test_one_kind_is_never_taken_for_another(judge, makers, format_):
    data = makers.make(format_)[0]
    judge.refuses("generic", (data, makers.jws(data)), "upload it with the format")
    for other in {"mcuboot", "esp", "swu", "rauc", "mender"} - {format_}:
        judge.refuses(other, (data, None), "The file is not")


@attack("B1")
@pytest.mark.parametrize("format_", ["oms-cert", "generic-cms"])
def test_a_signing_ca_whose_time_is_over(judge, makers, monkeypatch, format_):
    """The signer's own certificate is still valid; that of the CA above it is not."""
    makers.pki.issue("old-ca", "root", ca=True, length=0, since=clock.now() - 900 * DAY, until=clock.now() + DAY)
    makers.pki.issue("long", "old-ca", usage=[CODE])
    made = makers.oms_cert("long", "old-ca") if format_ == "oms-cert" else makers.generic_cms("long")
    anchors = (TrustAnchor("old-ca", makers.pki.pem("old-ca")),)
    assert judge(format_, made, anchors=anchors)
    later = clock.unix() + 2 * 86400
    monkeypatch.setattr(clock, "unix", lambda: later)
    judge.refuses(format_, made, "valid now", anchors=anchors)


FOLDER = {"a.bin": models.dense(), "sub/labels.txt": b"yes\nno\n"}


def digests(files):
    return tuple((name, hashlib.sha256(data).hexdigest()) for name, data in files.items())


def test_a_signed_folder_is_accepted_with_all_its_files(judge, makers):
    for made in (makers.oms(FOLDER), makers.oms_cert(files=FOLDER)):
        found = judge("oms", made, folder=digests(FOLDER), anchors=makers.anchors("oms") + makers.anchors("oms-cert"))
        assert (found.facts["inner"], found.facts["schema"]) == ("tflite", 3)
        assert any("OMS over 2 files" in one["outcome"] for one in found.statements)


def test_models_of_other_formats_are_told_apart_in_a_signed_folder(judge, makers):
    for name, data, inner in (("m.onnx", models.matmul(), "onnx"), ("m.bin", b"vela" * 99, "opaque")):
        _, signature = makers.oms({"a.bin": b"x", name: data})
        found = judge("oms", (data, signature), folder=digests({"a.bin": b"x", name: data}))
        assert (found.facts["inner"], found.facts["flash"]) == (inner, len(data))


@attack("B5")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda files: files | {".git/evil.bin": b"x"}, "'.git/evil.bin' is in the bundle but was not signed"),
        (lambda files: files | {"evil.bin": b"x"}, "was not signed"),
        (lambda files: {"a.bin": files["a.bin"]}, "'sub/labels.txt' was signed but is not in the bundle"),
        (lambda files: files | {"sub/labels.txt": b"no\nyes\n"}, "'sub/labels.txt' differs from the signed one"),
    ],
)
def test_a_signed_folder_with_other_files_than_were_signed(judge, makers, change, words):
    judge.refuses("oms", makers.oms(FOLDER), words, folder=digests(change(FOLDER)))


@attack("B5")
def test_a_signature_that_names_paths_to_ignore_hides_nothing(judge, makers, tmp_path):
    """The tool's own verifier accepts this one: the labels are changed, and the signature says to overlook them."""
    folder = makers.place(".folder")
    for name, data in FOLDER.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    out, tool = tmp_path / "x.sig", str(BIN / "model_signing")
    command = [tool, "sign", "key", "--private_key", makers.folder / "key.pem", "--signature", out]
    subprocess.run([*command, "--ignore-paths", folder / "sub", folder], check=True, capture_output=True)
    (folder / "sub" / "labels.txt").write_bytes(b"no\nyes\n")
    public_key = makers.folder / "key.pub"
    public_key.write_text(public(makers.key))
    judged = subprocess.run(
        [tool, "verify", "key", "--signature", out, "--public_key", public_key, folder],
        capture_output=True,
        check=False,
    )
    assert judged.returncode == 0
    changed = FOLDER | {"sub/labels.txt": b"no\nyes\n"}
    judge.refuses("oms", (FOLDER["a.bin"], out.read_bytes()), "was not signed", folder=digests(changed))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda doc: doc.update(mediaType="x"), "not a Sigstore bundle"),
        (lambda doc: doc["dsseEnvelope"].update(payloadType="x"), "not a Sigstore bundle"),
        (lambda doc: doc["dsseEnvelope"].update(signatures=[]), "exactly one signature"),
        (
            lambda doc: doc["dsseEnvelope"].update(signatures=doc["dsseEnvelope"]["signatures"] * 2),
            "exactly one signature",
        ),
        (lambda doc: doc["dsseEnvelope"]["signatures"][0].update(sig="?"), "exactly one signature|base64"),
        (lambda doc: doc.update(verificationMaterial={}), "neither a certificate nor a key"),
        (lambda doc: doc["dsseEnvelope"].update(payload="e30="), "was changed"),
    ],
)
def test_an_oms_signature_that_is_none(judge, makers, spoil, words):
    image, signature = makers.oms_cert()
    document = json.loads(signature)
    spoil(document)
    judge.refuses("oms-cert", (image, json.dumps(document).encode()), words)


@pytest.mark.parametrize(
    "change",
    [
        lambda doc: doc.update(predicateType="https://model_signing/Digests/v0.1"), lambda doc: doc.update(subject=[]),
        lambda doc: doc["predicate"]["serialization"].update(method="shards"), lambda doc: doc["predicate"]["serialization"].update(allow_symlinks=True),
        lambda doc: doc["predicate"]["resources"][0].update(algorithm="blake2b"), lambda doc: doc["subject"][0]["digest"].update(sha256="0" * 64),
        lambda doc: doc["predicate"].update(resources=doc["predicate"]["resources"] * 2), lambda doc: doc.clear(),
    ],
)  # fmt: skip
def test_an_oms_statement_that_its_signer_made_odd(judge, makers, change):
    """The signer's own key signs something else than OMS 1.0 with its defaults."""
    image, signature = makers.oms()
    document = json.loads(signature)
    statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    change(statement)
    payload = json.dumps(statement).encode()
    kind = document["dsseEnvelope"]["payloadType"].encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    made = makers.key.sign(signed, ec.ECDSA(hashes.SHA256()))
    document["dsseEnvelope"] |= {"payload": base64.b64encode(payload).decode()}
    document["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(made).decode()
    judge.refuses("oms", (image, json.dumps(document).encode()), "not an OMS 1.0 statement|not a plain OMS 1.0 list")


def test_the_tools_own_verifier_accepts_what_we_accept(makers, tmp_path):
    for files, made, mode in (
        (FOLDER, makers.oms(FOLDER), "key"),
        (FOLDER, makers.oms_cert(files=FOLDER), "certificate"),
    ):
        folder, sig, key = tmp_path / mode, tmp_path / f"{mode}.sig", tmp_path / "key.pub"
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        sig.write_bytes(made[1])
        key.write_text(public(makers.key))
        by = ["--public_key", key] if mode == "key" else ["--certificate_chain", makers.pki.folder / "root.pem"]
        done = subprocess.run(
            [BIN / "model_signing", "verify", mode, "--signature", sig, *by, folder], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
