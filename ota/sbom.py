"""Read a bill of materials: CycloneDX or SPDX in JSON, bounded, and compared with the image that it describes. Pure."""

from collections.abc import Mapping

from ota import card
from ota.errors import RefusedBundleError
from ota.facts import SoftwareBill
from pki.kernel import intake, strict_json
from pki.kernel.errors import InvalidError

MAX_SBOM, MOST_DEPTH = 8 << 20, 32
MOST_COMPONENTS, MOST_SHOWN = 20_000, 200
_LONGEST = 120


def read_bill(data: bytes, image: str, *, model: bool = False) -> SoftwareBill:
    """Return what people want to see: ``format``, number of ``components``, the first of them, ``licences`` by number.

    Args:
        data: the file.
        image: SHA-256 of the bundle's image in hex; a bill that names another one for its subject is refused.
        model: the image is a model: its card (ML-BOM) is read too, as ``card``.

    Raises:
        RefusedBundleError: no such document, too large, or about another image.
    """
    try:
        value = _document(data)
        form, listed = _components(value)
        rows = [_component_row(form, item) for item in listed]
        subject = _subject(form, value)
        shown = card.card_of(value) if model and form.startswith("CycloneDX") else {}
        subject |= card.model_digests(value) if shown else set()
    except (ValueError, KeyError, TypeError, AttributeError, InvalidError) as error:
        msg = "The SBOM is neither CycloneDX nor SPDX in JSON, or is too large."
        raise RefusedBundleError(msg) from error
    if len(rows) > MOST_COMPONENTS:
        msg = f"The SBOM lists {len(rows)} components; the maximum is {MOST_COMPONENTS}."
        raise RefusedBundleError(msg)
    if subject and image not in subject:
        msg = "The SBOM describes another image: the SHA-256 of its subject is not that of this bundle's."
        raise RefusedBundleError(msg)
    licences: dict[str, int] = {}
    for row in rows:
        licences[row["licence"] or "unknown"] = licences.get(row["licence"] or "unknown", 0) + 1
    common = dict(sorted(licences.items(), key=lambda pair: (-pair[1], pair[0]))[:50])
    facts: SoftwareBill = {"format": form, "components": len(rows), "first": rows[:MOST_SHOWN], "licences": common}
    return {**facts, "card": shown} if shown else facts


def search_components(data: bytes, words: str) -> list[dict[str, str]]:
    """Return the components of a bill that was read before whose name, version, licence or kind holds some words.

    Args:
        data: the file.
        words: all of them have to occur, in any case of letters.
    """
    form, listed = _components(_document(data))
    terms = words.casefold().split()
    rows = (_component_row(form, item) for item in listed)
    return [row for row in rows if all(word in " ".join(row.values()).casefold() for word in terms)]


def _document(data: bytes) -> dict[str, object]:
    return intake.map_of(strict_json.read_json(data, max_bytes=MAX_SBOM, max_depth=MOST_DEPTH, lenient=True), "SBOM")


def _components(value: Mapping[str, object]) -> tuple[str, list[dict[str, object]]]:
    if value.get("bomFormat") == "CycloneDX":
        return f"CycloneDX {card.printable_text(value['specVersion'])[:8]}", card.maps_in(value, "components")
    return card.printable_text(value["spdxVersion"])[:16], card.maps_in(value, "packages")


def _component_row(form: str, component: Mapping[str, object]) -> dict[str, str]:
    if form.startswith("CycloneDX"):
        names = [card.component_licence(entry) for entry in card.maps_in(component, "licenses")]
        version, kind = component.get("version", ""), component.get("type", "")
        licence = " AND ".join(filter(None, names))
    else:
        version, kind = component.get("versionInfo", ""), "package"
        named = component.get("licenseConcluded") or component.get("licenseDeclared") or ""
        licence = "" if named == "NOASSERTION" else card.printable_text(named)
    facts = (component["name"], version, licence, kind)
    texts = [card.printable_text(fact)[:_LONGEST] for fact in facts]
    return dict(zip(("name", "version", "licence", "kind"), texts, strict=True))


def _subject(form: str, value: Mapping[str, object]) -> set[str]:
    """Return the SHA-256 digests of what the bill is about, if it says any."""
    if not form.startswith("CycloneDX"):
        return set()
    return card.sha256_in(card.map_in(card.map_in(value, "metadata"), "component"))
