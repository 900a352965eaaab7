"""Data of which an installation has few: hardware models, bundles, rollouts, people, and one of each smaller kind."""

import hashlib
import io
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

from django.contrib.auth.hashers import make_password

from devices.incident_documents import Explanation, MetricEvidence
from devices.models import EnrolmentRequest, HardwareModel, PreRegistration, VendorAnchor
from devices.proofs.claim import Shown
from devices.services import enrolment, groups, hardware
from devices.services import tokens as enrolment_tokens
from fleet.management.benches import trust_inner
from fleet.management.benches.ground import certificate_request
from fleet.operators import totp
from fleet.operators.models import Grant, Operator
from fleet.operators.services import factors
from ota import blobs
from ota.models import Bundle, BundleFile, Release, Rollout, TrustKey, Wave
from ota.services import releases
from pki.kernel import actor as actors
from pki.kernel import canonical, clock
from pki.kernel.actor import Role
from pki.models import Authority, Certificate, TrustDomain
from pki.x509 import parse_csr

MODELS, VERSIONS, SOME = 5, 7, 60
#: the device whose certificate (issued by the signer) is the template for synthetic ones
FIRST = "growth-first"
PERSON, NEWCOMER, GROUP, QUERY_GROUP = "growth", "newcomer", "growth-listed", "growth-matching"
#: cumulative shares of the waves of each rollout, in permille; the first wave is a single device
SHARES = (0, 50, 250, 1000)


@dataclass(frozen=True, slots=True)
class Update:
    """One rollout of the test data, with internal ids.

    Args:
        rollout: id of the rollout.
        waves: ids in order.
        bundle: the bundle that it installs.
        previous: the previous bundle of the devices.
        version: version of the bundle.
        running: whether it is still running.
    """

    rollout: int
    waves: tuple[int, ...]
    bundle: int
    previous: int
    version: str
    running: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """The data that devices are added to."""

    domain: TrustDomain
    models: tuple[int, ...]
    updates: tuple[Update, ...]
    certificate: Certificate


def load_scene(domain: TrustDomain) -> Scene:
    """Return the scene of a trust domain, created at the first call."""
    if not HardwareModel.objects.filter(domain=domain, name="growth-0").exists():
        _prepare(domain)
    models = HardwareModel.objects.filter(domain=domain, name__startswith="growth-").order_by("id")
    bundles = list(Bundle.objects.filter(domain=domain, name="growth-app").order_by("id"))
    updates = []
    for previous, bundle in pairwise(bundles):
        rollout = Rollout.objects.filter(domain=domain, release__bundle=bundle).first()
        if rollout is not None:
            waves = tuple(rollout.waves.order_by("index").values_list("pk", flat=True))
            running = rollout.state == Rollout.State.RUNNING
            updates.append(Update(rollout.pk, waves, bundle.pk, previous.pk, bundle.version, running))
    template = Certificate.objects.filter(domain=domain, profile="device").order_by("id")[0]
    return Scene(domain, tuple(models.values_list("pk", flat=True)), tuple(updates), template)


def _prepare(domain: TrustDomain) -> None:
    who = actors.system_actor(domain.slug, "bench")
    models = [
        hardware.register_model(
            actor=who, name=f"growth-{number}", vendor="bench.example", flash_model=1 << 20, arena=1 << 18
        )
        for number in range(MODELS)
    ]
    _enrol(domain, models[0])
    bundles = _bundles(domain, models)
    for number, bundle in enumerate(bundles[1:-1], 1):
        _roll_out(domain, bundle, running=number == len(bundles) - 2)
    releases.prepare_release(actor=who, bundle=bundles[-1])
    _sign_up(domain)
    _small_things(domain, models[0])


def _enrol(domain: TrustDomain, model: HardwareModel) -> None:
    who = actors.system_actor(domain.slug, "bench")
    _, token = enrolment_tokens.create(actor=who, hardware_model=model, device_name=FIRST)
    csr, _ = certificate_request(FIRST)
    enrolment.enrol(domain=domain, shown=Shown(token), csr=parse_csr(csr), via="est")


