"""Template filters for the API reference."""

import re

from django import template
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe

register = template.Library()
_CODE = re.compile(r"`+([^`]+)`+")


@register.filter
def code_words(text: str) -> SafeString:
    """Return a text as escaped HTML with the words between backticks in ``code`` elements."""
    return mark_safe(_CODE.sub(r"<code>\1</code>", conditional_escape(text)))  # noqa: S308  because conditional_escape escapes the text
