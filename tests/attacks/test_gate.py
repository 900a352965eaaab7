"""Every protocol gives a device only what officers signed, whatever the rows of the database say."""

import io
import json
import os
import uuid
from datetime import timedelta

import cbor2
import pytest
from aiocoap import Message
from aiocoap.numbers import codes
from django.conf import settings
from django.db import connection
from tuf.api.metadata import Metadata, Root, Targets

from devices.models import Device
from devices.services import hardware
from fleet.gateway import codec, http
from fleet.gateway.coap import listener, mapping, window
from fleet.gateway.protocol import DeviceRequest, TransportPeer, answer_request
from fleet.officer import keys
from fleet.officer import metadata as officer
from ota import blobs
from ota.deltas import streams
from ota.models import Assignment, Bundle, BundleFile, BundleHardware, Delta, Release, Rollout, Wave
from ota.planning import WavePlan
from ota.selectors import signed
from ota.services import bundles, composites, online_roles, releases, rollouts
from ota.trust import documents
from ota.trust.officers import officers_view
from ota.trust.repository import bin_of
from pki.kernel import canonical, clock
from pki.kernel.errors import ConflictError
from pki.services import signing
from tests.factories.assignments import offer_assignment, schedule_assignment
from tests.factories.ground import new_domain, person, system
from tests.regressions import regression

pytestmark = pytest.mark.django_db
AT = "2026-01-01T00:00Z"
EVERYTHING = {
    "HTTPS poll", "CoAP poll", "director", "SUIT manifest", "HTTPS blob", "HTTPS image", "CoAP blob", "CoAP image",
    "patch", "DDI poll", "DDI deployment", "DDI artifact", "DDI artifact by HEAD",
}  # fmt: skip


class Fleet:
    """One device with an open action, and all the ways in which it can ask for what the action names."""

    def __init__(self, workshop, enrol):
        self.workshop, self.domain, self.enrol = workshop, workshop.domain, enrol
        self.one = enrol("gate-1")
        self.device = self.one.device

    def upload(self, version, counter, **further):
        data = self.workshop.image(version, counter)
        return self.workshop.upload(data, self.workshop.manifest(data, version, counter, **further))

    def assign(self, bundle, kind="update"):
        """Let the rows say that the device shall install a bundle, as somebody who owns the database would."""
        release, _ = Release.objects.get_or_create(bundle=bundle, domain=bundle.domain)
        Release.objects.filter(pk=release.pk).update(state="published", published_at=AT)
        facts = {"success_permille": 1, "error_permille": 1000, "state": "running"}
        rollout = Rollout.objects.create(domain=self.domain, name=uuid.uuid4().hex, release=release, **facts)
        wave = Wave.objects.create(rollout=rollout, index=0, label="all", state="open", soak_s=0)
        made = schedule_assignment(rollout=rollout, wave=wave, device=self.device, bundle=bundle)
        offer_assignment(actor=system(self.domain), assignment=made)
        if kind == "repair":
            Assignment.objects.filter(pk=made.pk).update(kind=kind, rollout=None, wave=None)
        patch = {"base": "", "result": bundle.image.sha256, "format": "muster-1"}
        with blobs.blob_store().at_hand(bundle.image.sha256) as image:
            packed = streams.make_patch(b"", image.read_bytes())
        self.patch, size = blobs.blob_store().put(io.BytesIO(packed), len(packed))
        Delta.objects.create(domain=self.domain, sha256=self.patch, size=size, ram=1, seconds=1, **patch)
        return made

    def given(self, made, digest=""):
        """Return the ways in which the device gets something."""
        image = made.bundle.files.get(role="image")
        base = f"/{self.domain.slug.upper()}/controller/v1/{self.device.name}"
        artifact = f"{base}/softwaremodules/{made.bundle_id}/artifacts/{image.path}"
        digest = digest or image.sha256
        found = {
            "HTTPS poll": "update" in self.cbor("/v1/poll"),
            "CoAP poll": "update" in cbor2.loads(self.coap("v1", "poll").payload),
            "director": self.directed(),
            "SUIT manifest": self.ask("GET", "/v1/manifest").outcome.value == 200,
            "HTTPS blob": self.has_file(f"/v1/blob/{digest}"),
            "HTTPS image": self.has_file("/v1/blob/image"),
            "CoAP blob": self.coap("v1", "blob", digest).code == codes.CONTENT,
            "CoAP image": self.coap("v1", "blob", "image").code == codes.CONTENT,
            "patch": self.has_file(f"/v1/blob/{self.patch}"),
            "DDI poll": "deploymentBase" in json.loads(self.ask("GET", base).payload)["_links"],
            "DDI deployment": self.ask("GET", f"{base}/deploymentBase/{made.action_id}").outcome.value == 200,
            "DDI artifact": self.has_file(artifact),
            "DDI artifact by HEAD": self.has_file(artifact, "HEAD"),
        }  # fmt: skip
        assert set(found) == EVERYTHING
        return {name for name, got in found.items() if got}

    def directed(self):
        said = json.loads(self.ask("POST", "/v1/director", b'{"nonce":"%s"}' % (b"00" * 16)).payload)
        return bool(said.get("signed", {}).get("assignments"))

    def ask(self, method, path, payload=b"", adapters=http.ADAPTERS, **query):
        peer = TransportPeer(self.one.certificate.fingerprint, bytes(self.one.certificate.der), "192.0.2.1")
        host, form = f"{self.domain.slug}.example", codec.JSON if payload else codec.CBOR
        request = DeviceRequest(peer, method, path, host, host, payload, {"content-type": form}, query)
        return answer_request(request, adapters)

    def cbor(self, path, **query):
        return cbor2.loads(self.ask("GET", path, **query).payload)

    def has_file(self, path, method="GET"):
        return self.ask(method, path).file is not None

    def coap(self, *path):
        message = Message(code=codes.GET, uri_path=path, uri_host=f"{self.domain.slug}.example")
        asked = mapping.convert_request(message, TransportPeer(self.one.certificate.fingerprint, b"x", "192.0.2.1"))
        reply = answer_request(asked, listener.ADAPTERS)
        return mapping.convert_reply(asked, reply) if reply.file is None else listener._block(message, reply.file)


