"""Every act of the REST API, tried by every role, by a stranger, and by somebody of another domain."""

import json

import pytest
from django.test import Client
from django.urls import get_resolver

from devices.models import EnrolmentRequest
from devices.proofs.claim import Shown
from devices.services import enrolment, expected, groups, transfer
from devices.services import tokens as enrolment_tokens
from fleet.officer import authority
from fleet.operators.services import tokens
from ota.services import commands
from pki.kernel.actor import Role
from pki.kernel.errors import PendingError
from pki.models import Authority
from pki.services import ledger, profiles
from pki.x509 import parse_csr
from tests.architecture.sources import ROOT
from tests.factories.devices import csr
from tests.factories.ground import system
from tests.factories.people import person_with

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])
DOCUMENT = json.loads((ROOT / "docs/reference/openapi.json").read_text())
VIEWER, OPERATOR, RELEASE, SECURITY, ADMIN = Role
READS = frozenset(Role)
#: method, path, body, who may (an admin gives out roles and holds none of these by that alone); {} are ids of the domain's own objects
ACTS = [
    ("GET", "/api-tokens", None, READS),
    ("GET", "/hardware-models", None, READS),
    ("GET", "/devices", None, READS),
    ("GET", "/devices/{device}", None, READS),
    ("GET", "/enrolment-tokens", None, READS),
    ("GET", "/incidents", None, READS),
    ("GET", "/incidents/{incident}", None, READS),
    ("GET", "/certificates", None, READS),
    ("GET", "/ledger", None, READS),
    ("GET", "/ledger/head", None, READS),
    ("GET", "/trust-keys", None, READS),
    ("GET", "/bundles", None, READS),
    ("GET", "/bundles/{bundle}", None, READS),
    ("GET", "/bundles/{bundle}/patches", None, READS),
    ("GET", "/bundles/{bundle}/contents", None, READS),
    ("GET", "/fit", None, READS),
    ("GET", "/metadata-roles", None, READS),
    ("GET", "/releases", None, READS),
    ("GET", "/releases/{release}", None, READS),
    ("GET", "/statements", None, READS),
    ("GET", "/statements/{statement}", None, READS),
    ("GET", "/statements/{statement}/prepared", None, READS),
    ("GET", "/assignments", None, READS),
    ("GET", "/rollouts", None, READS),
    ("GET", "/rollouts/{rollout}", None, READS),
    ("GET", "/certificates/{certificate}/lineage", None, READS),
    ("GET", "/certificate-profiles", None, READS),
    ("GET", "/authorities", None, READS),
    ("GET", "/crls", None, READS),
    ("GET", "/enrolment-requests", None, READS),
    ("GET", "/expected-devices", None, READS),
    ("GET", "/vendors", None, READS),
    ("GET", "/authorities/{authority}/switch", None, READS),
    ("GET", "/commands", None, READS),
    ("GET", "/groups", None, READS),
    ("GET", "/groups/{group}", None, READS),
    ("GET", "/devices/{device}/twin", None, READS),
    ("GET", "/devices/{device}/telemetry", None, READS),
    ("GET", "/devices/{device}/behaviour", None, READS),
    ("GET", "/devices/{device}/logs", None, {SECURITY, OPERATOR}),
    ("PATCH", "/devices/{device}/twin", {"poll_s": 60}, {OPERATOR}),
    ("POST", "/devices/{device}/commands", {"kind": "identify", "reason": "which is it"}, {SECURITY, OPERATOR}),
    ("POST", "/commands/{command}/cancel", {}, {SECURITY, OPERATOR}),
    ("POST", "/groups", {"name": "odd ones", "query": "quarantined"}, {OPERATOR}),
    ("PATCH", "/groups/{group}", {"add": ["dev-1-1"]}, {OPERATOR}),
    ("DELETE", "/groups/{spare_group}", None, {OPERATOR}),
    ("DELETE", "/bundles/{bundle}", None, {OPERATOR, RELEASE}),
    ("POST", "/devices", {"name": "behind-1", "hardware": "node", "gateway": "{gateway}"}, {OPERATOR}),
    ("POST", "/authorities/{authority}/switch", {}, {SECURITY}),
    ("POST", "/certificate-profiles", {"name": "long", "validity_days": 700}, {SECURITY}),
    ("POST", "/devices/{device}/board", {}, {SECURITY}),
    ("POST", "/enrolment-requests/{waiting}/approve", {}, {SECURITY, OPERATOR}),
    ("POST", "/enrolment-requests/{waiting}/deny", {}, {SECURITY, OPERATOR}),
    ("POST", "/expected-devices", {"serial": "s-1", "hardware": "node", "device": "s-1"}, {SECURITY, OPERATOR}),
    ("POST", "/vendors", {"name": "acme", "kind": "idevid", "pem": "{root}"}, {SECURITY}),
    ("POST", "/vendors/{vendor}/distrust", {}, {SECURITY}),
    ("POST", "/hardware-models", {"name": "new", "vendor": "acme.example"}, {OPERATOR}),
    ("PUT", "/hardware-models/{hardware}/telemetry", {"telemetry": {"temp_c": "operational"}}, {SECURITY, OPERATOR}),
    ("PUT", "/hardware-models/{hardware}/runtime", {"runtime": {"runtime": "tflm"}}, {OPERATOR}),
    ("PATCH", "/devices/{device}", {"tags": ["pilot"], "site": "Hall 3"}, {OPERATOR}),
    ("POST", "/devices/{device}/quarantine", {"reason": "odd"}, {SECURITY, OPERATOR}),
    ("POST", "/devices/{device}/release", {"reason": "well again"}, {SECURITY}),
    ("POST", "/devices/{device}/suspend", {}, {SECURITY}),
    ("POST", "/devices/{device}/resume", {}, {SECURITY}),
    ("POST", "/devices/{device}/transfer", {}, {SECURITY}),
    ("POST", "/transfers", {"code": "{code}"}, {SECURITY}),
    ("POST", "/devices/{third_device}/decommission", {"name": "dev-1-1"}, {SECURITY}),
    ("POST", "/devices/{other_device}/return", {}, {SECURITY}),
    ("POST", "/devices/{other_device}/retire", {}, {SECURITY}),
    ("POST", "/enrolment-tokens", {"hardware": "node", "devices": ["fresh"]}, {SECURITY, OPERATOR}),
    ("POST", "/incidents/{incident}/close", {"verdict": "false"}, {SECURITY, OPERATOR}),
    ("POST", "/certificates/{certificate}/revoke", {"reason": "unspecified"}, {SECURITY}),
    ("POST", "/trust-keys", {"name": "x", "format": "mcuboot", "pem": "no key"}, {SECURITY}),
    ("POST", "/releases", {"bundle": "{fresh_bundle}"}, {RELEASE}),
    (
        "POST",
        "/statements/{statement}/signatures",
        {"statement": "x", "keyid": "y", "sigs": {}, "officer": "a"},
        {RELEASE},
    ),
    ("POST", "/statements/{statement}/publish", {}, {RELEASE}),
    ("POST", "/floors", {"component": "app", "hardware_model": "node", "counter": 1}, {RELEASE}),
    ("POST", "/renewals", {}, {RELEASE}),
    ("POST", "/releases/{release}/withdraw", {"reason": "bad"}, {RELEASE, SECURITY}),
    ("POST", "/rollouts", {"name": "r", "release": "{release}", "waves": [{"share": 1000}]}, {OPERATOR}),
    ("POST", "/rollouts/{rollout}/start", {}, {OPERATOR}),
    ("POST", "/rollouts/{rollout}/pause", {}, {OPERATOR}),
    ("POST", "/rollouts/{rollout}/resume", {}, {OPERATOR}),
    ("POST", "/rollouts/{rollout}/abort", {}, {OPERATOR}),
]
#: query parameters without which nothing is looked up
NEEDED = {"/devices/{device}/telemetry": "?metric=temp_c"}
#: what the table leaves out, because it is not one domain's object or is tried elsewhere
ELSEWHERE = {
    "ledger/ID/inclusion", "ledger/consistency/ID", "openapi.json", "me", "me/tokens", "api-tokens/ID/revoke", "enrolment-tokens/ID/withdraw", "ledger/verify",
}  # fmt: skip


