"""Detached CMS signatures (RFC 5652): OpenSSL verifies signature and chain, the rules for signers are ours.

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
from ota.formats import cms_causes
from ota.formats.judgement import ArtefactToVerify, TrustAnchor
from pki.kernel import revocation
from pki.kernel.errors import InvalidError

SECONDS = 30


def verify_cms(case: ArtefactToVerify, content: Path, signature: bytes, what: str) -> dict[str, str]:
    """Return who signed: the anchor's ``name``, and SHA-256 and serial number of the signer's ``certificate``.

    Args:
        case: with the anchors, the time, and a scratch folder.
        content: file of what is signed.
        signature: CMS SignedData in DER.
        what: for the sentence.

    Raises:
        RefusedBundleError: it does not chain to an anchor, or the signer may not sign code.
    """
    anchor, signer = _verified(case, signature, ["-content", content, "-out", "/dev/null"], what)
    return demand_one_signer(signer, anchor, case.at)


def open_signature(
    case: ArtefactToVerify, signature: bytes, what: str, detached: str
) -> tuple[TrustAnchor, dict[str, str], bytes]:
    """Return the anchor of a signature, what ``verify`` returns, and the content within the signature.

    Args:
        case: with the anchors, the time, and a scratch folder.
        signature: CMS SignedData in DER.
        what: for the sentence.
        detached: the whole sentence for a signature without content.

    Raises:
        RefusedBundleError: as ``verify``; or there is no content within.
    """
    content = case.scratch / "content.signed"
    anchor, signer = _verified(case, signature, ["-out", content], what, detached)
    return anchor, demand_one_signer(signer, anchor, case.at), content.read_bytes()


def _verified(
    case: ArtefactToVerify, signature: bytes, content: list[str | Path], what: str, detached: str = ""
) -> tuple[TrustAnchor, bytes]:
    """Return the first anchor that OpenSSL finds behind a signature, and the signer's certificate in PEM."""
    sig, ca, leaf = (case.scratch / name for name in ("sig", "ca.pem", "signer.pem"))
    sig.write_bytes(signature)
    anchors = [one for one in case.anchors if "CERTIFICATE" in one.pem]
    for anchor in anchors:
        ca.write_text(anchor.pem)
        below: list[str | Path] = ["-CAfile", ca, "-no-CApath", "-no-CAstore", "-partial_chain"]
        below += ["-purpose", "any", "-attime", str(case.at)]
        if _openssl(sig, leaf, [*below, *content]).returncode == 0:
            return anchor, leaf.read_bytes()
    done = _openssl(sig, leaf, ["-noverify", *content])
    if done.returncode:
        cause = cms_causes.signature_cause(done.stderr.decode(errors="replace"))
        if detached and cause == cms_causes.DETACHED:
            raise RefusedBundleError(detached)
    else:
        cause = cms_causes.chain_cause(_one_signer(leaf.read_bytes()), anchors, case.at)
    raise RefusedBundleError(f"{what} {cause}")


def _openssl(sig: Path, leaf: Path, options: list[str | Path]) -> "subprocess.CompletedProcess[bytes]":
    program = shutil.which("openssl")
    if program is None:
        msg = "The program openssl is needed to verify CMS signatures; install it on the server."
        raise RefusedBundleError(msg)
    command: list[str | Path] = [program, "cms", "-verify", "-binary", "-inform", "DER", "-in", sig, "-signer", leaf]
    return subprocess.run([*command, *options], capture_output=True, timeout=SECONDS, check=False)  # noqa: S603  because the command is fixed and its inputs are files


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


def demand_one_signer(pem: bytes, anchor: TrustAnchor, at: int) -> dict[str, str]:
    """Return what ``demand_signer`` says of the one certificate in a PEM text.

    Raises:
        RefusedBundleError: there are several signers, or a rule is broken.
    """
    return demand_signer(_one_signer(pem), anchor, at)


def _one_signer(pem: bytes) -> x509.Certificate:
    signers = x509.load_pem_x509_certificates(pem)
    if len(signers) != 1:
        msg = "Exactly one signer is accepted."
        raise RefusedBundleError(msg)
    return signers[0]


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
    """Look signer and signing CA up in the CRLs that were registered; an old or partial CRL proves nothing."""
    authority = x509.load_pem_x509_certificate(anchor.pem.encode())
    if anchor.revocation == "crl" or anchor.crl:
        _look_up(signer, anchor.crl, authority, anchor.name, at)
    if anchor.issuer_crl:
        above = x509.load_pem_x509_certificate(anchor.issuer.encode())
        _look_up(authority, anchor.issuer_crl, above, f"the issuer of {anchor.name}", at, of_authorities=True)


def _look_up(
    certificate: x509.Certificate,
    crl: str,
    issuer: x509.Certificate,
    name: str,
    at: int,
    *,
    of_authorities: bool = False,
) -> None:
    if not crl:
        msg = f"No CRL of {name} is registered, and its trust key requires one. Register it (`manage.py bundle crl`)."
        raise RefusedBundleError(msg)
    try:
        lists = revocation.read_lists(crl, issuer, of_authorities=of_authorities)
    except InvalidError as error:
        msg = f"The CRL of {name} is refused: {error.detail} Register a complete one and upload again."
        raise RefusedBundleError(msg) from error
    if any(certificate.serial_number in revocation_list.serials for revocation_list in lists):
        what = (
            "The signing CA's certificate was revoked. Use"
            if of_authorities
            else ("The signer's certificate was revoked. Sign with")
        )
        raise RefusedBundleError(f"{what} another one.")
    for_it = revocation.covering_lists(certificate, lists)
    if not for_it:
        msg = f"None of the registered CRLs of {name} covers this certificate: they are for other distribution points."
        raise RefusedBundleError(msg)
    try:
        revocation.demand_current(for_it, dt.datetime.fromtimestamp(at, dt.UTC))
    except InvalidError as error:
        msg = f"The CRL of the signing CA {name} is out of date. Register its newest one and upload again."
        raise RefusedBundleError(msg) from error
