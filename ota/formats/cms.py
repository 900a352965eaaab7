"""Detached CMS signatures (RFC 5652): OpenSSL judges signature and chain, the rules for signers are ours.

The anchor is the *signing CA's* certificate, never the root above it: with the common root as anchor a certificate of
the CA that issues to devices would pass. OpenSSL 3.0 knows no purpose for code signing and reads no CRL unasked, so
extended key usage, key usage, and revocation are checked here.
"""

import datetime as dt
import shutil
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from ota.errors import RefusedBundleError
from ota.formats.judgement import Case, TrustAnchor

SECONDS = 30


def verify(case: Case, content: Path, signature: bytes, what: str) -> dict[str, str]:
    """Return who signed: the anchor's ``name``, and SHA-256 and serial number of the signer's ``certificate``.

    Args:
        case: with the anchors, the time, and a scratch folder.
        content: file of what is signed.
        signature: CMS SignedData in DER.
        what: for the sentence.

    Raises:
        RefusedBundleError: none of the anchors stands behind it, or the signer may not sign code.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        msg = "The program openssl is needed to verify CMS signatures; install it on the server."
        raise RefusedBundleError(msg)
    said = ""
    sig, ca, leaf = (case.scratch / name for name in ("sig", "ca.pem", "signer.pem"))
    sig.write_bytes(signature)
    for anchor in case.anchors:
        if "CERTIFICATE" not in anchor.pem:
            continue
        ca.write_text(anchor.pem)
        command: list[str | Path] = [openssl, "cms", "-verify", "-binary", "-inform", "DER", "-in", sig]
        command += ["-content", content, "-CAfile", ca, "-no-CApath", "-no-CAstore", "-partial_chain"]
        command += ["-purpose", "any", "-attime", str(case.at), "-signer", leaf, "-out", "/dev/null"]
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)  # noqa: S603  because the command is fixed and its inputs are files
        if done.returncode == 0:
            return demand_one(leaf.read_bytes(), anchor, case.at)
        said += done.stderr.decode(errors="replace")
    raise RefusedBundleError(f"{what} {_why(said)}")


def _why(said: str) -> str:
    """Return which check failed and what to do, by what openssl said."""
    for sign, words in (
        ("certificate has expired", "was signed with a certificate that is not valid now: sign it with a valid one."),
        (
            "certificate is not yet valid",
            "was signed with a certificate that is not valid now: sign it with a valid one.",
        ),
        (
            "digest failure",
            "is not the file that was signed: it was changed since. Sign this one, or upload the other.",
        ),
        ("signature failure", "carries a signature that was changed. Sign it anew."),
        (
            "issuer certificate",
            "is signed by none of the registered signing CAs. Register its CA (`manage.py bundle trust`).",
        ),
    ):
        if sign in said:
            return words
    return "is signed by none of the registered signing CAs, was changed, or its signer is not valid now. Sign it anew."


def demand_signer(signer: x509.Certificate, anchor: TrustAnchor, at: int) -> dict[str, str]:
    """Return who signed, when the certificate may sign code, was issued by the anchor itself and is not revoked.

    Args:
        signer: whose signature was verified.
        anchor: the signing CA.
        at: unix time.

    Raises:
        RefusedBundleError: one sentence says which rule is broken.
    """
    _demand_issuer(signer, anchor)
    _demand_usage(signer)
    if not signer.not_valid_before_utc.timestamp() <= at < signer.not_valid_after_utc.timestamp():
        msg = "The signer's certificate has expired or is not valid yet. Sign with a valid one."
        raise RefusedBundleError(msg)
    _demand_not_revoked(signer, anchor, at)
    return {
        "name": anchor.name,
        "certificate": signer.fingerprint(hashes.SHA256()).hex(),
        "serial": f"{signer.serial_number:x}",
    }


def demand_one(pem: bytes, anchor: TrustAnchor, at: int) -> dict[str, str]:
    """Return what ``demand_signer`` says of the one certificate in a PEM text.

    Raises:
        RefusedBundleError: there are several signers, or a rule is broken.
    """
    signers = x509.load_pem_x509_certificates(pem)
    if len(signers) != 1:
        msg = "Exactly one signer is accepted."
        raise RefusedBundleError(msg)
    return demand_signer(signers[0], anchor, at)


def _demand_issuer(signer: x509.Certificate, anchor: TrustAnchor) -> None:
    try:
        signer.verify_directly_issued_by(x509.load_pem_x509_certificate(anchor.pem.encode()))
    except Exception as error:  # because each kind of key has its own error here
        msg = "The signer's certificate was not issued by the signing CA itself."
        raise RefusedBundleError(msg) from error


def _demand_usage(signer: x509.Certificate) -> None:
    try:
        usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        key = signer.extensions.get_extension_for_class(x509.KeyUsage).value
        good = ExtendedKeyUsageOID.CODE_SIGNING in usage and key.digital_signature
    except x509.ExtensionNotFound:
        good = False
    if not good:
        msg = (
            "The signer's certificate may not sign code: it needs the extended key usage codeSigning and the key usage "
            "digitalSignature."
        )
        raise RefusedBundleError(msg)


def _demand_not_revoked(signer: x509.Certificate, anchor: TrustAnchor, at: int) -> None:
    """Look the signer up in the CRL that was registered with the signing CA; an old CRL proves nothing."""
    if not anchor.crl:
        return
    crl = x509.load_pem_x509_crl(anchor.crl.encode())
    ends = crl.next_update_utc or crl.last_update_utc + dt.timedelta(days=1)
    if at >= ends.timestamp():
        msg = f"The CRL of the signing CA {anchor.name} is out of date. Register its newest one and upload again."
        raise RefusedBundleError(msg)
    if crl.get_revoked_certificate_by_serial_number(signer.serial_number) is not None:
        msg = "The signer's certificate was revoked. Sign with another one."
        raise RefusedBundleError(msg)
