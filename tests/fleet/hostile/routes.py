"""Every route of every listener, found in the tables that serve them; each with a request that would be good."""

import re
from dataclasses import dataclass, field

from django.urls import URLPattern, URLResolver, get_resolver

from fleet.gateway import device_api_v1
from fleet.gateway import status as listener
from fleet.gateway.ddi import adapter as ddi
from fleet.gateway.est import adapter as est
from fleet.gateway.est import coaps

#: good fields of the device protocol, by resource
NATIVE = {
    "director": {"nonce": b"n" * 16},
    "time": {"nonce": b"n" * 16},
    "command": {"nonce": b"n" * 16},
    "log": {"reason": "failure", "text": "it broke"},
    "report": {"payload": b"\xa0", "signature": b"s" * 70},
    "telemetry": {"seq": 1, "metrics": {"heap_free_b": 1.5}, "peers": [["tcp", 443, "wan"]], "series": {}},
    "twin": {"config": {"poll_s": 60}},
}
ANSWER = {"state": "done", "result": "it is up again"}
ENROL = {
    "/v1/enrol/tpm/challenge": {"ek_certificate": b"x", "ek_public": b"x", "ak_public": b"x"},
    "/v1/enrol/tpm": {"session": "0" * 36, "secret": b"x", "csr": b"x", "key": {}, "quote": {}},
}
FEEDBACK = {
    "id": "1",
    "status": {"execution": "proceeding", "result": {"finished": "none"}, "details": ["x"], "code": 1},
}
CONFIG = {"mode": "merge", "data": {"sw_version": "1.0"}, "id": "", "time": "20260101T000000", "status": {}}
FORM = {
    "name": "x", "reason": "why", "release": "{release}", "hardware": "node", "device": "new-1", "names": "a\nb", "days": "7", "profile": "device",
    "code": "unspecified", "verdict": "false", "password": "p" * 20, "username": "eva", "count": "1", "share": "1000", "soak": "0",
    "target": "", "success": "90", "errors": "10", "first": "1", "second": "10", "soak_s": "60", "waves": "1", "lineage": "", "roles": "viewer",
}  # fmt: skip
#: bodies that are better than those of the table of roles, which need not succeed there
BETTER = {
    "/statements/{statement}/signatures": {
        "statement": "00" * 32,
        "keyid": "00" * 32,
        "sigs": {"ed25519": "00" * 64},
        "officer": "a",
    },
    "/vendors": {"name": "acme", "kind": "idevid", "pem": "{other_root}"},
    "/trust-keys": {"name": "x", "format": "mcuboot", "pem": "{public_key}"},
}
QUERIES = {"/devices/{device}/telemetry": "metric=temp_c"}
#: what a REST or console query may hold
QUERY = (
    "q", "state", "hardware", "quarantined", "presence", "query", "group", "limit", "cursor", "count", "after", "before", "device", "metric",
    "since", "until", "ticks", "page", "kind", "release", "status", "expiring", "action", "object", "name", "updating", "next",
)  # fmt: skip


@dataclass(frozen=True)
class Route:
    """One route.

    Args:
        listener: operator, device, coap or status.
        method: that it knows.
        path: with ``{}`` where a part may be anything.
        body: good fields, if it takes a body.
        form: how the body is written: json, form, multipart, cbor or raw.
        query: that a good request has.
        guessed: whether the method is tried because the map of addresses names none.
    """

    listener: str
    method: str
    path: str
    body: dict = field(default_factory=dict)
    form: str = "json"
    query: str = ""
    guessed: bool = False

    def __str__(self):
        return f"{self.listener} {self.method} {self.path}"


def operator(acts):
    """Return the routes of the operator server: REST as the table of acts fills it, and the console by its own map."""
    found = [
        Route("operator", method, f"/api/v1{path}", BETTER.get(path, body or {}), query=QUERIES.get(path, ""))
        for method, path, body in acts
    ]
    known = {_bare(one.path) for one in found}
    for path in _paths(get_resolver().url_patterns, ""):
        rest = path.startswith("/api/")
        if rest and _bare(path) in known:
            continue
        methods = ("GET", "POST", "PUT", "PATCH", "DELETE") if rest else ("GET", "POST")
        for method in methods:
            form = "multipart" if path.endswith("/bundles") else "json" if rest else "form"
            body = {} if path.endswith(("/revoke", "/withdraw")) else {"name": "x", "days": 7}
            found.append(Route("operator", method, path, body if rest else FORM, form, guessed=True))
    return found


def _paths(patterns, before):
    for one in patterns:
        if isinstance(one, URLResolver):
            yield from _paths(one.url_patterns, before + str(one.pattern))
        elif isinstance(one, URLPattern):
            path = re.sub(r"\(\?P<(?:verb|act)>([a-z]+)[^)]*\)", r"\1", str(one.pattern).lstrip("^").rstrip("$"))
            path = re.sub(r"\(\?P<[^>]+>.*?\)|<[^>]+>", "{}", path)
            yield "/" + before.lstrip("/") + path