@pytest.fixture
def fleet(workshop, enrol):
    """Return a device in a domain whose officers have P-256 keys, so that there are SUIT manifests too."""
    for name in ("anna", "bruno", "carla"):
        (workshop.folder / f"{name}.key").unlink()
        keys.generate_key(workshop.folder, name, p256=True)
    workshop.ceremony()
    return Fleet(workshop, enrol)


@regression("R1", "a release with two signatures: every protocol gives it")
def test_what_officers_signed_is_given_by_every_protocol(fleet):
    bundle = fleet.upload("2.0.0", 2)
    fleet.workshop.release(bundle)
    assert fleet.given(fleet.assign(bundle)) == EVERYTHING


def unsigned(fleet):
    """No officer has signed, one SQL UPDATE says that they have."""
    return fleet.assign(fleet.upload("2.0.0", 2))


def one_signature(fleet):
    """One officer has signed."""
    bundle = fleet.upload("2.0.0", 2)
    statement = releases.prepare_release(actor=system(fleet.domain), bundle=bundle).statement
    fleet.workshop.sign(statement, "anna")
    return fleet.assign(bundle)


def withdrawn(fleet):
    """Officers have withdrawn it, and the row says published again."""
    bundle = fleet.upload("2.0.0", 2)
    release = fleet.workshop.release(bundle)
    fleet.workshop.publish(releases.withdraw(actor=system(fleet.domain), release=release, reason="bad").withdrawal)
    return fleet.assign(bundle)


def below_floor(fleet):
    """An older release, below the floor that officers signed later."""
    old = fleet.upload("1.0.0", 1)
    fleet.workshop.release(old)
    fleet.workshop.release(fleet.upload("2.0.0", 2), raise_floor=True)
    return fleet.assign(old)


