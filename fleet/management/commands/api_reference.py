"""``manage.py api_reference``: write the reference page of the REST API from the committed OpenAPI document."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from fleet.management.reference.pages import html_fragment, markdown_page
from pki.kernel import strict_json

MOST_BYTES, MOST_DEPTH = 4 << 20, 64
ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = ROOT / "docs/reference/openapi.json"
MARKDOWN = ROOT / "docs/reference/api.md"
FRAGMENT = ROOT / "fleet/console/templates/console/help/api_operations.html"


class Command(BaseCommand):
    """Write docs/reference/api.md, and the same reference for the console's Help page."""

    help = "Write the reference page of the REST API from docs/reference/openapi.json."
    requires_system_checks = []

    def handle(self, *_args: object, **_options: object) -> None:
        """Write both files."""
        # untyped: our own JSON
        document: Any = strict_json.read_json(DOCUMENT.read_bytes(), max_bytes=MOST_BYTES, max_depth=MOST_DEPTH)
        MARKDOWN.write_text(markdown_page(document))
        FRAGMENT.write_text(html_fragment(document))
