"""List devices, show one device with its timeline, and run actions on it."""

from dataclasses import asdict

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from devices import baselines, selectors
from devices.contact_words import PRESENCES
from devices.metric_units import in_unit, unit_in_words
from devices.models import Device
from devices.services import quarantine, registry
from fleet.console import timeline
from fleet.console.lists import asked_filter, check_parameters, shown_filter
from fleet.console.pages import page_actor, page_view, run_form
from fleet.console.paging import cut_page
from ota.selectors.device_list import FleetFilter, list_fleet
from ota.selectors.eligibility import withheld_actions
from ota.selectors.protection import protection_of
from ota.selectors.rollouts import assignments_of
from pki import selectors as ground
from pki.kernel import clock
from pki.kernel.errors import InvalidError
from pki.models import Certificate
from pki.selectors.keyset import BY_NAME
from pki.services import certificates

CHART_TICKS = 240
NETWORKS, CERTIFICATES = 5, 20
#: metrics that the chart shows by default, in order of preference
METRICS = ("bytes_out", "packets_out", "requests")
#: action -> icon, effect, and how to undo it, for the confirmation page
EFFECTS = {
    "quarantine": (
        "shield-lock",
        "The server limits the device to poll, metadata, its own repair, report and time. It withholds updates.",
        "To undo this, release the device.",
    ),
    "release": ("lock-open", "The device regains full access. Rollouts offer it updates again.", ""),
    "suspend": (
        "player-pause",
        "The server rejects every request from the device.",
        "To undo this, resume the device.",
    ),
    "resume": ("player-play", "The server accepts requests from the device again.", ""),
    "retire": (
        "circle-off",
        "The server permanently revokes the certificates of the device and rejects its requests.",
        "You cannot undo this. To use the device again, enrol it under another name.",
    ),
    "revoke": (
        "shield-x",
        "The server revokes every valid certificate of the device, effective on its next request.",
        "You cannot undo this. The device needs a new enrolment token.",
    ),
}
FOREVER = frozenset({"retire", "revoke"})
#: action -> message after success
DONE = {
    "quarantine": "Device {} quarantined.",
    "release": "Device {} released from quarantine.",
    "suspend": "Device {} suspended.",
    "resume": "Device {} resumed.",
    "retire": "Device {} retired.",
    "revoke": "Certificates of device {} revoked.",
}


@require_GET
@page_view
def device_list(request: HttpRequest) -> HttpResponse:
    """List devices, filtered by the query parameters."""
    who = page_actor(request)
    wanted = asked_filter(request, FleetFilter)
    cuts = cut_page(request, list_fleet(actor=who, wanted=wanted), BY_NAME)
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
@page_view
def device_detail(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one device."""
    check_parameters(request, "metric")
    who = page_actor(request)
    device = selectors.get_device(actor=who, public_id=public_id)
    held = ground.newest_certificates(actor=who, subject_key=device.key, most=CERTIFICATES + 1)
    updates = assignments_of(device)
    incidents = list(selectors.incidents_of(actor=who, device=device)[: timeline.MOST_INCIDENTS])
    presence = selectors.presence_of(device)
    seen = presence.last_seen if presence else None
    context = {
        "device": device,
        "seen": seen,
        "address": presence.address if presence else "",
        "networks": list(selectors.source_networks(device)[:NETWORKS]),
        "components": _components(device),
        "protection": protection_of(device),
        "withheld": withheld_actions(device, updates),
        "identities": selectors.list_hardware_identities(device),
        "certificates": [
            (certificate, certificates.certificate_status(certificate, clock.now()))
            for certificate in held[:CERTIFICATES]
        ],
        "more_certificates": len(held) > CERTIFICATES,
        "timeline": timeline.timeline_of(who, device, timeline.KnownEvents(seen, updates, incidents)),
        # A device has one open incident at most, and no newer one is opened meanwhile.
        "open": [incident for incident in incidents if incident.state == incident.State.OPEN],
        "chart": _chart(device, request.GET.get("metric", "")),
    }
    return render(request, "console/devices/detail.html", context)


@require_http_methods(["GET", "POST"])
@page_view
def device_action(request: HttpRequest, public_id: str, verb: str) -> HttpResponse:
    """Show the effect of an action on GET; run the action on POST."""
    check_parameters(request)
    who = page_actor(request)
    device = selectors.get_device(actor=who, public_id=public_id)
    back = reverse("console:device", args=[device.key])
    valid = [
        certificate
        for certificate in ground.certificates_of(actor=who, subject_key=device.key)
        if certificate.revoked_at is None
    ]
    if request.method == "GET":
        icon, effect, undo = EFFECTS[verb]
        context = {"device": device, "verb": verb, "icon": icon, "effect": effect, "undo": undo, "back": back}
        context |= {"lineage": [certificate for certificate in valid if certificate.renewed_from_id]}
        context |= {"forever": verb in FOREVER, "certificates": valid, "codes": sorted(certificates.REASONS)}
        return render(request, "console/devices/confirm.html", context)
    if verb in FOREVER and request.POST.get("name", "") != device.name:
        msg = f"The name does not match. Type the device name, {device.name}, to confirm the action."
        raise InvalidError(msg)
    reason = request.POST.get("reason", "")[:300]
    services = {
        "quarantine": lambda: quarantine.quarantine_device(actor=who, device=device, reason=reason),
        "release": lambda: quarantine.release_device(actor=who, device=device, reason=reason),
        "suspend": lambda: registry.suspend_device(actor=who, device=device),
        "resume": lambda: registry.resume_device(actor=who, device=device),
        "retire": lambda: registry.retire_device(actor=who, device=device),
        "revoke": lambda: _revoke(request, valid),
    }
    return run_form(request, DONE[verb].format(device.name), back, services[verb])


def _revoke(request: HttpRequest, valid: list[Certificate]) -> None:
    reason = request.POST.get("code", "unspecified")
    for certificate in valid:
        certificates.revoke(actor=page_actor(request), fingerprint=certificate.fingerprint, reason=reason)


def _components(device: Device) -> list[dict[str, object]]:
    reported = device.twin.reported.get("components", {})
    desired = device.twin.desired.get("components", {})
    rows: list[dict[str, object]] = []
    for name in sorted(set(reported) | set(desired)):
        runs, wish = reported.get(name, {}), desired.get(name, {})
        version = wish.get("version")
        behind = bool(version) and version != runs.get("version")
        rows.append({"name": name, "reported": runs, "desired": wish, "behind": behind})
    return rows


def _chart(device: Device, metric: str) -> dict[str, object]:
    """Return the points of one metric, its usual range, and the names of all available metrics."""
    behaviour = selectors.read_behaviour(device, CHART_TICKS)
    names = sorted(behaviour)
    first = next((name for name in (metric, *METRICS) if name in names), names[0] if names else "")
    seconds = settings.FLEET_DRIFT_TICK_S
    points = behaviour.get(first, [])
    band = baselines.usual_band(device, first) if first else None
    return {
        "names": names,
        "metric": first,
        "unit": unit_in_words(first),
        "tick": seconds,
        "data": {
            "times": [tick * seconds for tick, _ in points],
            "values": [in_unit(first, value, seconds) for _, value in points],
            "band": {edge: in_unit(first, value, seconds) for edge, value in asdict(band).items()} if band else None,
        },
    }
