"""Model folders signed by OpenSSF Model Signing (OMS, v1.0): a DSSE envelope over the list of all files.

The tool's own verifier lets pass what it must not: it sets its clock to the signer's certificate, takes a device's
certificate for a signer, and obeys paths to ignore that the signature names. Here the list that was signed is the list
of the bundle, file by file, and the signer obeys the rules of every signer (``ota.formats.cms``).
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ota.errors import RefusedBundleError
from ota.facts import BundleFacts
from ota.formats import cms, graph, magic, tflite
from ota.formats.judgement import ArtefactToVerify, Judgement, TrustAnchor, read_whole_file, report_line
from pki.kernel import canonical
from pki.kernel.errors import InvalidError
from pki.kernel.plurals import number_of

try:
    from ota.formats import onnx_model
except ImportError:  # without the extra `models`; the import has to be here, because nothing can be read later
    onnx_model = None  # type: ignore[assignment]  # asked before it is used

MAX_SIGNATURE, MAX_MODEL = 1 << 20, 256 << 20
_ONNX = "onnx"
_MEDIA = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT, _PREDICATE = "https://in-toto.io/Statement/v1", "https://model_signing/signature/v1.0"
_HASHES: Mapping[int, hashes.HashAlgorithm] = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}


def judge(case: ArtefactToVerify) -> Judgement:
    """Return what the model is, when the files of the bundle are those that one of the anchors has signed.

    Raises:
        RefusedBundleError: unsigned, signed by a stranger, changed, or more or less files than were signed.
    """
    if case.signature is None:
        msg = "A model folder needs its signature (`model.sig`): list it with the role signature."
        raise RefusedBundleError(msg)
    material, envelope = _envelope(read_whole_file(case.signature, MAX_SIGNATURE, "signature"))
    payload = _base64(envelope.get("payload"))
    signer = _signer(case, material, envelope, payload)
    signed, listed = _resources(payload), dict(case.listed)
    _demand_same(signed, listed)
    data = read_whole_file(case.image, MAX_MODEL, "model")
    names = [name for name, digest in listed.items() if digest == hashlib.sha256(data).hexdigest()]
    if not names:
        msg = "The model is not one of the signed files."
        raise RefusedBundleError(msg)
    judgement = _inspected(data, names[0])
    said = report_line("signature", "muster", f"OMS over {number_of(len(signed), 'file')}, by {signer['signer']}")
    return Judgement({**judgement.facts, **signer}, [said, *judgement.statements])


def _envelope(data: bytes) -> tuple[dict[str, object], dict[str, object]]:
    """Return verification material and envelope of a Sigstore bundle."""
    try:
        document = canonical.loads(data, max_bytes=MAX_SIGNATURE)
    except InvalidError as error:
        raise RefusedBundleError(error.detail) from error
    match document:
        case {"mediaType": str(media), "verificationMaterial": dict(material), "dsseEnvelope": dict(envelope)}:
            if media == _MEDIA and envelope.get("payloadType") == _PAYLOAD:
                return material, envelope
    msg = f"The signature is not a Sigstore bundle of the type {_MEDIA} over an in-toto statement."
    raise RefusedBundleError(msg)


def _signer(
    case: ArtefactToVerify, material: dict[str, object], envelope: dict[str, object], payload: bytes
) -> BundleFacts:
    """Return who signed: by a certificate below a signing CA, or by a registered key."""
    match envelope.get("signatures"):
        case [{"sig": str(text)}]:
            signature = _base64(text)
        case _:
            msg = "The envelope must contain exactly one signature."
            raise RefusedBundleError(msg)
    signed = b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload), payload)
    match material:
        case {"x509CertificateChain": {"certificates": [{"rawBytes": str(raw)}, *_]}}:
            return _by_certificate(case, _certificate(raw), signature, signed)
        case {"publicKey": dict()}:
            return _by_key(case, signature, signed)
    msg = "The signature names neither a certificate nor a key; keyless signing is not accepted."
    raise RefusedBundleError(msg)


def _by_certificate(case: ArtefactToVerify, leaf: x509.Certificate, signature: bytes, signed: bytes) -> BundleFacts:
    if not _verifies(_public_key(leaf), signature, signed):
        msg = "The signature was not made by the certificate that it names, or the signed content was changed."
        raise RefusedBundleError(msg)
    anchors = [anchor for anchor in case.anchors if "CERTIFICATE" in anchor.pem and _issued(leaf, anchor, case.at)]
    if not anchors:
        msg = "The signer's certificate was not issued directly by a registered signing CA that is valid now."
        raise RefusedBundleError(msg)
    said = cms.demand_signer(leaf, anchors[0], case.at)
    return {"signer": said["name"], "signer_certificate": said["certificate"], "signer_serial": said["serial"]}


def _public_key(leaf: x509.Certificate) -> object:
    """Return the key in a certificate, which is read only now; None for one that cannot be read."""
    try:
        return leaf.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None


def _by_key(case: ArtefactToVerify, signature: bytes, signed: bytes) -> BundleFacts:
    for anchor in case.anchors:
        if "PUBLIC KEY" in anchor.pem:
            key = serialization.load_pem_public_key(anchor.pem.encode())
            if _verifies(key, signature, signed):
                return {"signer": anchor.name}
    msg = "No registered trust key has signed this folder, or the signed content was changed."
    raise RefusedBundleError(msg)


def _verifies(key: object, signature: bytes, signed: bytes) -> bool:
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.key_size not in _HASHES:
        return False
    try:
        key.verify(signature, signed, ec.ECDSA(_HASHES[key.curve.key_size]))
    except InvalidSignature:
        return False
    return True


def _issued(leaf: x509.Certificate, anchor: TrustAnchor, at: int) -> bool:
    try:
        authority = x509.load_pem_x509_certificate(anchor.pem.encode())
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return authority.not_valid_before_utc.timestamp() <= at < authority.not_valid_after_utc.timestamp()


def _certificate(raw: str) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(_base64(raw))
    except ValueError as error:
        msg = "The signer's certificate cannot be read."
        raise RefusedBundleError(msg) from error


def _resources(payload: bytes) -> dict[str, str]:
    """Return path to SHA-256 of every file that was signed."""
    try:
        # untyped: what is missing or of another type is the refusal below.
        document: Any = canonical.loads(payload, max_bytes=MAX_SIGNATURE)
        wanted, method = document["subject"], document["predicate"]["serialization"]
        rows = [
            (resource["name"], resource["algorithm"], resource["digest"])
            for resource in document["predicate"]["resources"]
        ]
        root = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, _, digest in rows)).hexdigest()
        kinds = (document["_type"], document["predicateType"], method["method"], method["hash_type"])
        good = kinds == (_STATEMENT, _PREDICATE, "files", "sha256") and len(wanted) == 1
        good = good and wanted[0]["digest"]["sha256"] == root and method.get("allow_symlinks") is False
    except (InvalidError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        msg = "The signed payload is not an OMS 1.0 statement."
        raise RefusedBundleError(msg) from error
    resources = {str(name): str(digest) for name, _, digest in rows}
    if not good or len(resources) != len(rows) or {algorithm for _, algorithm, _ in rows} != {"sha256"}:
        msg = "The signed payload is not a plain OMS 1.0 list of files by SHA-256. Sign with the default options."
        raise RefusedBundleError(msg)
    return resources


def _demand_same(signed: Mapping[str, str], listed: Mapping[str, str]) -> None:
    """Refuse any difference between the signed list and the bundle's, even for files that the signature ignores."""
    if extra := sorted(set(listed) - set(signed)):
        msg = (
            f"The file {extra[0][:100]!r} is in the bundle but was not signed. Sign the folder again, or remove the "
            "file."
        )
        raise RefusedBundleError(msg)
    if missing := sorted(set(signed) - set(listed)):
        msg = f"The file {missing[0][:100]!r} was signed but is not in the bundle. List it with the role asset."
        raise RefusedBundleError(msg)
    if changed := sorted(name for name, digest in signed.items() if listed[name] != digest):
        msg = f"The file {changed[0][:100]!r} differs from the signed one."
        raise RefusedBundleError(msg)


