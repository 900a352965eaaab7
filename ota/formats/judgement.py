"""What a verifier is given and what it answers; both travel as JSON between the processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ota.errors import RefusedBundleError
from ota.facts import BundleFacts
from pki.kernel import intake


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
class ArtefactToVerify:
    """One artefact to verify.

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

    def to_json(self) -> dict[str, object]:
        """Return what the child reads; it gets the files as open descriptors."""
        return {
            "format": self.format,
            "anchors": [anchor.to_json() for anchor in self.anchors],
            "at": self.at,
            "listed": [list(one) for one in self.listed],
        }

    @staticmethod
    def from_json(
        value: Mapping[str, object], image: Path, signature: Path | None, scratch: Path
    ) -> "ArtefactToVerify":
        """Return the case that the parent wrote, with the files as this process opens them."""
        return ArtefactToVerify(
            format=intake.read_text(value["format"], "format"),
            image=image,
            signature=signature,
            anchors=tuple(
                TrustAnchor(*_texts(item, "anchors")) for item in intake.list_of(value["anchors"], "anchors")
            ),
            at=intake.check_integer(value["at"], "at"),
            scratch=scratch,
            listed=tuple(_pair(item) for item in intake.list_of(value["listed"], "listed")),
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """A good artefact.

    Args:
        facts: what is in it; nothing here may be trusted that was not signed.
        statements: what was checked, by which tool of which version, for the ledger.
    """

    facts: BundleFacts
    statements: list[dict[str, str]]

    @staticmethod
    def from_json(value: Mapping[str, object]) -> "Judgement":
        """Return the judgement that a verifier's process wrote as JSON.

        Raises:
            InvalidError: it wrote something else.
            KeyError: facts or statements are missing.
        """
        lines = (intake.map_of(item, "statements") for item in intake.list_of(value["statements"], "statements"))
        said = [{name: intake.read_text(text, name) for name, text in line.items()} for line in lines]
        # Which facts there are is up to the verifier, our own code: a reader of one demands it by its name.
        return Judgement(cast("BundleFacts", intake.map_of(value["facts"], "facts")), said)

    def also(self, check: str, tool: str, outcome: str) -> "Judgement":
        """Return the judgement with one more statement."""
        return Judgement(self.facts, [*self.statements, report_line(check, tool, outcome)])


def report_line(check: str, tool: str, outcome: str) -> dict[str, str]:
    """Return one line of the report."""
    return {"check": check, "tool": tool, "outcome": outcome}


def _texts(value: object, place: str) -> list[str]:
    return [intake.read_text(item, place) for item in intake.list_of(value, place)]


def _pair(value: object) -> tuple[str, str]:
    path, digest = _texts(value, "listed")
    return path, digest


def read_whole_file(path: Path, limit: int, what: str) -> bytes:
    """Return a file's bytes.

    Raises:
        RefusedBundleError: it is longer than the verifier reads.
    """
    size = path.stat().st_size
    if size > limit:
        msg = f"The {what} has {size} bytes; at most {limit} are accepted."
        raise RefusedBundleError(msg)
    return path.read_bytes()
