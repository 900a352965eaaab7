"""Verification of a SUIT envelope on a microcontroller: few keys, few numbers, no JSON. A reference for firmware.

It needs the P-256 keys and the threshold of the release officers from its factory settings, and stores one sequence
number per component. Without director and timestamp, a compromised server can withhold an update, but can replay an old
one only if its sequence is higher than the stored one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from tuf.api.metadata import Metadata, Root, Targets

from fleet.agent.agreement import SignedAssignment
from fleet.agent.errors import RefusedError
from fleet.agent.state import StateFile
from ota.contract import root_keys, suit, tuf_json
from pki.kernel.errors import InvalidError
from pki.kernel.public_keys import read_tuf_fields


@dataclass(frozen=True, slots=True)
class People:
    """The officers who may release for this device.

    Args:
        keys: name to P-256 or Ed25519 key.
        threshold: number of required signatures.
    """

    keys: Mapping[str, suit.Key]
    threshold: int


def release_officers(root: Path) -> People:
    """Return the release officers of a TUF root whose keys a manifest can use; firmware has them compiled in.

    Raises:
        RefusedError: the root lists a key or a person twice.
    """
    signed = Metadata[Root].from_bytes(root.read_bytes(), tuf_json.StrictDeserializer()).signed
    try:
        root_keys.check_root_keys(signed.to_dict())
    except InvalidError as error:
        raise RefusedError(error.detail) from error
    role = signed.roles[Targets.type]
    known: dict[str, suit.Key] = {}
    for keyid in role.keyids:
        key = read_tuf_fields(signed.keys[keyid].to_dict())
        p256 = isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
        if p256 or isinstance(key, ed25519.Ed25519PublicKey):
            known[keyid] = key  # type: ignore[assignment]  # one of the two kinds, as asked above
    return People(known, role.threshold)


def read_assignment(data: bytes, who: People, state: StateFile, vendor: str, hardware: str) -> SignedAssignment:
    """Return the image that an envelope describes. The caller verifies the size and hash of the download.

    Args:
        data: the envelope.
        who: the release officers.
        state: state of the device, with the highest *installed* sequence of each component, see ``store_sequence``.
        vendor: RFC 9124 vendor id.
        hardware: RFC 9124 class id.

    Raises:
        RefusedError: it is malformed, has too few signatures, is for other hardware, or is not newer.
    """
    try:
        image, manifest, signatures = suit.read_envelope(data)
    except InvalidError as error:
        raise RefusedError(error.detail) from error
    signers = suit.manifest_signers(manifest, signatures, who.keys)
    if len(signers) < who.threshold:
        msg = f"the manifest has the signatures of {len(signers)} release officers; {who.threshold} are required"
        raise RefusedError(msg)
    if (str(image.vendor), str(image.hardware)) != (vendor, hardware):
        msg = "the manifest is for other hardware than this device"
        raise RefusedError(msg)
    last = state.get("sequences", {}).get(image.component, 0)
    if image.sequence <= last:
        msg = f"the manifest's sequence {image.sequence} is not above the installed {last}"
        raise RefusedError(msg)
    names = {"action": 0, "kind": "update", "path": image.component, "counter": image.sequence, "version": ""}
    return SignedAssignment(component=image.component, length=image.size, sha256=image.sha256.hex(), **names)  # type: ignore[arg-type]  # each has its own type


def store_sequence(state: StateFile, assignment: SignedAssignment) -> None:
    """Store the sequence of a confirmed image. Older images are refused."""
    state.put(sequences={**state.get("sequences", {}), assignment.component: assignment.counter})
