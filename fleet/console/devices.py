"""Devices: list, one device with its timeline, what can be done to it."""

from dataclasses import asdict

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from devices import baselines, selectors
from devices.contact_words import PRESENCES
from devices.models import Device
from devices.services import quarantine, registry
from fleet.console import timeline
from fleet.console.door import act, actor, page
from fleet.console.lists import asked_filter, shown_filter
from fleet.console.paging import BY_NAME, cut
from ota.selectors.device_list import FleetFilter, fleet
from ota.selectors.eligibility import withheld
from ota.selectors.protection import protection_of
from ota.selectors.rollouts import assignments_of
from pki import selectors as ground
from pki.kernel import clock
from pki.kernel.errors import InvalidError
from pki.models import Certificate
from pki.services import certificates

CHART_TICKS = 240
NETWORKS = 5
#: shown first if there is no other wish
METRICS = ("bytes_out", "packets_out", "requests")
#: act -> icon, what it does, whether it can be undone, for the confirmation page
EFFECTS = {
    "quarantine": (
        "shield-lock",
        "The doors leave the device only poll, metadata, its own repair, report and time. Updates are withheld.",
        "Release undoes it.",
    ),
    "release": ("lock-open", "The device gets full access back, and rollouts offer it updates again.", ""),
    "suspend": ("player-pause", "The doors refuse the device altogether.", "Resume undoes it."),
    "resume": ("player-play", "The doors serve the device again.", ""),
    "retire": (
        "circle-off",
        "Its certificates are revoked for good and the doors refuse it.",
        "This cannot be undone; the device would enrol anew under another name.",
    ),
    "revoke": (
        "shield-x",
        "Every valid certificate of the device is revoked, effective on its next request.",
        "This cannot be undone; the device needs a new enrolment token.",
    ),
}
FOREVER = frozenset({"retire", "revoke"})


@require_GET
@page
def index(request: HttpRequest) -> HttpResponse:
    """List devices; the filter stands in the address."""
    who = actor(request)
    wanted = asked_filter(request, FleetFilter)
    cuts = cut(request, fleet(actor=who, wanted=wanted), BY_NAME)
    seen = selectors.last_seen(row.pk for row in cuts["rows"])
    context = {
        **cuts,
        "rows": [(row, seen.get(row.pk)) for row in cuts["rows"]],
        **shown_filter(wanted),
        "states": Device.State.values,
        "presences": PRESENCES,
        "hardware": [row.name for row in selectors.hardware_models(actor=who)],
    }
    return render(request, "console/devices/list.html", context)


@require_GET
@page
def detail(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one device."""
    who = actor(request)
    device = selectors.device(actor=who, public_id=public_id)
    held = ground.certificates_of(actor=who, subject_key=device.key)
    updates = assignments_of(device)
    presence = selectors.presence_of(device)
    seen = presence.last_seen if presence else None
    context = {
        "device": device,
        "seen": seen,
        "address": presence.address if presence else "",
        "networks": list(selectors.source_networks(device)[:NETWORKS]),
        "components": _components(device),
        "protection": protection_of(device),
        "withheld": withheld(device, updates),
        "identities": selectors.identities(device),
        "certificates": [(one, certificates.standing(one, clock.now())) for one in held],
        "timeline": timeline.of(who, device, seen, updates),
        "open": list(selectors.incidents_of(actor=who, device=device, state="open")[:1]),
        "chart": _chart(device, request.GET.get("metric", "")),
    }
    return render(request, "console/devices/detail.html", context)


@require_http_methods(["GET", "POST"])
@page
def confirm(request: HttpRequest, public_id: str, verb: str) -> HttpResponse:
    """Show what an act would do, then do it."""
    who = actor(request)
    device = selectors.device(actor=who, public_id=public_id)
    back = reverse("console:device", args=[device.key])
    valid = [one for one in ground.certificates_of(actor=who, subject_key=device.key) if one.revoked_at is None]
    if request.method == "GET":
        icon, effect, undo = EFFECTS[verb]
        context = {"device": device, "verb": verb, "icon": icon, "effect": effect, "undo": undo, "back": back}
        context |= {"lineage": [one for one in valid if one.renewed_from_id]}
        context |= {"forever": verb in FOREVER, "certificates": valid, "codes": sorted(certificates.REASONS)}
        return render(request, "console/devices/confirm.html", context)
    if verb in FOREVER and request.POST.get("name", "") != device.name:
        msg = f"Type the device's name, {device.name}, to confirm what cannot be undone."
        raise InvalidError(msg)
    reason = request.POST.get("reason", "")[:300]
    services = {
        "quarantine": lambda: quarantine.impose(actor=who, device=device, reason=reason),
        "release": lambda: quarantine.release(actor=who, device=device, reason=reason),
        "suspend": lambda: registry.suspend(actor=who, device=device),
        "resume": lambda: registry.resume(actor=who, device=device),
        "retire": lambda: registry.retire(actor=who, device=device),
        "revoke": lambda: _revoke(request, valid),
    }
    return act(request, f"{verb.capitalize()} of {device.name}: done.", back, services[verb])


def _revoke(request: HttpRequest, valid: list[Certificate]) -> None:
    reason = request.POST.get("code", "unspecified")
    for one in valid:
        certificates.revoke(actor=actor(request), fingerprint=one.fingerprint, reason=reason)


def _components(device: Device) -> list[dict[str, object]]:
    reported = device.twin.reported.get("components", {})
    desired = device.twin.desired.get("components", {})
    rows: list[dict[str, object]] = []
    for name in sorted(set(reported) | set(desired)):
        runs, wish = reported.get(name, {}), desired.get(name, {})
        wanted = wish.get("version")
        behind = bool(wanted) and wanted != runs.get("version")
        rows.append({"name": name, "reported": runs, "desired": wish, "behind": behind})
    return rows


def _chart(device: Device, wanted: str) -> dict[str, object]:
    """Return one metric's points in time, its usual range, and which others there are."""
    found = selectors.behaviour(device, CHART_TICKS)
    names = sorted(found)
    first = next((name for name in (wanted, *METRICS) if name in names), names[0] if names else "")
    seconds = settings.FLEET_DRIFT_TICK_S
    points = found.get(first, [])
    band = baselines.band(device, first) if first else None
    return {
        "names": names,
        "metric": first,
        "unit": baselines.unit(first),
        "data": {
            "times": [tick * seconds for tick, _ in points],
            "values": [value for _, value in points],
            "band": asdict(band) if band else None,
        },
    }
