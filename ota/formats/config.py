"""Configuration bundles: what no server may do by itself: roots, server address, time sources, policy keys, erasure.

No native signature is required: the officers' signature over the targets covers every byte. Format: canonical JSON with
the fields of ``docs/reference/device-protocol.md`` ("Configuration bundles"); ``ota.contract.orders`` reads the orders.
"""

import hashlib
import re
from collections.abc import Mapping

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization

from ota.contract import orders
from ota.contract.addresses import is_server
from ota.errors import RefusedBundleError
from ota.facts import BundleFacts
from ota.formats.judgement import ArtefactToVerify, Judgement, read_whole_file, report_line
from pki.kernel import canonical
from pki.kernel.errors import InvalidError
from pki.kernel.names import wrong_version
from pki.kernel.pem import demand_one_block
from pki.kernel.plurals import number_of

MAX_CONFIG = 64 * 1024
MOST_ANCHORS = 8
FIELDS, MORE = {"schema", "version", "anchors"}, {"wipe", "server", *orders.FIELDS}
MOST_WIPED = 1000
_DEVICE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def judge(case: ArtefactToVerify) -> Judgement:
    """Return which roots the configuration names, when all of them are usable roots.

    Raises:
        RefusedBundleError: it is no such configuration, or a root in it is none.
    """
    data = read_whole_file(case.image, MAX_CONFIG, "configuration")
    try:
        loaded = canonical.loads(data, max_bytes=MAX_CONFIG)
        document = loaded if isinstance(loaded, dict) else {}
        further = orders.check_orders(document)
    except InvalidError as error:
        raise RefusedBundleError(error.detail) from error
    version, anchors = _version(document), document["anchors"]
    if not isinstance(anchors, list) or not 0 < len(anchors) <= MOST_ANCHORS:
        msg = f"A configuration must have 1 to {MOST_ANCHORS} anchors."
        raise RefusedBundleError(msg)
    roots = [_root(pem, case.at) for pem in anchors]
    if len(set(roots)) != len(roots):
        msg = "A root appears twice in the anchors. Remove one."
        raise RefusedBundleError(msg)
    wiped, server = _wiped(document.get("wipe", [])), _server(document)
    facts = BundleFacts(version=version, anchors=roots, wipe=wiped, server=server)
    facts |= {"flash": len(data), "orders": _named(further)}
    statements = [report_line("anchors", "muster", f"{number_of(len(roots), 'self-signed root')} in time")]
    if server:
        statements.append(report_line("server", "muster", f"devices move to {server} if they are served there"))
    many = {name: len(one) for name, one in further.items() if isinstance(one, list | dict)}
    statements += [report_line(name.replace("_", " "), "muster", f"{count} set") for name, count in many.items()]
    if wiped:
        statements.append(report_line("wipe", "muster", f"{number_of(len(wiped), 'device')} to be erased"))
    return Judgement(facts, statements)


def _version(document: Mapping[str, object]) -> str:
    """Return the version, of a document that has the right fields."""
    if set(document) - MORE != FIELDS or document["schema"] != 1:
        names, more = ", ".join(sorted(FIELDS)), " and ".join(sorted(MORE))
        msg = f"A configuration of schema 1 must have exactly these fields: {names}. It may also have {more}."
        raise RefusedBundleError(msg)
    version = document["version"]
    if not isinstance(version, str):
        msg = "`version` of the configuration must be a string."
        raise RefusedBundleError(msg)
    if why := wrong_version(version):
        msg = f"`version` of the configuration is not valid: {why}."
        raise RefusedBundleError(msg)
    return version


def _named(further: dict[str, object]) -> dict[str, object]:
    """Return what people may read of it: of secrets their names and digests."""
    secrets = further.get("secrets")
    if not isinstance(secrets, dict):
        return further
    return {
        **further,
        "secrets": {name: hashlib.sha256(secret.encode()).hexdigest() for name, secret in secrets.items()},
    }


def _server(document: Mapping[str, object]) -> str | None:
    """Return where devices are sent: an address, empty for where the factory sent them, None when it does not say."""
    if "server" not in document:
        return None
    given = document["server"]
    if not isinstance(given, str) or (given and not is_server(given)):
        msg = (
            "`server` must be https://host:port or coaps://host:port in lower case, or empty for the factory's address."
        )
        raise RefusedBundleError(msg)
    return given


def _wiped(devices: object) -> list[str]:
    """Return the devices that the configuration orders to erase themselves."""
    named = devices if isinstance(devices, list) and len(devices) <= MOST_WIPED else [None]
    if not all(isinstance(name, str) and _DEVICE.fullmatch(name) for name in named) or len(set(named)) != len(named):
        msg = f"`wipe` may list at most {MOST_WIPED} public ids of devices, each once."
        raise RefusedBundleError(msg)
    return [str(name) for name in named]


def _root(pem: object, at: int) -> str:
    """Return the fingerprint of a root."""
    try:
        root = x509.load_pem_x509_certificate(demand_one_block(str(pem), "CERTIFICATE", what="An anchor"))
        basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = root.extensions.get_extension_for_class(x509.KeyUsage).value
        root.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature, InvalidError, x509.ExtensionNotFound) as error:
        msg = "An anchor is not a self-signed root certificate in PEM."
        raise RefusedBundleError(msg) from error
    if root.public_bytes(serialization.Encoding.PEM).decode() != pem:
        msg = "An anchor is not in the usual PEM form, so parsers could disagree about it. Encode it again."
        raise RefusedBundleError(msg)
    if not (basic.critical and basic.value.ca and usage.key_cert_sign):
        msg = "An anchor is not a CA certificate: its basicConstraints or keyUsage do not allow it."
        raise RefusedBundleError(msg)
    if not root.not_valid_before_utc.timestamp() <= at < root.not_valid_after_utc.timestamp():
        msg = "An anchor is not valid now."
        raise RefusedBundleError(msg)
    return root.fingerprint(hashes.SHA256()).hex()
