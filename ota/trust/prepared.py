"""``prepared.json`` and ``signature.json``: what officers receive, and what ``muster-sign`` returns. Pure.

A signing request holds every document that one action changes (a bin; for a raised floor the targets too), so that one
signature file answers it. It also brings the documents that hold now, signed, so that the officer's own tool shows what
changes without trusting the server, and the ``bundle.json`` of what is new.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from tuf.api.metadata import Metadata, Targets

from ota.contract import suit
from ota.errors import MetadataError
from ota.trust import documents
from ota.trust.repository import load_document
from pki.kernel import canonical, intake
from pki.kernel.errors import InvalidError

Documents = Mapping[str, Metadata[Targets]]
MAX_SIGNATURE = 4 << 20
_HEX = re.compile(r"[0-9a-f]{64}")
_SIG = re.compile(r"([0-9a-f]{2}){32,128}")
_ROLE = re.compile(r"targets|b-[0-9a-f]{1,4}|suit-[0-9a-f-]{36}")
_FIELDS = {"statement", "keyid", "sigs", "officer"}


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """What one signing request contains.

    Args:
        documents: by role, unsigned.
        before: the same roles as they are published now, and the targets in any case.
        exhibits: by SHA-256 in hex, the texts that the documents name by it: ``bundle.json``, a configuration.
        sequence: of the SUIT manifests of what is released; 0 when there are none.
    """

    documents: Documents
    before: Documents = field(default_factory=dict)
    exhibits: Mapping[str, str] = field(default_factory=dict)
    sequence: int = 0

    @property
    def digest(self) -> str:
        """Return the digest: of the canonical map of role to SHA-256 of the signed bytes, and of the sequence."""
        parts: dict[str, object] = {
            role: hashlib.sha256(document.signed_bytes).hexdigest() for role, document in self.documents.items()
        }
        parts["sequence"] = self.sequence
        return hashlib.sha256(canonical.dumps(parts)).hexdigest()

    @property
    def bases(self) -> dict[str, int]:
        """Return the version that each document follows."""
        return {role: document.signed.version for role, document in self.before.items() if role in self.documents}

    def to_json(self) -> dict[str, object]:
        """Return it as it is kept and as officers get it."""
        return {
            "documents": {role: _plain(document) for role, document in self.documents.items()},
            "before": {role: _plain(document) for role, document in self.before.items()},
            "exhibits": dict(self.exhibits),
            "sequence": self.sequence,
        }

    @staticmethod
    def from_json(value: Mapping[str, object]) -> "PreparedRequest":
        """Return the signing request that ``to_json`` wrote."""
        documents_, before = (_read(intake.map_of(value[name], name)) for name in ("documents", "before"))
        exhibits = {name: str(text) for name, text in intake.map_of(value["exhibits"], "exhibits").items()}
        return PreparedRequest(documents_, before, exhibits, intake.check_integer(value.get("sequence", 0), "sequence"))

    def manifests(self) -> dict[str, bytes]:
        """Return the SUIT manifests that officers with P-256 keys sign beside: ``suit-<hardware class>`` to bytes."""
        named = {
            target.hashes["sha256"]
            for document in self.documents.values()
            for target in document.signed.targets.values()
        }
        texts = [text for digest, text in self.exhibits.items() if digest in named] if self.sequence else []
        found = {}
        for text in texts:
            for hardware, image in suit.suit_images(json.loads(text), self.sequence).items():
                found[f"suit-{hardware}"] = suit.suit_manifest(image)
        return found


@dataclass(frozen=True, slots=True)
class OfficerSignature:
    """One officer's signatures: over which statement, by which key, in hex by role."""

    statement: str
    keyid: str
    sigs: Mapping[str, str]


def parse_signature(data: bytes) -> OfficerSignature:
    """Read ``signature.json``.

    Raises:
        MetadataError: a field is missing, unknown or malformed.
    """
    try:
        value = canonical.loads(data, max_bytes=MAX_SIGNATURE, max_depth=3)
    except InvalidError as error:
        msg = f"The signature cannot be read: {error.detail}"
        raise MetadataError(msg) from error
    if not isinstance(value, dict) or set(value) != _FIELDS:
        given = set(value) if isinstance(value, dict) else set()
        wrong = [*(given - _FIELDS), *sorted(_FIELDS - given)][:5]
        names = ", ".join(repr(str(name)[:40]) for name in wrong)
        msg = (
            f"A signature must have the fields {', '.join(sorted(_FIELDS))}; send the file that muster-sign wrote. "
            f"Wrong: {names}."
        )
        raise MetadataError(msg)
    sigs, texts = value["sigs"], [value[name] for name in ("statement", "keyid", "officer")]
    if not all(isinstance(text, str) for text in texts) or not isinstance(sigs, dict):
        msg = "The fields of a signature must be strings, and sigs a map of role to signature."
        raise MetadataError(msg)
    good = all(_ROLE.fullmatch(role) and isinstance(sig, str) and _SIG.fullmatch(sig) for role, sig in sigs.items())
    if not _HEX.fullmatch(value["keyid"]) or not good or not sigs:
        msg = "keyid and sigs of a signature must be lower-case hex."
        raise MetadataError(msg)
    try:
        statement = UUID(value["statement"])
    except ValueError as error:
        msg = "The statement of a signature must be a UUID."
        raise MetadataError(msg) from error
    return OfficerSignature(str(statement), value["keyid"], sigs)


def _plain(document: Metadata[Targets]) -> object:
    plain: object = json.loads(documents.to_bytes(document))
    return plain


def _read(value: Mapping[str, object]) -> dict[str, Metadata[Targets]]:
    return {role: load_document(json.dumps(item).encode(), Targets) for role, item in value.items()}