def repair_below_floor(fleet):
    """The same as the repair of a device."""
    made = below_floor(fleet)
    Assignment.objects.filter(pk=made.pk).update(kind="repair", rollout=None, wave=None)
    return made


def counter_row_below_floor(fleet):
    """The same with a row whose counter was raised."""
    made = below_floor(fleet)
    Bundle.objects.filter(pk=made.bundle_id).update(security_counter=9)
    return made


def manifest_row_below_floor(fleet):
    """The same with a manifest whose counter was raised."""
    made = below_floor(fleet)
    manifest = {**made.bundle.manifest, "security_counter": 9}
    Bundle.objects.filter(pk=made.bundle_id).update(security_counter=9, manifest=manifest)
    return made


def laboratory(fleet):
    """Signed for the laboratory only, and the row names production too."""
    bundle = fleet.upload("2.0.0", 2, audience=["lab"])
    fleet.workshop.release(bundle)
    Bundle.objects.filter(pk=bundle.pk).update(audience=["lab", "production"])
    return fleet.assign(bundle)


def no_audience(fleet):
    """Signed for the laboratory only, for a device whose row names no audience at all."""
    made = laboratory(fleet)
    Device.objects.filter(pk=fleet.device.pk).update(audience="")
    return made


def other_hardware(fleet):
    """Signed for other hardware, and a row names this one too."""
    model = hardware.register_model(actor=system(fleet.domain), name="other", vendor="acme.example")
    named = {"vendor_id": str(model.vendor_id), "class_id": str(model.class_id), "name": model.name}
    bundle = fleet.upload("2.0.0", 2, hw=[named])
    fleet.workshop.release(bundle)
    BundleHardware.objects.create(bundle=bundle, hardware_model=fleet.device.hardware_model)
    return fleet.assign(bundle)


def other_domain(fleet):
    """Signed by the officers of this domain, for a device whose row was moved to another one."""
    bundle = fleet.upload("2.0.0", 2)
    fleet.workshop.release(bundle)
    made = fleet.assign(bundle)
    Bundle.objects.filter(pk=bundle.pk).update(domain=fleet.elsewhere)
    return made


def other_image(fleet):
    """A released bundle whose row of the image names the bytes of one that nobody signed."""
    bundle, evil = fleet.upload("2.0.0", 2), fleet.upload("6.6.6", 6)
    fleet.workshop.release(bundle)
    made = fleet.assign(bundle)
    facts = {name: getattr(evil.image, name) for name in ("sha256", "sha1", "md5", "size")}
    BundleFile.objects.filter(bundle=bundle).update(**facts)
    Delta.objects.filter(domain=fleet.domain).update(result=evil.image.sha256)
    return made


def other_name(fleet):
    """A released bundle whose row was given to a bundle that nobody signed."""
    bundle, evil = fleet.upload("2.0.0", 2), fleet.upload("6.6.6", 6)
    fleet.workshop.release(bundle)
    Bundle.objects.filter(pk=bundle.pk).update(version="2.0.0-old", digest="0" * 64)
    Bundle.objects.filter(pk=evil.pk).update(version="2.0.0", digest=bundle.digest, security_counter=2)
    evil.refresh_from_db()
    return fleet.assign(evil)


def other_action(fleet):
    """An open action whose bundle was exchanged for one that nobody signed."""
    bundle = fleet.upload("2.0.0", 2)
    fleet.workshop.release(bundle)
    made = fleet.assign(bundle)
    evil = fleet.upload("6.6.6", 6)
    Assignment.objects.filter(pk=made.pk).update(bundle=evil)
    Delta.objects.filter(domain=fleet.domain).update(result=evil.image.sha256)
    made.refresh_from_db()
    return made


