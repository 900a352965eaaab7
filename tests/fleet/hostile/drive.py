"""Put hostile values into requests one place at a time, send them to every listener, and judge what comes back."""

import base64
import json
import logging
import random
import re
from dataclasses import dataclass
from http import cookies as http_cookies
from urllib.parse import quote_from_bytes, unquote

from aiocoap import Message
from aiocoap.numbers import codes
from django.db import transaction
from django.test import Client

from devices.models import Device, Twin
from fleet.gateway import http, protocol
from fleet.gateway import status as status_listener
from fleet.gateway.coap import listener as coap_listener
from fleet.gateway.coap import mapping
from fleet.gateway.protocol import ResponseOutcome, TransportPeer
from ota.models import Assignment, Rollout
from pki.kernel.coap import tag_bytes
from pki.kernel.errors import DomainError
from pki.services.responders import Responders
from tests.fleet.hostile import corpus
from tests.fleet.hostile.routes import QUERY

JSON, CBOR, FORM = "application/json", "application/cbor", "application/x-www-form-urlencoded"
#: acts that would take away what later requests need: done, judged and undone
DESTRUCTIVE = re.compile(
    r"retire|revoke|decommission|suspend|quarantine|abort|withdraw|distrust|publish|sign-out|transfer|switch|decide|"
    r"approve|deny|cancel|close|groups/|director|set-up|profiles|renewals|resume|api-tokens|me/tokens|people/|/bundles$|"
    r"/command|/report|/est/|/trust-keys|/rollouts/|/oscore"
)
#: the word before an id in a path -> which object of the domain stands there
OBJECTS = {
    "rollouts": "rollout", "bundles": "bundle", "incidents": "incident", "approvals": "waiting", "releases": "release",
    "hardware-models": "hardware", "statements": "statement", "groups": "group", "commands": "command", "people": "username",
    "api-tokens": "api_token", "enrolment-tokens": "enrolment_token", "tokens": "enrolment_token", "ledger": "entry",
    "consistency": "size", "metadata": "metadata", "blob": "sha256", "command": "own_command", "deploymentBase": "action",
    "cancelAction": "action", "softwaremodules": "bundle_row", "artifacts": "file", "est": "label", "crl": "authority",
    "ca": "authority", "ocsp": "ocsp",
}  # fmt: skip
PLACE = re.compile(r"(?:([A-Za-z-]+)/)?\{([a-z_]*)\}")
SUCCESS = 200
READS = frozenset({"GET", "HEAD", "DELETE"})
#: what is sent is a patch of a device's configuration, whose members are the device's own
FREE = frozenset({"/api/v1/devices/{device}/twin"})
SLOW = frozenset({"/api/v1/ledger/verify", "/api/v1/openapi.json"})


@dataclass(frozen=True)
class Case:
    """One hostile value in one place of a request."""

    place: str
    name: str
    value: object

    def __str__(self):
        return f"{self.place} {self.name}={self.value!r:.60}"


def cases(route, dice, most=0):
    """Return cases for a route: ``most`` of them drawn, or all; an unknown field is always among them."""
    places = [Case("header", name, value) for name, value in corpus.HEADERS]
    places += [Case("query", name, value) for name in dice.sample(QUERY, 3) for value in corpus.PERCENT]
    places += [Case("query", value, "1") for value in corpus.PERCENT[:24]]
    for number in range(route.path.count("{")):
        places += [Case("path", str(number), value) for value in corpus.PERCENT]
    if route.method not in READS:
        raws = corpus.RAW_CBOR if route.form == "cbor" else corpus.RAW_JSON
        places += [Case("raw", "", value) for value in raws]
        for name in [*_inner(route.body)]:
            places += [Case("field", name, value) for value in corpus.values()]
    drawn = dice.sample(places, min(most, len(places))) if most else places
    return [*drawn, Case("unknown", "zz_unknown", 1)] if route.method not in READS else drawn


def _inner(body, before=""):
    for name, value in body.items():
        yield f"{before}{name}"
        if isinstance(value, dict):
            yield from _inner(value, f"{before}{name}\t")