def _bare(path):
    acts = r"/(return|approve|deny|quarantine|release|suspend|resume|retire|start|pause|abort)$"
    return re.sub(acts, "/ACT", re.sub(r"\{[^}]*\}", "{}", path).replace("\\", ""))


def device():
    """Return the routes of the device HTTPS listener: native, DDI and EST."""
    found = []
    for name, entry in device_api_v1.RESOURCES.items():
        for method in sorted(entry.methods):
            for path in (f"/v1/{name}", f"/v1/{name}/{{}}"):
                body = ANSWER if name == "command" and "{}" in path else NATIVE.get(name, {})
                found += [Route("device", method, path, body, form) for form in ("cbor", "json")]
    found += [Route("device", "POST", path, body, form) for path, body in ENROL.items() for form in ("cbor", "json")]
    for methods, pattern, _, _ in ddi.ROUTES:
        rest = re.sub(r"\([^)]*\)", "{}", pattern)
        path = "/DOMAIN/controller/v1/DEVICE" + (f"/{rest}" if rest else "")
        body = CONFIG if "config" in rest else FEEDBACK if "feedback" in rest else {}
        found += [Route("device", method, path, body, "json") for method in sorted(methods)]
    for operation, method in est.METHODS.items():
        found += [Route("device", method, f"{est.ROOT}{{}}/{operation}", {}, "raw")]
        found += [Route("device", method, f"{est.ROOT}{operation}", {}, "raw")]
    return [*found, Route("device", "GET", "/healthz"), Route("device", "GET", "/{}")]


def coap():
    """Return the routes of the CoAP listener."""
    found = [
        Route("coap", method, path, ANSWER if path == "/v1/command/{}" else NATIVE.get(name, {}), "cbor")
        for name, entry in device_api_v1.RESOURCES.items()
        for method in sorted(entry.methods - {"HEAD"})
        for path in ([f"/v1/{name}/{{}}"] if name in {"metadata", "blob", "command"} else []) + [f"/v1/{name}"]
    ]
    return found + [Route("coap", method, f"{est.ROOT}{name}", {}, "raw") for name, method in coaps.METHODS.items()]


def status():
    """Return the routes of the CRL and OCSP listener, from its own table."""
    found = []
    for entry in listener.ROUTES:
        path = re.sub(r"\(\[0-9a-f\]\{40\}\)", "{}", entry.path.pattern).replace("([0-9a-f]{2})", "00")
        path = path.replace("(?:/.*)?", "/{}").replace("\\", "")
        found += [Route("status", method, path, {}, "raw") for method in sorted(entry.methods)]
        if "/ocsp" in path:
            found.append(Route("status", "POST", "/ocsp", {}, "raw"))
    return [*found, Route("status", "GET", "/{}", {}, "raw")]


#: what the good request of a route gets that cannot succeed here, by a pattern of method and path
EXPECTED = (
    (r"POST /api/v1/authorities/.*/switch", {409}),  # no device trusts a new root
    (r"POST /api/v1/rollouts/.*/start", {409}),  # it runs already
    (r"POST /api/v1/transfers", {409}),  # the device is this domain's
    (r"POST /api/v1/statements/.*/signatures", {403, 409, 422}),  # nobody's signature
    (r"POST /sign-in|POST /sign-in/link/.*|(GET|POST) /set-up/.*", {401}),  # no password, no link
    (r"(GET|HEAD) /v1/(metadata|blob)", {404}),  # the name is missing
    (r"GET /v1/manifest.*", {404}),  # the bundle has no SUIT envelope
    (r"POST /v1/enrol/tpm.*", {400}),  # there is no TPM; its formats are mutated elsewhere
    (r"POST /.well-known/est/(.*/)?serverkeygen", {403}),  # the profile does not allow it
    (r"POST /.well-known/est/(sen|skg|skc)", {401}),  # the certificate is of no vendor
    (r"GET /healthz", {200, 404}),  # of the device listener: answered before the protocols
    (r"GET /\{\}|[A-Z]+ /api/(\{\})?", {404}),
    (r"DELETE /api/v1/bundles/.*", {409}),  # the bundle was published
    (r"POST /bundles/.*/delete", {409, 422}),  # its name is not typed; it was published
)
#: methods that the map of addresses does not name: each is tried, and may be refused
UNNAMED = frozenset({405})


def expected(route):
    """Return the statuses that the good request of a route may get."""
    for pattern, statuses in EXPECTED:
        if re.fullmatch(pattern, f"{route.method} {route.path}"):
            return statuses | UNNAMED if route.listener == "operator" else statuses
    return {*range(200, 400), *(UNNAMED if route.guessed else ())}
