"""Is this process alive, can it serve, and its numbers for Prometheus."""

from django.conf import settings
from django.db import Error, connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from devices import selectors as devices
from ota.selectors.roles import roles
from pki import selectors
from pki.signer.client import listening


def healthz(_request: HttpRequest) -> HttpResponse:
    """Say that the process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(_request: HttpRequest) -> JsonResponse:
    """Say whether databases and signer answer."""
    checks = {alias: _database(alias) for alias in ("default", "telemetry")}
    checks["signer"] = listening(settings.FLEET_DIR)
    return JsonResponse(checks, status=200 if all(checks.values()) else 503)


def metrics(request: HttpRequest) -> HttpResponse:
    """Return the fleet's numbers; only to this machine, since they tell about the fleet."""
    if request.META.get("REMOTE_ADDR") not in {"127.0.0.1", "::1"}:
        return HttpResponse(status=403)
    registry = CollectorRegistry()
    gauge = Gauge("muster_devices", "Devices by condition", ["domain", "condition"], registry=registry)
    for domain in selectors.domains():
        counts = devices.counts(domain.slug)
        for name in counts.__slots__:
            gauge.labels(domain.slug, name).set(getattr(counts, name))
    ends = Gauge("muster_metadata_end", "When devices refuse a role (unix time)", ["domain", "role"], registry=registry)
    for domain in selectors.domains():
        for one in roles(domain.slug, whole=False):
            ends.labels(domain.slug, one.role).set(one.expires.timestamp())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _database(alias: str) -> bool:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True
