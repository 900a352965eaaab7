"""Template tags and filters for icons, states, times, progress bars, numbers and REST API calls."""

import json
from collections.abc import Mapping
from datetime import datetime

from django import template
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from devices.metric_units import rounded_number
from pki.kernel import clock

register = template.Library()

#: word -> (tone, icon)
STATES: dict[str, tuple[str, str]] = {
    "online": ("good", "wifi"),
    "late": ("warn", "clock"),
    "overdue": ("bad", "wifi-off"),
    "never": ("quiet", "circle-dashed"),
    "pending": ("warn", "hourglass"),
    "active": ("good", "circle-check"),
    "suspended": ("warn", "player-pause"),
    "retired": ("quiet", "circle-off"),
    "quarantined": ("bad", "shield-lock"),
    "open": ("warn", "alert-circle"),
    "closed": ("good", "circle-check"),
    "high": ("bad", "alert-triangle"),
    "medium": ("warn", "alert-triangle"),
    "low": ("info", "info-circle"),
    "preparing": ("info", "hourglass"),
    "opening": ("info", "hourglass"),
    "aborting": ("warn", "ban"),
    "draft": ("quiet", "circle-dashed"),
    "running": ("info", "player-play"),
    "held": ("bad", "player-stop"),
    "paused": ("warn", "player-pause"),
    "finished": ("good", "circle-check"),
    "done": ("good", "circle-check"),
    "aborted": ("bad", "ban"),
    "prepared": ("warn", "signature"),
    "published": ("good", "circle-check"),
    "withdrawn": ("bad", "ban"),
    "revoked": ("bad", "shield-x"),
    "good": ("good", "shield-check"),
    "soon": ("warn", "clock"),
    "urgent": ("bad", "alert-triangle"),
    "over": ("bad", "circle-x"),
    "renewable": ("warn", "refresh"),
    "not-yet": ("warn", "clock"),
    "expired": ("bad", "clock"),
    "used": ("quiet", "check"),
    "waiting": ("quiet", "hourglass"),
    "scheduled": ("info", "clock"),
    "retrieved": ("info", "download"),
    "download": ("info", "download"),
    "downloaded": ("info", "download"),
    "installed": ("info", "bolt"),
    "warning": ("warn", "alert-triangle"),
    "canceling": ("warn", "ban"),
    "canceled": ("quiet", "ban"),
    "error": ("bad", "circle-x"),
    "failed": ("bad", "circle-x"),
}
#: states whose word alone is unclear -> label
LABELS = {"over": "expired", "soon": "expires soon", "not-yet": "not yet valid"}
#: group of devices in a rollout, in the order of the progress bar -> tone
GROUPS = {
    "finished": "good",
    "installing": "info",
    "offered": "soft",
    "waiting": "rest",
    "canceling": "warn",
    "canceled": "quiet",
    "failed": "bad",
}
#: object kind of an audit-log entry -> name of the object's page
PAGES = {"device": "device", "rollout": "rollout", "bundle": "bundle", "incident": "incident"}
STEPS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


@register.simple_tag
def icon(name: str) -> SafeString:
    """Draw an icon from the sprite, hidden from screen readers."""
    sprite = static("console/vendor/icons.svg")
    return format_html('<svg class="mu-i" aria-hidden="true"><use href="{}#{}"></use></svg>', sprite, name)


@register.simple_tag
def state(word: str, label: str = "") -> SafeString:
    """Draw a state as a badge with a colour and an icon."""
    tone, picture = STATES.get(word, ("quiet", "circle-dashed"))
    return format_html('<span class="mu-tag is-{}">{}{}</span>', tone, icon(picture), label or LABELS.get(word, word))


@register.simple_tag
def ago(at: datetime | None, never: str = "never") -> SafeString:
    """Show a time relative to now, with the absolute time in the title."""
    if at is None:
        return format_html('<span class="mu-quiet">{}</span>', never)
    iso = at.isoformat(timespec="seconds")
    return format_html('<time datetime="{}" title="{}">{}</time>', iso, f"{at:%Y-%m-%d %H:%M:%S} UTC", distance(at))


def distance(at: datetime) -> str:
    """Return the distance between now and a past or future time, in one unit."""
    seconds = int((clock.now() - at).total_seconds())
    for unit, size in STEPS:
        if abs(seconds) >= size:
            amount = f"{abs(seconds) // size} {unit}"
            return f"{amount} ago" if seconds > 0 else f"in {amount}"
    return "just now"


