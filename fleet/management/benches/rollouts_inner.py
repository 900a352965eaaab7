"""``python -m fleet.management.benches.rollouts_inner ACT …``: the parts of the rollouts' bench; prints JSON."""

import hashlib
import json
import logging
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from devices.models import HardwareModel
    from devices.services.enrolment import Enrolled
    from ota.models import Rollout, Wave
    from pki.models import TrustDomain

_T = TypeVar("_T")
STEP, PEOPLE, PATIENCE_S = 1000, 150, 1800
PASSWORD = "correct horse battery staple bench"  # noqa: S105  because it belongs to people of a benchmark
#: pause of a client between two actions
REST_S = {"sign-in": 0.5, "enrol": 0.2, "report": 0.1}


class RollFigures(TypedDict):
    """Measurements of a rollout.

    Args:
        wave: devices in the second wave.
        left: assignments still open after the end.
        placed: total assignments.
        devices: requested devices.
        call_s: the longest call by a person, in seconds.
        create_s: from the call to the draft, in seconds.
        open_s: from the call to the open wave, in seconds.
        abort_s: from the call to the end, in seconds.
    """

    wave: int
    left: int
    placed: int
    devices: int
    call_s: float
    create_s: float
    open_s: float
    abort_s: float


class WorkerFigures(TypedDict):
    """Milliseconds of each transaction by the clock and by the processor, lost locks, most memory in MB."""

    commits: list[float]
    processor: list[float]
    locked: int
    memory_mb: float


class ClientFigures(TypedDict):
    """Actions of a client: times, durations in milliseconds, and failures."""

    kind: str
    took: list[tuple[float, float]]
    failures: list[str]


