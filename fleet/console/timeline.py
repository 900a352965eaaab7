"""Timeline of a device: certificates, check-ins, updates, incidents and actions of people."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse

from devices.models import Device, Incident
from ota.models import Assignment
from pki import selectors as ground
from pki.kernel.actor import Actor

MOST, MOST_INCIDENTS = 100, 50
#: action in the audit log -> icon and tone; other actions have a default icon
ACTS = {
    "device.quarantined": ("shield-lock", "bad"),
    "device.released": ("lock-open", "good"),
    "device.suspend": ("player-pause", "warn"),
    "device.resume": ("player-play", "good"),
    "device.retire": ("circle-off", "quiet"),
    "certificate.issued": ("certificate", "info"),
    "certificate.revoked": ("shield-x", "bad"),
}
#: status of a closed assignment -> icon and tone
ENDS = {"finished": ("circle-check", "good"), "error": ("circle-x", "bad"), "canceled": ("ban", "quiet")}


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the timeline.

    Args:
        at: time of the event.
        icon: name of the icon.
        tone: good, bad, warn, info or quiet.
        title: what happened.
        text: details, or empty.
        href: path of the page with more details, or empty.
    """

    at: datetime
    icon: str
    tone: str
    title: str
    text: str = ""
    href: str = ""


@dataclass(frozen=True, slots=True)
class KnownEvents:
    """What the page of a device has read already.

    Args:
        seen: time of the last contact, or None.
        updates: its assignments.
        incidents: its newest ones, at most ``MOST_INCIDENTS``.
    """

    seen: datetime | None
    updates: Iterable[Assignment]
    incidents: Iterable[Incident]


def timeline_of(asker: Actor, device: Device, known: KnownEvents) -> list[Event]:
    """Return the events of a device, newest first."""
    seen = known.seen
    events = [*_acts(asker, device), *_updates(known.updates), *_incidents(known.incidents)]
    if seen:
        events.append(Event(seen, "wifi", "good", "Last check-in"))
    if device.twin.reported_at:
        number = device.twin.report_sequence
        events.append(
            Event(device.twin.reported_at, "upload", "info", "Last signed report", f"sequence number {number}")
        )
    return sorted(events, key=lambda event: event.at, reverse=True)[:MOST]


def _acts(asker: Actor, device: Device) -> Iterator[Event]:
    rows = ground.ledger_entries(actor=asker, wanted=ground.LedgerFilter(object=device.key))
    for entry in rows[:MOST]:
        icon, tone = ACTS.get(entry.action, ("book-2", "quiet"))
        who = "the device" if entry.actor_key == device.key else f"{entry.actor_kind} {entry.actor_key[:40]}"
        reason = str(entry.detail.get("reason", ""))
        if enrolled := entry.detail.get("enrolled"):
            reason = f"enrolled by {str(enrolled.get('proof', ''))[:40]}"
        text = f"by {who}" + (f": {reason}" if reason else "")
        yield Event(entry.at, icon, tone, entry.action.replace(".", " ").replace("-", " ").capitalize(), text)


def _updates(updates: Iterable[Assignment]) -> Iterator[Event]:
    for update in updates:
        what = f"{update.bundle.name} {update.bundle.version}"
        href = reverse("console:rollout", args=[update.rollout.public_id]) if update.rollout else ""
        picture = "arrow-back-up" if update.kind == "repair" else "rocket"
        title = f"Repair to {what} offered" if update.kind == "repair" else f"Update to {what} offered"
        yield Event(update.created_at, picture, "info", title, f"action {update.action_id}", href)
        if update.closed_at:
            icon, tone = ENDS.get(update.status, ("circle-dashed", "quiet"))
            ended = {"finished": "installed and confirmed", "error": "failed"}.get(update.status, update.status)
            text = "" if update.reason == "confirmed" else update.reason
            yield Event(update.closed_at, icon, tone, f"{what} {ended}", text, href)


def _incidents(incidents: Iterable[Incident]) -> Iterator[Event]:
    for incident in incidents:
        href = reverse("console:incident", args=[incident.public_id])
        text = str(incident.explanation.get("text", ""))
        tone = "bad" if incident.severity == "high" else "warn"
        yield Event(
            incident.opened_at, "alert-triangle", tone, f"Incident opened, severity {incident.severity}", text, href
        )
        if incident.closed_at:
            verdict = incident.get_verdict_display().lower()
            yield Event(incident.closed_at, "circle-check", "good", f"Incident closed as {verdict}", "", href)