class Caller:
    """Somebody with an API token, or without one."""

    def __init__(self, domain, word, *roles):
        self.client = Client(headers={"host": "localhost"})
        self.headers = {}
        if roles:
            operator = person_with(domain, f"{word}_{domain.slug}", list(roles))
            _, secret = tokens.create(actor=system(domain), operator=operator, name="test")
            self.headers = {"authorization": f"Bearer {secret}"}

    def status(self, method, path, body):
        answer = self.client.generic(
            method, f"/api/v1{path}", json.dumps(body or {}), "application/json", secure=True, headers=self.headers
        )
        return answer.status_code


@pytest.fixture
def ids(fleet, domain, other_domain, hardware_model, enrol, offline, tmp_path):
    device, by = fleet.devices[-1], system(domain)
    root = (offline / "root-ca" / "root-ca.pem").read_text()
    other = authority.make_root_ca(tmp_path / "vendor", "Vendor").read_bytes()
    vendor = expected.trust_vendor(actor=by, name="other", kind="idevid", pem=other)
    profiles.define_profile(actor=by, name="guarded", approval=True)
    _, secret = enrolment_tokens.create(actor=by, hardware_model=hardware_model, device_name="new", profile="guarded")
    with pytest.raises(PendingError):
        enrolment.enrol(domain=domain, csr=parse_csr(csr("new")[0]), via="test", shown=Shown(secret))
    code = transfer.offer_transfer(actor=by, device=fleet.devices[2])
    waiting = EnrolmentRequest.objects.get(domain=domain)
    ledger.sequence_leaves(domain=domain)
    return {
        "device": device.public_id,
        "other_device": fleet.devices[0].public_id,
        "third_device": fleet.devices[1].public_id,
        "code": code,
        "incident": fleet.incident.public_id,
        "bundle": fleet.bundles[-1].public_id,
        "fresh_bundle": fleet.workshop.bundle("7.0.0", 7).public_id,
        "release": fleet.rollouts[-1].release.public_id,
        "statement": fleet.rollouts[-1].release.statement.public_id,
        "rollout": fleet.rollouts[-1].public_id,
        "certificate": fleet.enrolled[-1].certificate.fingerprint,
        "root": root,
        "hardware": hardware_model.public_id,
        "authority": Authority.objects.get(domain=domain, kind="issuing").key_id,
        "waiting": waiting.public_id,
        "gateway": fleet.devices[0].name,
        "command": commands.queue_command(actor=by, device=fleet.devices[0], kind="reboot", reason="stuck").public_id,
        "group": groups.create(actor=by, name="pilots").public_id,
        "spare_group": groups.create(actor=by, name="spare").public_id,
        "vendor": vendor.public_id,
    }