def _inspected(data: bytes, name: str) -> Judgement:
    """Return the facts of the model inside; for a format that the server does not parse, its size."""
    kind = magic.kind_of_bytes(data)
    if kind not in {None, tflite.FORMAT, _ONNX}:
        msg = f"The model of the folder is {magic.NAMES[str(kind)]}. Upload it with the format {kind!r}."
        raise RefusedBundleError(msg)
    if kind == tflite.FORMAT:
        judgement, inner = tflite.judge_tflite(data, graph.read_model(data)), tflite.FORMAT
    elif kind == _ONNX or name.endswith(".onnx"):
        if onnx_model is None:
            msg = "Inspecting an ONNX model needs the extra `models` on the server (pip install 'muster[models]')."
            raise RefusedBundleError(msg)
        judgement, inner = onnx_model.judge_onnx(data), onnx_model.FORMAT
    else:
        said = report_line(
            "inspection", "muster", "a format that the server does not parse: size and declared figures only"
        )
        judgement, inner = Judgement({"flash": len(data)}, [said]), "opaque"
    return Judgement({**judgement.facts, "inner": inner}, judgement.statements)


def _base64(text: object) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except ValueError as error:  # of binascii, and of a text beyond ASCII
        msg = "A field of the signature is not base64."
        raise RefusedBundleError(msg) from error
