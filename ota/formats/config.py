"""Configuration bundles: what no server may change by itself, such as the roots that a device trusts.

Nobody's native signature is asked for: the officers' own signature over the targets stands behind every byte.
"""

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes

from ota.errors import RefusedBundleError
from ota.formats.judgement import Case, Judgement, read, statement
from pki.kernel import canonical
from pki.kernel.errors import InvalidError

MAX_CONFIG = 64 * 1024
MOST_ANCHORS = 8
FIELDS = {"schema", "version", "anchors"}


def judge(case: Case) -> Judgement:
    """Return which roots the configuration names, when all of them are usable roots.

    Raises:
        RefusedBundleError: it is no such configuration, or a root in it is none.
    """
    data = read(case.image, MAX_CONFIG, "configuration")
    try:
        document = canonical.loads(data, max_bytes=MAX_CONFIG)
    except InvalidError as error:
        raise RefusedBundleError(error.detail) from error
    if not isinstance(document, dict) or set(document) != FIELDS or document["schema"] != 1:
        msg = f"A configuration of schema 1 has exactly these fields: {', '.join(sorted(FIELDS))}."
        raise RefusedBundleError(msg)
    anchors = document["anchors"]
    if not isinstance(anchors, list) or not 0 < len(anchors) <= MOST_ANCHORS:
        msg = f"A configuration names between 1 and {MOST_ANCHORS} anchors."
        raise RefusedBundleError(msg)
    found = [_root(pem, case.at) for pem in anchors]
    if len(set(found)) != len(found):
        msg = "A root stands twice among the anchors."
        raise RefusedBundleError(msg)
    facts = {"version": document["version"], "anchors": found, "flash": len(data)}
    return Judgement(facts, [statement("anchors", "muster", f"{len(found)} self-signed roots in time")])


def _root(pem: object, at: int) -> str:
    """Return the fingerprint of a root."""
    try:
        root = x509.load_pem_x509_certificate(str(pem).encode())
        basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = root.extensions.get_extension_for_class(x509.KeyUsage).value
        root.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
        msg = "An anchor is no self-signed root certificate in PEM."
        raise RefusedBundleError(msg) from error
    if not (basic.critical and basic.value.ca and usage.key_cert_sign):
        msg = "An anchor is no CA: its basicConstraints or keyUsage do not say so."
        raise RefusedBundleError(msg)
    if not root.not_valid_before_utc.timestamp() <= at < root.not_valid_after_utc.timestamp():
        msg = "An anchor is not valid now."
        raise RefusedBundleError(msg)
    return root.fingerprint(hashes.SHA256()).hex()