def filled(act, ids):
    method, path, body, _ = act
    words = json.dumps(body)
    for name in ("fresh_bundle", "release", "root", "code", "gateway"):
        words = words.replace(f"{{{name}}}", json.dumps(str(ids[name]))[1:-1])
    return method, path.format(**ids) + NEEDED.get(path, ""), json.loads(words)


def test_whoever_lacks_the_role_is_refused_and_whoever_has_it_is_not(domain, ids):
    callers = {role: Caller(domain, role.replace("-", "_"), role) for role in Role}
    wrong = []
    for act in ACTS:
        allowed = act[3]
        # Those who may not go first, so that nothing has changed for them.
        for role in sorted(Role, key=lambda role: role in allowed):
            status = callers[role].status(*filled(act, ids))
            refused = status == 403
            if refused == (role in allowed) or status in {401, 404, 405, 500}:
                wrong.append((role, act[0], act[1], status))
    assert wrong == []


def test_without_a_token_nothing_is_answered(domain, ids):
    stranger = Caller(domain, "nobody")
    assert {stranger.status(*filled(act, ids)) for act in ACTS} == {401}


def test_whoever_belongs_to_another_domain_finds_nothing(domain, ids, other_domain):
    stranger = Caller(other_domain, "stranger", *Role)
    with_ids = [act for act in ACTS if "{" in act[1]]
    assert {(act[1], stranger.status(*filled(act, ids))) for act in with_ids} == {(act[1], 404) for act in with_ids}


def test_lists_of_another_domain_are_empty(domain, ids, other_domain):
    stranger = Caller(other_domain, "stranger", *Role)
    for method, path, _, _ in ACTS:
        if (
            method == "GET"
            and "{" not in path
            and path not in {"/ledger", "/ledger/head", "/authorities", "/api-tokens"}
        ):
            body = stranger.client.get(f"/api/v1{path}", secure=True, headers=stranger.headers).json()
            assert body["results"] == [], path


def test_the_document_says_which_roles_may():
    """What the test above tries is what the document promises."""
    promised = {
        (method, _plain(path.removeprefix("/api/v1").replace("{", "<"))): set(operation["x-roles"])
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
    }
    tried = {(act[0].lower(), _plain(act[1].replace("{", "<"))): set(act[3]) for act in ACTS}
    wrong = {act: (promised[act], roles) for act, roles in tried.items() if promised[act] != roles}
    assert wrong == {}
    assert {path for _, path in set(promised) - set(tried)} <= ELSEWHERE | {"bundles"}


def test_the_table_names_every_address():
    api = next(one for one in get_resolver().url_patterns if str(one.pattern) == "api/v1/")
    known = {_plain(path.replace("{", "<").replace("}", ">")) for _, path, _, _ in ACTS}
    served = {_plain("/" + str(one.pattern).strip("^$")) for one in api.url_patterns}
    assert {one for one in served - known if one.strip("/") not in ELSEWHERE} == set()


def _plain(pattern):
    """Return a pattern or path with every id as ID."""
    words = pattern.strip("/").split("/")
    return "/".join("ID" if word.startswith(("(", "<")) else word for word in words)
