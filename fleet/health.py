"""Health checks (liveness, readiness) and metrics for Prometheus."""

import hmac
from pathlib import Path

from django.conf import settings
from django.db import Error, connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from devices import selectors as devices
from fleet.wire.networks import TRACES
from ota.selectors.roles import role_states
from pki import selectors
from pki.kernel import actor as actors
from pki.signer.client import is_signer_listening

#: longest metrics token, in characters
LEAST_TOKEN = 16


def healthz(_request: HttpRequest) -> HttpResponse:
    """Answer 200: the process is alive."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(_request: HttpRequest) -> JsonResponse:
    """Report whether databases and signer answer."""
    checks = {alias: _database(alias) for alias in ("default", "telemetry")}
    checks["signer"] = is_signer_listening(settings.FLEET_DIR)
    return JsonResponse(checks, status=200 if all(checks.values()) else 503)


def metrics_page(request: HttpRequest) -> HttpResponse:
    """Return the fleet's metrics to clients on this machine, or with the metrics token."""
    if not (_is_local(request) or _has_token(request)):
        answer = HttpResponse(
            "Unauthorized. Connect from this machine, or send the token in FLEET_METRICS_TOKEN_FILE.\n", status=401
        )
        answer["WWW-Authenticate"] = 'Bearer realm="metrics"'
        answer["Content-Type"] = "text/plain; charset=utf-8"
        return answer
    registry = CollectorRegistry()
    gauge = Gauge("muster_devices", "Devices by condition", ["domain", "condition"], registry=registry)
    for domain in selectors.list_domains():
        counts = devices.device_counts(actor=actors.system_actor(domain.slug, "metrics"))
        for name in counts.__slots__:
            gauge.labels(domain.slug, name).set(getattr(counts, name))
    ends = Gauge("muster_metadata_end", "When devices refuse a role (unix time)", ["domain", "role"], registry=registry)
    for domain in selectors.list_domains():
        for standing in role_states(actor=actors.system_actor(domain.slug, "metrics"), whole=False):
            ends.labels(domain.slug, standing.role).set(standing.expires.timestamp())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _database(alias: str) -> bool:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True


def _is_local(request: HttpRequest) -> bool:
    """Return whether the client is a program on this machine; a proxied request is not."""
    handed_on = any(f"HTTP_{name.decode().upper().replace('-', '_')}" in request.META for name in TRACES)
    return request.META.get("REMOTE_ADDR") in {"127.0.0.1", "::1"} and not handed_on


def _has_token(request: HttpRequest) -> bool:
    """Return whether the request has the metrics token. The file is read each time, so the token can be replaced."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if not settings.FLEET_METRICS_TOKEN_FILE or scheme.lower() != "bearer":
        return False
    try:
        token = Path(settings.FLEET_METRICS_TOKEN_FILE).read_text().strip()
    except (OSError, ValueError):
        return False
    return len(token) >= LEAST_TOKEN and hmac.compare_digest(given.strip().encode(), token.encode())
