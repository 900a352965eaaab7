"""``signature.json``: what ``muster-sign`` hands back for one release. Pure."""

import re
from dataclasses import dataclass
from uuid import UUID

from ota.errors import MetadataError
from pki.kernel import canonical
from pki.kernel.errors import InvalidError

_HEX = re.compile(r"[0-9a-f]{64}")
_SIG = re.compile(r"([0-9a-f]{2}){32,128}")
_FIELDS = {"release", "keyid", "sig", "officer"}


@dataclass(frozen=True, slots=True)
class OfficerSignature:
    """One officer's signature: over which release, by which key, in hex."""

    release: str
    keyid: str
    sig: str


def parse(data: bytes) -> OfficerSignature:
    """Read ``signature.json``.

    Raises:
        MetadataError: a field is missing, unknown or malformed.
    """
    try:
        value = canonical.loads(data, max_bytes=4096, max_depth=2)
    except InvalidError as error:
        msg = f"The signature cannot be read: {error.detail}"
        raise MetadataError(msg) from error
    if not isinstance(value, dict) or set(value) != _FIELDS:
        msg = "A signature has the fields release, keyid, sig and officer; send what muster-sign wrote."
        raise MetadataError(msg)
    if not all(isinstance(item, str) for item in value.values()):
        msg = "The fields of a signature are texts."
        raise MetadataError(msg)
    if not _HEX.fullmatch(value["keyid"]) or not _SIG.fullmatch(value["sig"]):
        msg = "keyid and sig of a signature are lower-case hex."
        raise MetadataError(msg)
    try:
        release = UUID(value["release"])
    except ValueError as error:
        msg = "The release of a signature is a UUID."
        raise MetadataError(msg) from error
    return OfficerSignature(str(release), value["keyid"], value["sig"])
