"""``/v1/enrol/tpm``: first enrolment of a device that its TPM authenticates; no certificate is needed.

``POST /v1/enrol/tpm/challenge`` {ek_certificate, ek_public, ak_public} -> {session, challenge, nonce, pcrs}
``POST /v1/enrol/tpm`` {session, secret, csr, key: {public, attest, signature}, quote: {attest, signature, pcrs}}
-> {certificates}: certs-only (PKCS#7, DER)
"""

from collections.abc import Mapping

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from devices.proofs.claim import Shown
from devices.services import attestation, enrolment
from devices.services.attestation import Attestation
from fleet.gateway import codec
from fleet.gateway.protocol import DeviceRequest, Reply, ResponseOutcome
from fleet.observe import request_id
from pki.kernel.errors import InvalidError
from pki.models import TrustDomain
from pki.profiles import ALL_KEY_TYPES
from pki.x509 import parse_csr

CHALLENGE = frozenset({"ek_certificate", "ek_public", "ak_public"})
ENROL = frozenset({"session", "secret", "csr", "key", "quote"})


def handle_enrolment(request: DeviceRequest, domain: TrustDomain) -> Reply:
    """Answer paths below ``/v1/enrol/``."""
    work = {"/v1/enrol/tpm/challenge": _challenge, "/v1/enrol/tpm": _enrol}.get(request.path)
    if work is None:
        return Reply(ResponseOutcome.NOT_FOUND, b"", codec.CBOR)
    if request.method != "POST":
        return Reply(ResponseOutcome.NOT_ALLOWED, b"", codec.CBOR, {"allow": "POST"})
    return work(request, domain)


def _challenge(request: DeviceRequest, domain: TrustDomain) -> Reply:
    body = codec.decode_body(request, CHALLENGE)
    challenge = attestation.challenge(
        domain=domain.slug,
        ek_certificate=codec.body_octets(body, "ek_certificate"),
        ek_public=codec.body_octets(body, "ek_public"),
        ak_public=codec.body_octets(body, "ak_public"),
    )
    answer = {
        "session": challenge.session,
        "challenge": challenge.blob,
        "nonce": challenge.nonce,
        "pcrs": list(challenge.pcrs),
    }
    return codec.encode_reply(request, answer, 0)


def _enrol(request: DeviceRequest, domain: TrustDomain) -> Reply:
    body = codec.decode_body(request, ENROL)
    csr = parse_csr(codec.body_octets(body, "csr"), ALL_KEY_TYPES)
    shown = Shown(tpm=attestation.check_attestation(domain=domain.slug, answer=_answer(body), csr=csr))
    done = enrolment.enrol(domain=domain, csr=csr, via="tpm", shown=shown, request_id=request_id.get())
    leaf = x509.load_der_x509_certificate(bytes(done.certificate.der))
    data = pkcs7.serialize_certificates([leaf], serialization.Encoding.DER)
    return codec.encode_reply(request, {"certificates": data}, done.device.pk)


def _answer(body: Mapping[str, object]) -> Attestation:
    key, quote, session = _map(body, "key"), _map(body, "quote"), body.get("session")
    if not isinstance(session, str) or len(session) != 36:  # noqa: PLR2004  because a UUID has 36 characters
        msg = "`session` must be the id from the challenge."
        raise InvalidError(msg)
    return Attestation(
        session,
        codec.body_octets(body, "secret"),
        codec.body_octets(key, "public"),
        codec.body_octets(key, "attest"),
        codec.body_octets(key, "signature"),
        codec.body_octets(quote, "attest"),
        codec.body_octets(quote, "signature"),
        codec.body_octets(quote, "pcrs"),
    )


def _map(body: Mapping[str, object], name: str) -> dict[str, object]:
    value = body.get(name)
    if not isinstance(value, dict):
        msg = f"`{name}` must be a map."
        raise InvalidError(msg)
    return value