class Driver:
    """Sends cases to the listeners of one domain, in this process.

    Args:
        ids: of the domain's objects, as paths name them.
        device: an enrolled device with its certificate.
        clients: name to (client, headers) for the operator server.
    """

    def __init__(self, ids, device, clients):
        self.ids, self.device, self.clients = ids, device, clients
        self.sent, self.wrong, self.counts = 0, [], {}
        self._net = _Net()
        logging.getLogger().addHandler(self._net)

    def run(self, route, case, caller):
        """Send one case; note a 500, a net that caught, or a dropped field."""
        self.sent += 1
        before = len(self._net.caught)
        try:
            with transaction.atomic(), transaction.atomic(using="telemetry"):
                self._prepare(route)
                code, text = getattr(self, f"_{route.listener}")(route, case, caller)
                undo = code >= 400 or DESTRUCTIVE.search(route.path) is not None
                for alias in ("default", "telemetry"):
                    transaction.set_rollback(undo, using=alias)
        except Exception as error:
            code, text = 599, f"{type(error).__name__}: {error}"
        self.counts[code] = self.counts.get(code, 0) + 1
        trouble = code in {500, 599} or len(self._net.caught) > before
        # Refused with its name, or for another reason that comes first: a role, a state, the body that a raw form has.
        dropped = (
            case.place == "unknown"
            and self._owns(route)
            and (code < 400 or (self._must_name(code) and case.name not in text))
        )
        if trouble or dropped:
            said = self._net.caught[before:] or [text[:200]]
            self.wrong.append(f"{route} [{caller}] {case}: {code} {'dropped' if dropped else said}")

    def good(self, route, caller):
        """Send the good request of a route, undo what it did, and return its status."""
        with transaction.atomic(), transaction.atomic(using="telemetry"):
            self._prepare(route)
            code, text = getattr(self, f"_{route.listener}")(route, Case("good", "", None), caller)
            for alias in ("default", "telemetry"):
                transaction.set_rollback(True, using=alias)
        return code, text[:300]

    def close(self):
        """Stop listening to the log."""
        logging.getLogger().removeHandler(self._net)

    @staticmethod
    def _must_name(code):
        """Say whether a status is that of a body that breaks a rule."""
        return code in {400, 422}

    def _prepare(self, route):
        """Bring an object into the state from which a route leads on; it is undone with the request."""
        if route.path == "/api/v1/devices/{device}/resume":
            Device.objects.filter(public_id=self.ids["device"]).update(state=Device.State.SUSPENDED)
        elif "/rollouts/" in route.path and route.path.endswith("/resume"):
            Rollout.objects.filter(public_id=self.ids["rollout"]).update(state=Rollout.State.PAUSED)
        elif "/cancelAction/" in route.path:
            action = Assignment.objects.filter(action_id=self.ids["action"], device=self.device.device)
            action.update(status=Assignment.Status.CANCELING)

    def _owns(self, route):
        """Say whether unknown fields of a route are ours to refuse: DDI's are ignored, EST has none."""
        if route.path in FREE:
            return False
        native = route.listener in {"device", "coap"} and route.path.startswith("/v1/")
        return (native or route.path.startswith("/api/")) and bool(route.body) and route.form in {"json", "cbor"}

    def _path(self, route, case):
        number = iter(range(route.path.count("{")))

        def filled(found):
            before = f"{found[1]}/" if found[1] else ""
            if case.place == "path" and case.name == str(next(number)):
                return before + case.value
            return before + str(self.ids[found[2] or OBJECTS.get(found[1] or "", "device")])

        path = PLACE.sub(filled, route.path)
        path = path.replace("DEVICE", self.device.device.name).replace("DOMAIN", self.device.device.domain.slug)
        return path, f"{case.name}={case.value}" if case.place == "query" else route.query

    def _body(self, route, case):
        """Return the bytes of a body and their media type; None for the bytes where the form cannot say the value."""
        if case.place == "raw":
            return case.value, {"cbor": CBOR, "form": FORM}.get(route.form, JSON)
        if route.form == "raw":
            return self.ids["csr" if route.listener == "coap" else "csr_base64"], "application/pkcs10"
        if route.form == "multipart":
            return _multipart(case, self.ids), "multipart/form-data; boundary=x"
        return _written(route.form, self._fields(route, case))

    def _fields(self, route, case):
        """Return the good fields of a route with one of them hostile, or one more."""
        body = json.loads(json.dumps(_filled(route.body, self.ids), default=lambda one: one.hex()))
        if route.form == "cbor":
            body = {name: self.ids["signed"].get(name, value) for name, value in route.body.items()}
        elif route.listener == "device":
            signed = {name: value.hex() for name, value in self.ids["signed"].items() if name in body}
            body |= signed
        if "seq" in body:
            body["seq"] = self.sent + 1  # a number that was seen before is taken and not looked at
        if case.place == "field":
            *above, last = case.name.split("\t")
            held = body
            for name in above:
                held[name] = dict(held[name])
                held = held[name]
            held[last] = case.value
        elif case.place == "unknown":
            body[case.name] = case.value
        return body

    def _good_fields(self, route):
        """Return the header fields that a good request of a route has."""
        if "/twin" in route.path and route.method in {"PATCH", "PUT"}:
            twin = Twin.objects.get(device__public_id=self.ids["device"])
            own = Twin.objects.get(device=self.device.device)
            tag = f"d{twin.config_version}" if route.listener == "operator" else f"r{own.reported_version}"
            return {"if-match": f'"{tag}"'}
        return {"authorization": f"Bearer {self.ids['est_token']}"} if "/est/" in route.path else {}

    def _operator(self, route, case, caller):
        client, headers = self.clients[caller]
        headers = {**headers, **self._good_fields(route)}
        path, query = self._path(route, case)
        body, kind = self._body(route, case) if route.method not in {"GET", "HEAD"} else (b"", "")
        extra = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
        if case.place == "header":
            named = case.name.upper().replace("-", "_")
            extra[named if named == "CONTENT_TYPE" else f"HTTP_{named}"] = str(case.value)
        given = {"CONTENT_TYPE": kind or "text/plain", "QUERY_STRING": query, "HTTP_HOST": "localhost", **extra}
        raw = unquote(path, errors="surrogateescape").encode("utf-8", "surrogateescape").decode("latin-1")
        kept = {name: one.value for name, one in client.cookies.items()}
        answer = client.generic(route.method, "/", body or b"", secure=True, **{**given, "PATH_INFO": raw})
        client.cookies = http_cookies.SimpleCookie(kept)  # whatever signs out or in, the next one asks as before
        if answer.streaming and answer.is_async:
            return answer.status_code, ""  # events to a page, without end
        text = b"".join(answer.streaming_content) if answer.streaming else answer.content
        return answer.status_code, text.decode("utf-8", "replace")

    def _request(self, route, case, caller):
        path, query = self._path(route, case)
        body, kind = self._body(route, case)
        headers = {"host": self.device.device.domain.host_names[0], "content-type": kind, **self._good_fields(route)}
        if case.place == "header":
            headers[case.name] = str(case.value)
        peer = {"fingerprint": self.device.certificate.fingerprint, "certificate": bytes(self.device.certificate.der)}
        given = self.ids["csr_renewal"] if "reenroll" in path and case.place != "raw" else None
        body = given or body
        scope = {
            "method": route.method, "path": unquote(path), "query_string": query.encode(), "client": ("192.0.2.1", 1),
            "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()],
            "extensions": {"muster.peer": peer} if caller == "device" else {},
        }  # fmt: skip
        return http._request(scope, body if body is not None and route.method not in {"GET", "HEAD"} else b"")

    def _device(self, route, case, caller):
        try:
            request = self._request(route, case, caller)
        except DomainError as error:
            return protocol.BY_KIND[error.kind].value, error.detail
        reply = protocol.answer_request(request, http.ADAPTERS)
        return reply.outcome.value, reply.payload.decode("utf-8", "replace")

    def _coap(self, route, case, caller):
        method = {"GET": codes.GET, "POST": codes.POST, "PUT": codes.PUT}[route.method]
        path, query = self._path(route, case)
        body, _ = self._body(route, case)
        message = Message(code=method, payload=body if body is not None else b"")
        if path.endswith("sren") and case.place != "raw":
            message.payload = base64.b64decode(self.ids["csr_renewal"])
        for tag in self._good_fields(route).get("if-match", "").split():
            message.opt.if_match = [tag_bytes(tag)]
        message.opt.uri_path = tuple(unquote(path).strip("/").split("/"))
        if query:
            message.opt.uri_query = (unquote(query),)
        message.opt.uri_host = self.device.device.domain.host_names[0]
        message.opt.content_format = 60 if route.form == "cbor" else 286
        proved = TransportPeer(self.device.certificate.fingerprint, bytes(self.device.certificate.der), "192.0.2.1")
        try:
            asked = mapping.convert_request(
                message, proved if caller == "device" else TransportPeer("", b"", "192.0.2.1")
            )
        except DomainError as error:
            return protocol.BY_KIND[error.kind].value, error.detail
        reply = protocol.answer_request(asked, coap_listener.ADAPTERS)
        mapping.convert_reply(asked, reply)
        return reply.outcome.value, reply.payload.decode("utf-8", "replace")

    def _status(self, route, case, _caller):
        path, _ = self._path(route, case)
        path = unquote(path)
        entry = next((one for one in status_listener.ROUTES if one.path.fullmatch(path)), None)
        if entry is None or route.method not in entry.methods:
            return ResponseOutcome.NOT_FOUND.value if entry is None else ResponseOutcome.NOT_ALLOWED.value, ""
        if entry.work is not None:
            return entry.work(path)[0], ""
        data = self._body(route, case)[0] if route.method == "POST" else status_listener._from_path(path)
        Responders().answer(data or b"")
        return SUCCESS, ""