def main() -> None:
    """Set Django up on FLEET_DIR and run one action."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
    import django  # noqa: PLC0415  because settings must be chosen before Django is loaded

    django.setup()
    sys.stdout.write(json.dumps(ACTS[sys.argv[1]](*sys.argv[2:])) + "\n")


def seed_fleet(many: str) -> int:
    """Create devices with twins, people who can sign in, and a release signed by two officers."""
    from django.db import transaction  # noqa: PLC0415  because of the set-up above

    from devices.models import Device, HardwareModel, Twin  # noqa: PLC0415  because of the set-up above
    from pki.models import prepared_sql  # noqa: PLC0415  because of the set-up above

    model = HardwareModel.objects.get(name="bench")
    parts = {"app": {"version": "1.0.0", "sha256": "ab" * 32, "counter": 1, "confirmed": True}}
    reported = {"components": parts, "protection": "full", "anchors": ["cd" * 32]}
    for start in range(0, int(many), STEP):
        names = [f"synthetic-{number:06}" for number in range(start, min(start + STEP, int(many)))]
        facts: list[tuple[object, ...]] = [(model.domain_id, name, model.pk, "active", []) for name in names]
        with transaction.atomic():
            prepared_sql.create_many(Device, ("domain_id", "name", "hardware_model_id", "state", "tags"), facts)
            devices = Device.objects.filter(name__in=names).values_list("pk", flat=True)
            prepared_sql.create_many(Twin, ("device_id", "reported"), [(key, reported) for key in devices])
    _people(model.domain)
    publish_release(model)
    return int(many)


def _people(domain: "TrustDomain") -> None:
    from django.contrib.auth.hashers import make_password  # noqa: PLC0415  because of the set-up above

    from fleet.operators import totp  # noqa: PLC0415  because of the set-up above
    from fleet.operators.models import Operator  # noqa: PLC0415  because of the set-up above
    from fleet.operators.services import factors  # noqa: PLC0415  because of the set-up above
    from pki.kernel import clock  # noqa: PLC0415  because of the set-up above

    password, secret = make_password(PASSWORD), factors.seal_secret(totp.new_secret())
    for number in range(PEOPLE):
        Operator.objects.create(
            domain=domain, username=f"bench-{number}", password=password, totp_secret=secret,
            totp_confirmed_at=clock.now(),
        )  # fmt: skip


def publish_release(model: "HardwareModel") -> None:
    """Have two officers sign a bundle; the bench measures the rollout, not the upload."""
    from fleet.management.benches import trust_inner  # noqa: PLC0415  because of the set-up above
    from ota.models import Bundle, BundleFile, Release  # noqa: PLC0415  because of the set-up above
    from pki.kernel import canonical, clock  # noqa: PLC0415  because of the set-up above

    hardware = [{"vendor_id": str(model.vendor_id), "class_id": str(model.class_id), "name": model.name}]
    manifest = {"schema": 1, "id": "app", "version": "2.0.0", "kind": "firmware", "format": "generic"}
    manifest |= {"component": "app", "security_counter": 2, "audience": ["production"], "hw": hardware}
    manifest["files"] = [{"path": "app.bin", "role": "image", "size": 1, "sha256": "ef" * 32}]
    document = canonical.dumps(manifest)
    bundle = Bundle.objects.create(
        domain=model.domain, digest=hashlib.sha256(document).hexdigest(), name="app", version="2.0.0", kind="firmware",
        format="generic", component="app", security_counter=2, audience=["production"], manifest=manifest, report={},
        facts={}, uploaded_by_kind="system", uploaded_by_key="bench",
    )  # fmt: skip
    bundle.hardware_models.add(model)
    BundleFile.objects.create(bundle=bundle, path="app.bin", role="image", size=1, sha256="ef" * 32, sha1="", md5="")
    with tempfile.TemporaryDirectory() as folder:
        trust_inner.publish_one(Path(folder), bundle.target_path, document)
    Release.objects.create(domain=model.domain, bundle=bundle, state=Release.State.PUBLISHED, published_at=clock.now())


def run_rollout(many: str) -> RollFigures:
    """Create, start and abort a rollout like a person; wait for the worker in between."""
    from ota.models import Assignment, Release  # noqa: PLC0415  because of the set-up above
    from ota.planning import Thresholds, WavePlan  # noqa: PLC0415  because of the set-up above
    from ota.services import rollouts  # noqa: PLC0415  because of the set-up above
    from pki.kernel import actor as actors  # noqa: PLC0415  because of the set-up above

    who, release = actors.system_actor("default", "bench"), Release.objects.get()
    plan = {"name": "bench", "release": release, "thresholds": Thresholds(1, 1000)}
    waves = [WavePlan(count=max(1, int(many) * 1225 // 10_000)), WavePlan(share=1000)]
    calls: list[float] = []

    def call(act: Callable[..., _T], **given: object) -> _T:
        began = time.monotonic()
        answer = act(actor=who, **given)
        calls.append(time.monotonic() - began)
        return answer

    began = time.monotonic()
    rollout = call(rollouts.create, waves=waves, **plan)
    create_s = _until(lambda: _state(rollout) == "draft", began)
    first, second = rollout.waves.all()
    call(rollouts.start, rollout=rollout)
    _until(lambda: _state(first) == "open")
    _finish(first)
    _until(lambda: _state(second) != "waiting")
    open_s = _until(lambda: _state(second) == "open")
    offered = Assignment.objects.filter(wave=second, status="scheduled").count()
    began = time.monotonic()
    call(rollouts.abort, rollout=rollout)
    abort_s = _until(lambda: _state(rollout) == "aborted", began)
    rows = Assignment.objects.filter(rollout=rollout)
    left, placed = rows.filter(closed_at=None).count(), rows.count()
    return {"wave": offered, "left": left, "placed": placed, "devices": int(many), "call_s": max(calls),
            "create_s": create_s, "open_s": open_s, "abort_s": abort_s}  # fmt: skip


def _state(row: "Rollout | Wave") -> str:
    return str(type(row).objects.values_list("state", flat=True).get(pk=row.pk))


def _finish(wave: "Wave") -> None:
    """Report a successful installation for all devices of a wave, without the devices."""
    from ota.models import Assignment  # noqa: PLC0415  because of the set-up above
    from pki.kernel import clock  # noqa: PLC0415  because of the set-up above

    keys = list(Assignment.objects.filter(wave=wave).values_list("pk", flat=True))
    for start in range(0, len(keys), STEP):
        rows = Assignment.objects.filter(pk__in=keys[start : start + STEP])
        rows.update(status="finished", closed_at=clock.now())
        time.sleep(0.02)


def _until(done: Callable[[], bool], began: float | None = None) -> float:
    """Wait for a condition; return the elapsed seconds."""
    start = time.monotonic() if began is None else began
    while not done():
        if time.monotonic() > start + PATIENCE_S:
            msg = "the worker does not finish"
            raise RuntimeError(msg)
        time.sleep(0.05)
    return time.monotonic() - start


class _Heard(logging.Handler):
    """Record the durations of a rollout's transactions, and the failures because of database locks."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[float] = []
        self.processor: list[float] = []
        self.locked = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Handle one log record."""
        if hasattr(record, "ms") and hasattr(record, "cpu_ms"):
            self.commits.append(record.ms)
            self.processor.append(record.cpu_ms)
        said = str(record.exc_info[1]) if record.exc_info else ""
        self.locked += "locked" in said or "deadlock" in said
        if said:
            sys.stderr.write(f"{record.name}: {record.getMessage()}: {said}\n")  # benchmarks report all errors


def run_worker(go_on: str) -> WorkerFigures:
    """Run all periodic jobs like ``manage.py work``."""
    from fleet.jobs.runner import Runner  # noqa: PLC0415  because of the set-up above

    heard, runner = _Heard(), Runner()
    logging.getLogger("ota.services.rollout_steps").setLevel(logging.DEBUG)
    for name in ("ota.services.rollout_steps", "muster.jobs"):
        logging.getLogger(name).addHandler(heard)
        logging.getLogger(name).propagate = False
    thread = threading.Thread(target=runner.run)
    thread.start()
    _say_ready()
    while Path(go_on).exists():
        time.sleep(0.1)
    runner.stopped.set()
    thread.join()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"commits": heard.commits, "processor": heard.processor, "locked": heard.locked, "memory_mb": memory}


def run_client(kind: str, client: str, go_on: str) -> ClientFigures:
    """Repeat one kind of action until the file is deleted; return times and durations in milliseconds."""
    act = {"sign-in": _sign_in, "enrol": _enrol, "report": _report}[kind](int(client))
    act()
    _say_ready()
    took: list[tuple[float, float]] = []
    failures: list[str] = []
    while Path(go_on).exists():
        at, began = time.time(), time.monotonic()
        try:
            act()
        except Exception as error:  # noqa: BLE001  because every error of a client counts
            failures.append(f"{type(error).__name__}: {error}"[:200])
        took.append((at, (time.monotonic() - began) * 1000))
        time.sleep(REST_S[kind])
    return {"kind": kind, "took": took, "failures": failures}


def _say_ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def _sign_in(client: int) -> Callable[[], None]:
    """Return a function that signs the next person in; no person repeats within the lifetime of a code."""
    from fleet.operators import totp  # noqa: PLC0415  because of the set-up above
    from fleet.operators.models import Operator  # noqa: PLC0415  because of the set-up above
    from fleet.operators.services import factors, people  # noqa: PLC0415  because of the set-up above
    from pki.kernel import clock  # noqa: PLC0415  because of the set-up above

    secret = factors.open_secret(Operator.objects.get(username="bench-0").totp_secret)
    names = [f"bench-{number}" for number in range(PEOPLE) if number % 2 == client % 2]
    turn = [0]

    def act() -> None:
        turn[0] += 1
        code = totp.totp_code(secret, clock.unix() // 30)
        name, address = names[turn[0] % len(names)], f"10.{client}.{turn[0] // 250}.{turn[0] % 250}"
        people.sign_in(username=name, password=PASSWORD, code=code, address=address)

    return act


def _enrol(client: int) -> "Callable[[], tuple[Enrolled, EllipticCurvePrivateKey]]":
    """Return a function that enrols the next device with a new token."""
    from devices.models import HardwareModel  # noqa: PLC0415  because of the set-up above
    from devices.proofs.claim import Shown  # noqa: PLC0415  because of the set-up above
    from devices.services import enrolment, tokens  # noqa: PLC0415  because of the set-up above
    from fleet.management.benches.ground import certificate_request  # noqa: PLC0415  because of the set-up above
    from pki.kernel import actor as actors  # noqa: PLC0415  because of the set-up above
    from pki.models import TrustDomain  # noqa: PLC0415  because of the set-up above
    from pki.x509 import parse_csr  # noqa: PLC0415  because of the set-up above

    domain, model = TrustDomain.objects.get(slug="default"), HardwareModel.objects.get(name="bench")
    who, names = actors.system_actor("default", "bench"), count()

    def act() -> "tuple[Enrolled, EllipticCurvePrivateKey]":
        name = f"bench-{client}-{next(names)}"
        _, token = tokens.create(actor=who, hardware_model=model, device_name=name)
        csr, key = certificate_request(name)
        done = enrolment.enrol(domain=domain, shown=Shown(token), csr=parse_csr(csr), via="est")
        return done, key

    return act


def _report(client: int) -> Callable[[], None]:
    """Return a function that sends the next signed report of one device."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415  because of the set-up above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415  because of the set-up above

    from devices.models import Device  # noqa: PLC0415  because of the set-up above
    from ota.services import reports  # noqa: PLC0415  because of the set-up above
    from pki.kernel import actor as actors  # noqa: PLC0415  because of the set-up above
    from pki.kernel import cbor  # noqa: PLC0415  because of the set-up above

    done, key = _enrol(client)()
    certificate, sequence = bytes(done.certificate.der), [0]
    who = actors.device_actor("default", done.device.key)

    def act() -> None:
        sequence[0] += 1
        part = {"version": "1.0.0", "sha256": "ab" * 32, "counter": 1, "confirmed": True}
        body = {"device": done.device.key, "sequence": sequence[0], "components": {"app": part}}
        payload = cbor.dumps(body)
        signature = key.sign(payload, ec.ECDSA(hashes.SHA256()))
        device = Device.objects.select_related("twin", "domain", "hardware_model").get(pk=done.device.pk)
        reports.receive_report(actor=who, device=device, payload=payload, signature=signature, certificate=certificate)

    return act


ACTS: dict[str, Callable[..., object]] = {
    "seed": seed_fleet,
    "roll": run_rollout,
    "worker": run_worker,
    "client": run_client,
}

if __name__ == "__main__":
    main()
