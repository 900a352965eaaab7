"""The components of a bundle's SBOM, searched and paged."""

from dataclasses import dataclass

from ota import blobs, sbom
from ota.models import Bundle
from pki.kernel.errors import InvalidError, NotFoundError
from pki.kernel.filters import setting_field, text_field

PAGE = 100
LONGEST_WORDS = 100
MOST_PAGES = 999_999


@dataclass(frozen=True, slots=True)
class ContentsFilter:
    """The filter of a bundle's components."""

    q: str = text_field(
        "Words to find in name, version, licence or kind; all of them must occur.",
        "bill of materials",
        most=LONGEST_WORDS,
    )
    page: str = setting_field(
        "Page number; a page has 100 components.", "pages", (1, MOST_PAGES), "1", "bill of materials"
    )


@dataclass(frozen=True, slots=True)
class ContentsPage:
    """One page of components.

    Args:
        rows: ``name``, ``version``, ``licence`` and ``kind`` of each.
        found: number of all matching components.
        page: number of this page, from 1.
        pages: how many pages there are, at least one.
    """

    rows: list[dict[str, str]]
    found: int
    page: int
    pages: int


def bundle_contents(bundle: Bundle, words: str = "", page: int = 1) -> ContentsPage:
    """Return a page of the components with all the words in name, version, licence or kind; empty without an SBOM.

    Raises:
        NotFoundError: the SBOM's bytes were removed.
        InvalidError: the words are too long.
    """
    if len(words) > LONGEST_WORDS:
        msg = f"Search for at most {LONGEST_WORDS} characters."
        raise InvalidError(msg)
    file = bundle.files.filter(role="sbom").first()
    if file is None:
        return ContentsPage([], 0, 1, 1)
    if file.collected_at is not None:
        msg = "The bill of materials of this bundle is no longer stored."
        raise NotFoundError(msg)
    components = sbom.search_components(b"".join(blobs.blob_store().read(file.sha256, 0, file.size)), words)
    pages = max(-(-len(components) // PAGE), 1)
    page = min(max(page, 1), pages)
    return ContentsPage(components[(page - 1) * PAGE : page * PAGE], len(components), page, pages)