class _Net(logging.Handler):
    """Notes what the last net or the handler of unknown errors had to catch."""

    def __init__(self):
        super().__init__()
        self.caught = []

    def emit(self, record):
        if "passed all checks" in record.getMessage() or "a request failed" in record.getMessage():
            self.caught.append(f"{record.getMessage()}: {record.exc_info[1]!r:.200}" if record.exc_info else "?")


def _written(form, body):
    """Return a body in a form, and its media type."""
    if form == "cbor":
        return corpus.as_cbor(body), CBOR
    if form == "form":
        pairs = [
            f"{name}={quote_from_bytes(str(value).encode('utf-8', 'surrogatepass'))}" for name, value in body.items()
        ]
        return "&".join(pairs).encode(), FORM
    return corpus.as_json(body), JSON


def _filled(body, ids):
    words = json.dumps(body, default=lambda one: one.hex())
    for name, value in ids.items():
        words = words.replace(f"{{{name}}}", json.dumps(str(value))[1:-1])
    return json.loads(words)


def _multipart(case, ids):
    value = str(case.value).encode("utf-8", "surrogatepass").replace(b"\r", b"").replace(b"\n", b"")
    name = value if case.place == "field" else b"app.bin"
    part = b'--x\r\nContent-Disposition: form-data; name="manifest"; filename="bundle.json"\r\n\r\n'
    other = b'\r\n--x\r\nContent-Disposition: form-data; name="files"; filename="' + name + b'"\r\n\r\n'
    extra = b'\r\n--x\r\nContent-Disposition: form-data; name="zz_unknown"\r\n\r\n1' if case.place == "unknown" else b""
    return part + ids["manifest"] + other + ids["image"] + extra + b"\r\n--x--\r\n"


def poisoned(client, headers, paths):
    """Return the lists and details that do not answer 200 with text that every reader takes."""
    wrong = []
    for path in paths:
        answer = client.get(path, secure=True, headers={"host": "localhost", **headers})
        try:
            text = (b"".join(answer.streaming_content) if answer.streaming else answer.content).decode()
            if answer.status_code != SUCCESS or (path.startswith("/api") and json.loads(text) is None):
                wrong.append(f"{path}: {answer.status_code}")
        except ValueError as error:
            wrong.append(f"{path}: {error}")
    return wrong


def anonymous():
    """Return a client without a session that gives 500 instead of raising."""
    return Client(raise_request_exception=False, headers={"host": "localhost"})


def shuffled(seed):
    """Return a generator of a seed."""
    return random.Random(seed)