def _bundles(domain: TrustDomain, models: list[HardwareModel]) -> list[Bundle]:
    """Store bundles of one component; all but the last one are published, signed by two officers."""
    hardware_named = [
        {"vendor_id": str(model.vendor_id), "class_id": str(model.class_id), "name": model.name} for model in models
    ]
    bundles, listed = [], []
    for number in range(1, VERSIONS + 1):
        image = hashlib.sha512(str(number).encode()).digest() * 64
        digest, size = blobs.blob_store().put(io.BytesIO(image), 1 << 20)
        manifest = {"schema": 1, "id": "growth-app", "version": f"{number}.0.0", "kind": "firmware"}
        manifest |= {"format": "generic", "component": "app", "security_counter": number, "audience": ["production"]}
        manifest |= {"hw": hardware_named}
        manifest |= {"files": [{"path": "app.bin", "role": "image", "size": size, "sha256": digest}]}
        document = canonical.dumps(manifest)
        bundle = Bundle.objects.create(
            domain=domain, digest=hashlib.sha256(document).hexdigest(), name="growth-app", version=f"{number}.0.0",
            kind="firmware", format="generic", component="app", security_counter=number, audience=["production"],
            manifest=manifest, report={}, facts={}, uploaded_by_kind="system", uploaded_by_key="bench",
        )  # fmt: skip
        bundle.hardware_models.set(models)
        BundleFile.objects.create(
            bundle=bundle, path="app.bin", role="image", size=size, sha256=digest, sha1="0" * 40, md5="0" * 32
        )
        bundles.append(bundle)
        listed.append((bundle.target_path, document))
    with tempfile.TemporaryDirectory() as folder:
        trust_inner.publish_listed(Path(folder), listed[:-1])
    for bundle in bundles[:-1]:
        Release.objects.create(domain=domain, bundle=bundle, state="published", published_at=clock.now())
    return bundles


def _roll_out(domain: TrustDomain, bundle: Bundle, *, running: bool) -> None:
    """Create a rollout in four waves; devices get their assignments when they are created."""
    now = clock.now()
    began = now - timedelta(days=1 if running else 30 * (VERSIONS - int(bundle.version.split(".")[0])))
    rollout = Rollout.objects.create(
        domain=domain, name=f"growth-to-{bundle.version}", release=bundle.release, success_permille=900,
        state="running" if running else "finished", error_permille=100, created_by="bench", created_at=began,
        started_at=began, finished_at=None if running else began + timedelta(days=2),
    )  # fmt: skip
    for index, share in enumerate(SHARES):
        state = "open" if running and share == SHARES[-1] else "done"
        Wave.objects.create(
            rollout=rollout, index=index, label=f"{share / 10:g} %" if share else "1 device", count=int(not share),
            share=share, soak_s=3600, state=state, opened_at=began, checked_at=began,
            done_at=began if state == "done" else None,
        )  # fmt: skip


def _sign_up(domain: TrustDomain) -> None:
    """Add people with all roles and a finished set-up, and one person without set-up."""
    password, secret = make_password("correct horse battery staple bench"), factors.seal_secret(totp.new_secret())
    Operator.objects.create(domain=domain, username=NEWCOMER, password=make_password(None))
    for number in range(SOME):
        person = Operator.objects.create(
            domain=domain, username=f"{PERSON}_{number}", password=password, totp_secret=secret,
            totp_confirmed_at=clock.now(),
        )  # fmt: skip
        Grant.objects.bulk_create([Grant(operator=person, role=role.value) for role in Role])


def _small_things(domain: TrustDomain, model: HardwareModel) -> None:
    """Create some of everything that lists show and that does not grow with the fleet."""
    who = actors.system_actor(domain.slug, "bench")
    groups.create(actor=who, name=GROUP)
    groups.create(actor=who, name=QUERY_GROUP, query_text='site = "Hall 3" and state = active')
    der = bytes(Authority.objects.filter(domain=domain, kind="root")[0].der)
    VendorAnchor.objects.create(
        domain=domain, name="bench vendor", kind="idevid", der=der, fingerprint=hashlib.sha256(der).hexdigest()
    )
    TrustKey.objects.create(
        domain=domain, name="bench key", format="generic", pem="-", fingerprint=hashlib.sha256(b"key").hexdigest()
    )
    for number in range(SOME):
        enrolment_tokens.create(actor=who, hardware_model=model, device_name=f"expected-{number}")
        PreRegistration.objects.create(
            domain=domain, serial=f"serial-{number}", spki_sha256=_digest(f"key {number}"), hardware_model=model,
            device_name=f"expected-{number}", created_by="bench",
        )  # fmt: skip
        EnrolmentRequest.objects.create(
            domain=domain, caller=_digest(f"caller {number}"), spki_sha256=_digest(f"asked {number}"), proof="token",
            name=f"waiting-{number}", hardware_model=model, profile="device", why="The profile demands it.",
            expires_at=clock.now() + timedelta(days=7),
        )  # fmt: skip


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def incident_explanation(name: str) -> Explanation:
    """Return the explanation of an incident, in the format of ``devices.drift.explain``."""
    text = "Sending 374 packets/min (baseline 21.3)."
    metric: MetricEvidence = {
        "name": "packets_out", "unit": "1/tick", "trust": "self-reported", "observed": 374.0, "expected": 21.3,
        "own_z": 32.4, "cohort_z": 32.3, "channel": "spike", "share": 1.0,
    }  # fmt: skip
    return {
        "device": name, "layer": "corroborated", "score": 8.0, "theta": 5.26, "cohort": "growth-0|app=1", "text": text,
        "metrics": [metric], "novel": ["tcp:4444:wan"], "peers": [],
    }  # fmt: skip