CASES = [
    unsigned, one_signature, withdrawn, below_floor, repair_below_floor, counter_row_below_floor, manifest_row_below_floor,
    laboratory, no_audience, other_hardware, other_domain, other_image, other_name, other_action,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@regression(
    "R1", "no signature, withdrawn, below the floor, wrong audience or hardware, rows edited: each by every protocol"
)
def test_what_officers_did_not_sign_is_given_by_no_protocol(fleet, offline, case):
    fleet.elsewhere = new_domain(offline) if case is other_domain else None
    made = case(fleet)
    assert fleet.given(made) == set()


def edits_once(edit):
    """Return a wrapper of queries that edits rows the moment that a file is looked up for a download."""
    done = []

    def wrapper(execute, sql, params, many, context):
        if not done and "collected_at" in sql and sql.startswith("SELECT") and "LIMIT 1" in sql:
            done.append(sql)
            edit()
        return execute(sql, params, many, context)

    return wrapper, done


@pytest.mark.parametrize("by", ["HTTPS blob", "HTTPS image", "DDI artifact"])
@regression("R1", "rows of a released bundle are edited between the check and the download")
def test_rows_that_change_during_a_download_give_nothing(fleet, by):
    bundle, evil = fleet.upload("2.0.0", 2), fleet.upload("6.6.6", 6)
    fleet.workshop.release(bundle)
    made = fleet.assign(bundle)
    facts = {name: getattr(evil.image, name) for name in ("sha256", "sha1", "md5", "size")}
    said = {name: facts[name] for name in ("sha256", "size")}
    manifest = {**bundle.manifest, "files": [{**one, **said} for one in bundle.manifest["files"]]}

    def edit():
        BundleFile.objects.filter(bundle=bundle).update(**facts)
        Bundle.objects.filter(pk=bundle.pk).update(manifest=manifest)

    base = f"/{fleet.domain.slug.upper()}/controller/v1/{fleet.device.name}"
    path = {
        "HTTPS blob": f"/v1/blob/{facts['sha256']}",
        "HTTPS image": "/v1/blob/image",
        "DDI artifact": f"{base}/softwaremodules/{made.bundle_id}/artifacts/{bundle.image.path}",
    }[by]
    wrapper, done = edits_once(edit)
    with connection.execute_wrapper(wrapper):
        assert not fleet.has_file(path)
    assert done


@regression("R1", "officers' documents have expired")
def test_expired_documents_release_nothing(fleet, monkeypatch):
    monkeypatch.setattr(documents, "TARGETS_LIFE", timedelta(hours=1))
    bundle = fleet.upload("2.0.0", 2)
    fleet.workshop.release(bundle)
    made = fleet.assign(bundle)
    with clock.frozen(clock.now() + timedelta(hours=2)):
        assert fleet.given(made) == set()


@regression("R1", "an operator rolls back below a floor: refused when the rollout is created, with a sentence")
def test_a_rollout_below_the_floor_is_not_created(fleet):
    old = fleet.upload("1.0.0", 1)
    release = fleet.workshop.release(old)
    fleet.workshop.release(fleet.upload("2.0.0", 2), raise_floor=True)
    with pytest.raises(
        ConflictError, match=r"app 1\.0\.0 \(app\) cannot be rolled out: .*counter 1 is below the floor 2"
    ):
        rollouts.create(
            actor=person(fleet.domain, "operator"), name="back", release=release, waves=[WavePlan(share=1000)]
        )


@regression("R1", "a running rollout whose bundle officers take back is held, though its row says published")
def test_a_rollout_that_nobody_may_be_given_is_held(fleet):
    made = withdrawn(fleet)
    rollouts.tick(domain=fleet.domain)
    made.rollout.refresh_from_db()
    assert made.rollout.state == "held"
    assert "withdrawn it: bad" in made.rollout.hold_reason


@regression("R1", "an action that is canceled is shown to the device although its bundle may not be given any more")
def test_a_canceled_action_is_told(fleet):
    made = withdrawn(fleet)
    Assignment.objects.filter(pk=made.pk).update(status="canceling")
    base = f"/{fleet.domain.slug.upper()}/controller/v1/{fleet.device.name}"
    assert "cancelAction" in json.loads(fleet.ask("GET", base).payload)["_links"]
    assert fleet.given(made) <= {"HTTPS poll", "CoAP poll"}, "the poll names the action, and nothing of it is given"


@regression("R1", "a composite of which one part may not be given")
def test_a_composite_is_given_whole_or_not_at_all(fleet):
    members = [fleet.upload("1.0.0", 1, id=name, component=name) for name in ("app", "net-core")]
    for one in members:
        fleet.workshop.release(one)
    made = composites.write_composite(bundles=members, name="site", version="1.0.0", counter=1)
    files = {composites.FILE: io.BytesIO(made.parts)}
    whole = bundles.upload(actor=system(fleet.domain), manifest=made.manifest, files=files)
    fleet.workshop.release(whole)
    fleet.assign(whole)
    paths = [f"/v1/blob/{one.image.sha256}" for one in (whole, *members)]
    assert all(fleet.has_file(path) for path in paths)
    fleet.workshop.release(fleet.upload("2.0.0", 2, id="net-core", component="net-core"), raise_floor=True)
    assert not any(fleet.has_file(path) for path in paths)


@regression("R1", "a gateway asks for a child that may not be given what the gateway may")
def test_a_child_is_asked_about_itself(fleet):
    bundle = fleet.upload("2.0.0", 2)
    fleet.workshop.release(bundle)
    child = fleet.enrol("gate-child").device
    Device.objects.filter(pk=child.pk).update(parent=fleet.device, audience="lab")
    gateway, fleet.device = fleet.device, child
    fleet.assign(bundle)
    path = f"/v1/blob/{bundle.image.sha256}"
    named = {"for": child.key}
    assert "update" not in fleet.cbor("/v1/poll", **named)
    assert fleet.ask("GET", path, **named).file is None
    Device.objects.filter(pk=child.pk).update(audience="production")
    assert "update" in fleet.cbor("/v1/poll", **named)
    assert fleet.ask("GET", path, **named).file is not None
    assert gateway.audience == "production"


class Thieves:
    """Three people with keys of their own, who may write into the folder of the update metadata."""

    def __init__(self, fleet, folder):
        folder.mkdir()
        self.fleet, self.signers = fleet, [folder / f"{name}.key" for name in ("eve", "mallory")]
        self.people = [folder / f"{name}.pub.json" for name in ("eve", "mallory", "oscar")]
        for name in ("eve", "mallory", "oscar"):
            keys.generate_key(folder, name)
        self.store = online_roles.published_repository(fleet.domain.slug)
        self.targets = self.store.targets().signed
        self.tuf = settings.FLEET_DIR / "tuf" / fleet.domain.slug

    def lists(self, bundle, role, base, version):
        """Put a bin in place that lists a bundle."""
        entry = documents.ListedBundle(bundle.target_path, canonical.dumps(bundle.manifest))
        document = documents.unsigned_bin(base, [entry], version, clock.now())
        self.sign(document)
        (self.tuf / f"{version}.{role}.json").write_bytes(documents.to_bytes(document))

    def sign(self, document):
        for path in self.signers:
            document.sign(keys.load_signer(path), append=True)

    def take_over(self, bundle, root):
        """Put a root of theirs in place, with targets and bins that list a bundle."""
        version = Metadata[Root].from_bytes(root).signed.version
        (self.tuf / f"{version}.root.json").write_bytes(root)
        self.list_all(bundle, root)

    def list_all(self, bundle, root):
        for role, one in json.loads(officer.first_targets(root, self.signers, 2)).items():
            document = Metadata[Targets].from_dict(one)
            document.signed.version = 50
            document.signatures.clear()
            self.sign(document)
            (self.tuf / f"50.{role}.json").write_bytes(documents.to_bytes(document))
            if role == bin_of(self.targets, bundle.target_path):
                self.lists(bundle, role, document.signed, 51)


def own_root(thieves, bundle):
    """A root after the true one, signed by the thieves alone."""
    present = (thieves.tuf / "1.root.json").read_bytes()
    thieves.take_over(bundle, officer.next_root(present, {}, thieves.signers, thieves.people))


def first_root(thieves, bundle):
    """Everything exchanged: another first root, and what follows from it."""
    online = signing.signer_client("admin").public_keys(thieves.fleet.domain.slug)
    for path in thieves.tuf.glob("*.json"):
        path.unlink()
    thieves.take_over(bundle, officer.signed_root(thieves.people, dict(online), thieves.signers))


def own_bin(thieves, bundle):
    """A bin that the thieves have signed."""
    role = bin_of(thieves.targets, bundle.target_path)
    thieves.lists(bundle, role, thieves.store.document(role).signed, 99)


def own_targets(thieves, bundle):
    """Targets that let the thieves sign the bins, signed by them."""
    online = signing.signer_client("admin").public_keys(thieves.fleet.domain.slug)
    thieves.list_all(bundle, officer.signed_root(thieves.people, dict(online), thieves.signers))


@pytest.mark.parametrize("act", [own_root, first_root, own_bin, own_targets], ids=lambda act: act.__name__)
@regression("R1", "roots, targets and lists that an attacker puts into the server's folder")
def test_stored_documents_that_officers_did_not_sign_release_nothing(fleet, tmp_path, act):
    released, evil = fleet.upload("2.0.0", 2), fleet.upload("6.6.6", 6)
    fleet.workshop.release(released)
    assert fleet.given(fleet.assign(released)) == EVERYTHING, "the process has seen the officers' documents"
    Assignment.objects.all().delete()
    act(Thieves(fleet, tmp_path / "thieves"), evil)
    assert fleet.given(fleet.assign(evil)) == set()


@pytest.mark.parametrize("seen", [True, False], ids=["seen by the process", "named by the snapshot"])
@regression("R1", "the file of a withdrawal is removed from the server's folder")
def test_a_withdrawal_is_not_undone_by_removing_its_file(fleet, seen):
    made = withdrawn(fleet)
    tuf = settings.FLEET_DIR / "tuf" / fleet.domain.slug
    role = bin_of(online_roles.published_repository(fleet.domain.slug).targets().signed, made.bundle.target_path)
    if seen:
        assert fleet.given(made) == set()
        for path in tuf.glob("*.snapshot.json"):
            path.unlink()
    newest = max(tuf.glob(f"*.{role}.json"), key=lambda path: int(path.name.split(".")[0]))
    newest.unlink()
    officers_view.cache_clear() if not seen else None
    assert fleet.given(made) == set()
    assert "was published. Restore that file." in signed.bundle_refusal(made.bundle, fleet.device).sentence


@regression("R1", "another validly signed SUIT envelope in the place of the one that was released")
def test_an_envelope_of_another_image_is_not_given(fleet):
    old, new = fleet.upload("1.0.0", 1), fleet.upload("2.0.0", 2)
    for one in (old, new):
        fleet.workshop.release(one)
    made = fleet.assign(new)
    tuf, hardware_class = settings.FLEET_DIR / "tuf" / fleet.domain.slug, fleet.device.hardware_model.class_id
    names = [f"{one.digest}.{hardware_class}.suit" for one in (old, new)]
    (tuf / names[1]).write_bytes((tuf / names[0]).read_bytes())
    assert fleet.given(made) == EVERYTHING - {"SUIT manifest"}
    assert fleet.ask("GET", f"/v1/metadata/{names[0]}").outcome.value == 404, "envelopes have no public name"


@regression("R1", "the stored bytes of a released image are exchanged on the server's disk")
def test_exchanged_bytes_are_given_by_no_protocol(fleet):
    bundle, evil = fleet.upload("2.0.0", 2), fleet.upload("6.6.6", 6)
    fleet.workshop.release(bundle)
    made = fleet.assign(bundle)
    assert fleet.given(made) == EVERYTHING
    path, other = (blobs.blob_store().path(one.image.sha256) for one in (bundle, evil))
    files = {name for name in EVERYTHING if "blob" in name or "image" in name or "artifact" in name}
    facts, whole = path.stat(), path.read_bytes()
    reply = fleet.ask("GET", f"/v1/blob/{bundle.image.sha256}")
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.raises(OSError, match="changed after its bytes were verified"):
        window.read_piece(reply.file, 0, 1024)
    assert fleet.given(made) == EVERYTHING - files
    path.write_bytes(whole)
    assert fleet.given(made) == EVERYTHING
