"""What a verifier is given and what it answers; both travel as JSON between the processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ota.errors import RefusedBundleError


@dataclass(frozen=True, slots=True)
class TrustAnchor:
    """A key or CA certificate that the domain registered for this format and component.

    Args:
        name: for people.
        pem: public key or certificate.
        crl: newest CRLs of that CA in PEM, or empty when none is registered.
        revocation: ``crl`` when a signer is accepted only by a current CRL.
        issuer: certificate of the CA above it in PEM, when its CRLs are registered.
        issuer_crl: newest CRLs of the CA above, or empty.
    """

    name: str
    pem: str
    crl: str = ""
    revocation: str = ""
    issuer: str = ""
    issuer_crl: str = ""

    def to_json(self) -> list[str]:
        """Return it as the child reads it."""
        return [self.name, self.pem, self.crl, self.revocation, self.issuer, self.issuer_crl]


@dataclass(frozen=True, slots=True)
class Case:
    """One artefact to judge.

    Args:
        format: which verifier runs.
        image: the staged artefact.
        signature: a detached signature, or None.
        anchors: who may have signed it.
        at: unix time at which certificates must be valid.
        scratch: a private folder for temporary files.
        listed: path and SHA-256 (hex) of each file of the bundle but the signature, for formats that sign a folder.
    """

    format: str
    image: Path
    signature: Path | None
    anchors: tuple[TrustAnchor, ...]
    at: int
    scratch: Path
    listed: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what the child reads; it gets the files as open descriptors."""
        return {
            "format": self.format,
            "anchors": [anchor.to_json() for anchor in self.anchors],
            "at": self.at,
            "listed": [list(one) for one in self.listed],
        }

    @staticmethod
    def from_json(value: Mapping[str, Any], image: Path, signature: Path | None, scratch: Path) -> "Case":
        """Return the case that the parent wrote, with the files as this process opens them."""
        return Case(
            format=value["format"],
            image=image,
            signature=signature,
            anchors=tuple(TrustAnchor(*one) for one in value["anchors"]),
            at=value["at"],
            scratch=scratch,
            listed=tuple((str(path), str(digest)) for path, digest in value["listed"]),
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """A good artefact.

    Args:
        facts: what is in it; nothing here may be believed that was not signed.
        statements: what was checked, by which tool of which version, for the ledger.
    """

    facts: dict[str, Any]
    statements: list[dict[str, str]]


def statement(check: str, tool: str, outcome: str) -> dict[str, str]:
    """Return one line of the report."""
    return {"check": check, "tool": tool, "outcome": outcome}


def read(path: Path, limit: int, what: str) -> bytes:
    """Return a file's bytes.

    Raises:
        RefusedBundleError: it is longer than the verifier reads.
    """
    size = path.stat().st_size
    if size > limit:
        msg = f"The {what} has {size} bytes; at most {limit} are accepted."
        raise RefusedBundleError(msg)
    return path.read_bytes()
