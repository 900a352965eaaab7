"""Every route of every listener, found in the tables that serve them; each with a request that would be good."""

import re
from dataclasses import dataclass, field

from django.urls import URLPattern, URLResolver, get_resolver

from fleet.gateway import native
from fleet.gateway.ddi import dialect as ddi
from fleet.gateway.est import coaps
from fleet.gateway.est import dialect as est

#: good fields of the device protocol, by resource
NATIVE = {
    "director": {"nonce": b"n" * 32},
    "time": {"nonce": b"n" * 32},
    "command": {"nonce": b"n" * 32},
    "log": {"reason": "failure", "text": "it broke"},
    "report": {"payload": b"\xa0", "signature": b"s" * 70},
    "telemetry": {"seq": 1, "metrics": {"a": 1.5}, "peers": [["tcp", 443, "wan"]], "series": {}},
    "twin": {"config": {"poll_s": 60}},
}
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
    "name": "x", "reason": "why", "release": "", "hardware": "node", "device": "new-1", "names": "a\nb", "days": "7", "profile": "device",
    "code": "unspecified", "verdict": "false", "password": "p" * 20, "username": "eva", "count": "1", "share": "1000", "soak": "0",
    "target": "", "success": "900", "error": "100", "waves": "1", "lineage": "", "roles": "viewer",
}  # fmt: skip
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
    """

    listener: str
    method: str
    path: str
    body: dict = field(default_factory=dict)
    form: str = "json"

    def __str__(self):
        return f"{self.listener} {self.method} {self.path}"


def operator(acts):
    """Return the routes of the operator server: REST as the table of acts fills it, and the console by its own map."""
    found = [Route("operator", method, f"/api/v1{path}", body or {}) for method, path, body in acts]
    known = {_bare(one.path) for one in found}
    for path in _paths(get_resolver().url_patterns, ""):
        rest = path.startswith("/api/")
        if rest and _bare(path) in known:
            continue
        methods = ("GET", "POST", "PUT", "PATCH", "DELETE") if rest else ("GET", "POST")
        for method in methods:
            form = "multipart" if path.endswith("/bundles") else "json" if rest else "form"
            found.append(Route("operator", method, path, FORM if not rest else {"name": "x", "days": 7}, form))
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
    for name, entry in native.RESOURCES.items():
        for method in sorted(entry.methods):
            for path in (f"/v1/{name}", f"/v1/{name}/{{}}"):
                found.append(Route("device", method, path, NATIVE.get(name, {}), "cbor"))
                found.append(Route("device", method, path, NATIVE.get(name, {}), "json"))
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
        Route("coap", method, f"/v1/{name}", NATIVE.get(name, {}), "cbor")
        for name, entry in native.RESOURCES.items()
        for method in sorted(entry.methods - {"HEAD"})
    ]
    return found + [Route("coap", method, f"{est.ROOT}{name}", {}, "raw") for name, method in coaps.METHODS.items()]


def status():
    """Return the routes of the CRL and OCSP listener."""
    places = ("/crl/{}/00.crl", "/ca/{}.cer", "/ocsp/{}", "/{}")
    return [Route("status", "GET", path, {}, "raw") for path in places] + [Route("status", "POST", "/ocsp", {}, "raw")]
