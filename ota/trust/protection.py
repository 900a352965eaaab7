"""How well a device is protected from a compromised server: a grade and its reasons. Pure.

The server sees what a device requests and what it reports under its key. It does not see what the device's code
compares. A grade states the evidence, and names its assumptions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from devices.twin_documents import ComponentState, Evidence, UpdateProof

FULL, MANIFEST, VENDOR, UNPROVEN = "full", "manifest", "vendor", "unproven"
#: protocol of a device's update client
NATIVE, SUIT, DDI = "native", "suit", "ddi"
#: resolution of stored request times in seconds, so that few of them are written
COARSE_S = 6 * 3600
#: agents request the metadata every hour; without a request for a day, a device may not know the current metadata
CURRENT_S = 24 * 3600 + COARSE_S
MEANINGS = {
    FULL: "The device requests the director's assignments and the metadata that officers signed. If its client "
    "compares both, as the reference agent does, a stolen server can install only what officers signed for it.",
    MANIFEST: "The device requests a manifest that officers signed. If its client checks their signatures, a stolen "
    "server can install nothing else. It can hold updates back.",
    VENDOR: "Only the vendor's signature inside the image protects this device, if its client checks it. A stolen "
    "server can offer everything that the vendor ever signed, including older versions.",
    UNPROVEN: "The device has not shown that it checks what officers signed.",
}


@dataclass(frozen=True, slots=True)
class Protection:
    """How a device is protected.

    Args:
        grade: ``full``, ``manifest``, ``vendor``, ``unproven``, or empty for a device that never requested an update.
        basis: evidence for the grade, and what is missing for a better one, one sentence each.
    """

    grade: str
    basis: tuple[str, ...] = ()

    @property
    def meaning(self) -> str:
        """Return an explanation of the grade for people."""
        return MEANINGS.get(self.grade, "")


def grade_device(proof: UpdateProof, components: Mapping[str, ComponentState], now: int) -> Protection:
    """Return the grade of a device.

    Args:
        proof: ``client``, and the unix time of the device's last request of each kind (``metadata``, ``documents``,
            ``director``, ``manifest``, ``deployment``).
        components: its last signed report; ``signed`` is true where officers signed the image.
        now: unix time.
    """
    client = proof.get("client", "")
    known = [name for name, component in components.items() if component.get("signed") and component.get("confirmed")]
    installed = f"Its signed report names an image that officers signed: {', '.join(sorted(known))}." if known else ""
    unsigned = sorted(name for name, component in components.items() if component.get("signed") is False)
    also = (f"Officers did not sign what it runs as {', '.join(unsigned)}.",) if unsigned else ()
    if client == DDI:
        return Protection(VENDOR, ("It updates by DDI (SWUpdate and others), which carries no officers' signatures.",))
    if client == SUIT:
        good, why = _asked(proof, "manifest", _MANIFEST, now)
        if good and installed:
            return Protection(MANIFEST, (why, "The officers' P-256 keys sign that manifest.", installed, *also))
        return Protection(UNPROVEN, (*([] if good else [why]), *([] if installed else [_NO_REPORT]), *also))
    if client != NATIVE:
        return Protection("")
    shown = [_asked(proof, name, words, now) for name, words in _ASKED.items()]
    documents = "" if proof.get("documents") else "It has fetched no list or bundle.json that officers signed."
    missing = [*(why for good, why in shown if not good), documents, "" if installed else _NO_REPORT]
    if missing := [why for why in missing if why]:
        return Protection(UNPROVEN, (*missing, *also))
    return Protection(FULL, (*(why for _, why in shown), installed, *also))


_NO_REPORT = "It has not reported an installed image that officers signed."
_MANIFEST = "the SUIT manifest (`/v1/manifest`)"
_ASKED: dict[Evidence, str] = {
    "director": "the director (`/v1/director`)",
    "metadata": "the update metadata (`/v1/metadata`)",
}


def _asked(proof: UpdateProof, name: Evidence, words: str, now: int) -> tuple[bool, str]:
    at = proof.get(name, 0)
    if at and now - at <= CURRENT_S:
        return True, f"It has requested {words} within the last day."
    return False, f"It has not requested {words} within the last day." if at else f"It has never requested {words}."


def coarse_time(now: int) -> int:
    """Return a time in the stored resolution."""
    return now - now % COARSE_S