@register.inclusion_tag("console/parts/bar.html")
def bar(groups: dict[str, int], whole: int) -> dict[str, object]:
    """Draw the number of devices in each group as one bar."""
    start, parts = 0.0, []
    for group, tone in GROUPS.items():
        if number := groups.get(group, 0):
            width = 100 * number / max(whole, 1)
            parts.append({"tone": tone, "start": f"{start:.3f}", "width": f"{width:.3f}"})
            start += width
    words = ", ".join(f"{groups[group]} {group}" for group in GROUPS if groups.get(group))
    return {"parts": parts, "label": f"{words or 'none'} of {whole}"}


@register.inclusion_tag("console/parts/curl.html", takes_context=True)
def curl(context: Mapping[str, HttpRequest], method: str, path: str, **body: object) -> dict[str, str]:
    """Show the REST API call that is equivalent to a form."""
    lines = [f"curl -X {method} https://{context['request'].get_host()}/api/v1{path}"]
    lines.append("-H 'Authorization: Bearer mst_…'")
    if method != "GET":
        lines.append("-H 'Content-Type: application/json'")
        lines.append(f"-d '{json.dumps(body, ensure_ascii=False)}'")
    return {"command": " \\\n  ".join(lines)}


@register.filter
def percent(permille: int) -> str:
    """Return permille as percent."""
    return f"{permille / 10:g}%"


@register.filter
def number(value: object) -> str:
    """Format a number with a thousands separator and four significant digits; return other values as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return rounded_number(value)


@register.filter
def duration(seconds: int) -> str:
    """Return a length of time as a whole number of its largest unit: 3600 is "1 h", 90 is "90 s"."""
    unit, size = next((unit, size) for unit, size in STEPS if seconds % size == 0 and (seconds or size == 1))
    return f"{seconds // size} {unit}"


@register.filter
def words(action: str) -> str:
    """Return the action of an audit-log entry as a phrase."""
    return action.replace(".", " ").replace("-", " ").capitalize()


@register.filter
def brief(key: str) -> str:
    """Shorten a long key in the middle and keep its distinctive ends."""
    text = str(key)
    return text if len(text) <= 20 else f"{text[:8]}…{text[-6:]}"  # noqa: PLR2004  because shortening a shorter key saves nothing


@register.simple_tag
def thing(kind: str, key: str, names: dict[str, str]) -> SafeString:
    """Show the name of the object of an audit-log entry, linked to its page if it has one."""
    label = names.get(key) or brief(key)
    if kind in PAGES and (key in names or kind == "incident"):
        return format_html('<a href="{}">{}</a>', reverse(f"console:{PAGES[kind]}", args=[key]), label)
    return format_html("{}", label)


@register.simple_tag
def chosen(given: object, value: object) -> SafeString:
    """Mark an option as selected if it has the given value."""
    return mark_safe("selected") if str(given) == str(value) else mark_safe("")


@register.inclusion_tag("console/parts/link.html", takes_context=True)
def place(context: Mapping[str, HttpRequest], name: str, label: str, picture: str, keys: str = "") -> dict[str, object]:
    """Link a page in the menu, and mark it if the current page is that page or below it."""
    href = reverse(f"console:{name}")
    path = context["request"].path
    here = path == href if href == "/" else path == href or path.startswith(f"{href}/")
    return {"href": href, "label": label, "picture": picture, "keys": keys, "here": here}


@register.inclusion_tag("console/parts/kpi.html")
def kpi(label: str, value: int, picture: str, href: str, query: str = "", tone: str = "quiet") -> dict[str, object]:
    """Show a count that links to the matching list."""
    return {"label": label, "value": value, "picture": picture, "href": f"{href}{query}", "tone": tone}


@register.inclusion_tag("console/parts/kpi.html")
def kpi_group(group: str, value: int, members: str) -> dict[str, object]:
    """Show the number of devices in a group of a rollout, linked to those devices."""
    picture = {"finished": "circle-check", "failed": "circle-x", "waiting": "hourglass"}.get(group, "refresh")
    href = f"{members}?group={group}"
    return {"label": group, "value": value, "picture": picture, "href": href, "tone": GROUPS.get(group, "quiet")}
