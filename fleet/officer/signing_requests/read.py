"""Read a signing request (``prepared.json``): the documents to sign and the current ones.

A request states its kind: ``release`` adds one bundle, ``withdrawal`` marks one, ``floors`` raises counter floors,
``renewal`` renews all expiry dates. Nothing in a request is trusted: ``compare`` checks what it really changes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Targets

from ota.contract import composite, tuf_json
from ota.contract.bundle_documents import BundleDocument
from pki.kernel import canonical, strict_json
from pki.kernel.errors import InvalidError

CONFIG = "config"
COMPOSITE = composite.COMPONENT
MAX_BUNDLE, MAX_REQUEST = 256 * 1024, 64 << 20
Documents = Mapping[str, Metadata[Targets]]


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """A signing request, not yet verified.

    Args:
        statement: id of the request; the signature file repeats it.
        kind: ``release``, ``withdrawal``, ``floors`` or ``renewal``.
        documents: documents to sign, by role.
        before: current documents of the same roles.
        exhibits: included texts by their SHA-256 in hex.
        sequence: sequence of the SUIT manifests; 0 for none.
    """

    statement: str
    kind: str
    documents: Documents
    before: Documents
    exhibits: Mapping[str, str]
    sequence: int = 0


def read_request(data: bytes) -> SigningRequest:
    """Read a signing request and check its integrity.

    Raises:
        InvalidError: it is malformed or damaged, or the digest of an included text does not match.
    """
    try:
        # untyped: the code below catches every shape error
        value: Any = strict_json.read_json(data, max_bytes=MAX_REQUEST, max_depth=tuf_json.MOST_DEPTH)
        documents, before = (
            {str(role): Metadata[Targets].from_dict(one) for role, one in value[name].items()}
            for name in ("documents", "before")
        )
        names, exhibits = (str(value["statement"]), str(value["kind"])), dict(value["exhibits"])
        request = SigningRequest(*names, documents, before, exhibits, int(value["sequence"]))
        digest = value["digest"]
        wrong = [name for name, text in request.exhibits.items() if hashlib.sha256(text.encode()).hexdigest() != name]
    except (ValueError, KeyError, TypeError, AttributeError, RepositoryError, InvalidError) as error:
        msg = f"This is not a signing request (`prepared.json`): {error}"
        raise InvalidError(msg) from error
    parts: dict[str, object] = {
        role: hashlib.sha256(document.signed_bytes).hexdigest() for role, document in documents.items()
    }
    parts["sequence"] = request.sequence
    if hashlib.sha256(canonical.dumps(parts)).hexdigest() != digest or wrong or not documents:
        msg = "The signing request is damaged: a digest does not match its document. Fetch the request again."
        raise InvalidError(msg)
    return request


def read_bundle_document(request: SigningRequest, path: str) -> BundleDocument:
    """Return the ``bundle.json`` of a path that a signing request adds or withdraws.

    Raises:
        InvalidError: it cannot be read, or belongs to another path.
    """
    value = parse_exhibit(exhibit_of(request, path))
    try:
        own = f"{value['component']}/{value['id']}/{value['version']}/bundle.json"
    except (TypeError, KeyError) as error:
        msg = f"The bundle.json of {path} is malformed."
        raise InvalidError(msg) from error
    if own != path:
        msg = f"Do not sign this request: the bundle.json of {path} belongs to {own}."
        raise InvalidError(msg)
    slots = {CONFIG, COMPOSITE} & {value.get("kind"), value["component"]}
    if slots and value.get("kind") != value["component"]:
        msg = f"Do not sign this request: kind and component of {path} do not match."
        raise InvalidError(msg)
    return cast("BundleDocument", dict(value))


def parse_exhibit(text: str) -> Any:  # untyped: callers check the fields that they read
    """Parse an included text: canonical JSON of bounded size."""
    return canonical.loads(text.encode(), max_bytes=MAX_BUNDLE)


def exhibit_of(request: SigningRequest, path: str) -> str:
    """Return the included text of a path, or an empty text if the request does not include it."""
    listed = (document.signed.targets.get(path) for document in request.documents.values())
    target = next((one for one in listed if one), None)
    text = request.exhibits.get(target.hashes.get("sha256", ""), "") if target else ""
    return text if target and len(text.encode()) == target.length else ""
