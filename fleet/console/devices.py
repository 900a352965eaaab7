"""Devices: list, one device with its timeline, what can be done to it; enrolment tokens."""

from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from devices import selectors
from devices.models import Device
from devices.services import quarantine, registry, tokens
from fleet.console.door import act, actor, cut, page
from ota.selectors import rollouts
from pki import selectors as ground
from pki.kernel.actor import Role
from pki.kernel.errors import InvalidError
from pki.services import certificates

CHART_TICKS = 240
#: act -> what it does, for the confirmation page
EFFECTS = {
    "quarantine": "The doors leave the device only poll, metadata, its own repair, report and time. Release undoes it.",
    "release": "The device gets full access back.",
    "suspend": "The doors will refuse the device altogether until it is resumed.",
    "resume": "The device gets full access back.",
    "retire": "Its certificates are revoked for good. This cannot be undone; it would enrol under another name.",
    "revoke": "Every valid certificate of the device is revoked for good, effective on its next request.",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a device's timeline."""

    at: datetime
    kind: str
    text: str


@require_GET
@page
def index(request: HttpRequest) -> HttpResponse:
    """List devices; the filter stands in the address."""
    who = actor(request)
    who.require(Role.VIEWER)
    names = selectors.Filter.__slots__
    given = {name: request.GET.get(name, "") for name in names}
    cuts = cut(request, selectors.Filter(**given).apply(who.domain))
    presences = selectors.presences(cuts["rows"])
    context = {
        **cuts,
        "rows": [(row, presences[row.pk]) for row in cuts["rows"]],
        "given": given,
        "states": Device.State.values,
        "hardware": [row.name for row in selectors.hardware_models(who.domain)],
    }
    return render(request, "console/devices/list.html", context)


@require_GET
@page
def detail(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one device."""
    who = actor(request)
    who.require(Role.VIEWER)
    device = selectors.device(who.domain, public_id)
    held = ground.certificates_of(who.domain, device.key)
    context = {
        "device": device,
        "presence": selectors.presences([device])[device.pk],
        "seen": selectors.last_seen([device.pk]).get(device.pk),
        "components": _components(device),
        "certificates": held,
        "timeline": _timeline(who.domain, device),
        "incidents": list(selectors.incidents(who.domain).filter(device=device)[:10]),
        "chart": {"points": _points(device)},
    }
    return render(request, "console/devices/detail.html", context)


@require_http_methods(["GET", "POST"])
@page
def confirm(request: HttpRequest, public_id: str, verb: str) -> HttpResponse:
    """Show what an act would do, then do it."""
    who = actor(request)
    device = selectors.device(who.domain, public_id)
    back = reverse("console:device", args=[device.key])
    if request.method == "GET":
        who.require(Role.VIEWER)
        context = {"device": device, "verb": verb, "effect": EFFECTS[verb], "back": back}
        return render(request, "console/devices/confirm.html", context)
    reason = request.POST.get("reason", "")[:300]
    services = {
        "quarantine": lambda: quarantine.impose(actor=who, device=device, reason=reason),
        "release": lambda: quarantine.release(actor=who, device=device, reason=reason),
        "suspend": lambda: registry.suspend(actor=who, device=device),
        "resume": lambda: registry.resume(actor=who, device=device),
        "retire": lambda: registry.retire(actor=who, device=device),
        "revoke": lambda: _revoke(request, device),
    }
    return act(request, f"{verb} of {device.name}: done.", back, services[verb])


@require_GET
@page
def token_list(request: HttpRequest) -> HttpResponse:
    """List enrolment tokens and offer to make some."""
    who = actor(request)
    who.require(Role.VIEWER)
    context = {
        **cut(request, selectors.tokens(who.domain)),
        "hardware": list(selectors.hardware_models(who.domain)),
    }
    return render(request, "console/devices/tokens.html", context)


@require_POST
@page
def token_make(request: HttpRequest) -> HttpResponse:
    """Make one token and show its secret, this once."""
    who = actor(request)
    model = selectors.hardware_model(who.domain, request.POST.get("hardware", ""))
    days = request.POST.get("days", "7")
    if not days.isdigit():
        msg = "Days is a whole number."
        raise InvalidError(msg)
    name = request.POST.get("device", "").strip()
    token, secret = tokens.create(actor=who, hardware_model=model, device_name=name, days=int(days))
    return render(request, "console/devices/token_made.html", {"token": token, "secret": secret})


@require_POST
@page
def token_withdraw(request: HttpRequest, public_id: str) -> HttpResponse:
    """Make an unused token worthless."""
    who = actor(request)
    done = "The token is withdrawn."
    return act(request, done, reverse("console:tokens"), lambda: tokens.withdraw(actor=who, public_id=public_id))


def _revoke(request: HttpRequest, device: Device) -> None:
    who = actor(request)
    for one in ground.certificates_of(who.domain, device.key):
        if one.revoked_at is None:
            reason = request.POST.get("code", "unspecified")
            certificates.revoke(actor=who, fingerprint=one.fingerprint, reason=reason)


def _components(device: Device) -> list[dict[str, object]]:
    reported = device.twin.reported.get("components", {})
    desired = device.twin.desired.get("components", {})
    return [
        {"name": name, "reported": reported.get(name), "desired": desired.get(name)}
        for name in sorted(set(reported) | set(desired))
    ]


def _points(device: Device) -> list[list[float]]:
    for metric in ("bytes_out", "srv_bytes_in"):
        found = selectors.samples(device, metric, CHART_TICKS)
        if found:
            return [[tick, value] for tick, value in found]
    return []


def _timeline(domain: str, device: Device) -> list[Event]:
    """Merge what happened to a device: certificates, updates, incidents, acts of people."""
    events = [
        Event(entry.at, "ledger", f"{entry.action.replace('.', ' ')} by {entry.actor_kind} {entry.actor_key[:40]}")
        for entry in ground.ledger_entries(domain).filter(object_kind="device", object_key=device.key)[:100]
    ]
    for one in rollouts.assignments_of(device):
        what = f"{one.kind} to {one.bundle.name} {one.bundle.version}"
        events.append(Event(one.created_at, "update", f"{what}: action {one.action_id} offered"))
        if one.closed_at:
            events.append(
                Event(one.closed_at, "update", f"{what}: {one.status}{': ' if one.reason else ''}{one.reason}")
            )
    for incident in selectors.incidents(domain).filter(device=device)[:50]:
        text = incident.explanation.get("text", "")
        events.append(Event(incident.opened_at, "incident", f"incident ({incident.severity}): {text}"))
        if incident.closed_at:
            events.append(Event(incident.closed_at, "incident", f"incident closed: {incident.verdict}"))
    return sorted(events, key=lambda event: event.at, reverse=True)[:100]
