"""The main part of the demo: devices, rollouts, an attack and a fault."""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from fleet.management.quickstart.answers import IncidentRow, RolloutRow
from fleet.management.quickstart.ground import QuickstartSetUp
from fleet.management.quickstart.material import KINDS, MODEL_KINDS
from fleet.management.quickstart.processes import Processes
from fleet.management.quickstart.releasing import Published
from fleet.management.quickstart.rest import Rest
from fleet.management.quickstart.voice import Voice
from ota import planning
from ota.planning import WavePlan
from pki.kernel import files
from pki.kernel.errors import UnavailableError

FIRMWARE, MODEL = "firmware-1.2.4", "model-okay-nabu"
LEARN_TICKS = 60
#: batches that may share a tick with another: drift detection would learn a fault that starts before it has learned
MERGED_TICKS = 10
WAVES: list[dict[str, int]] = [{"count": 1, "soak_s": 2}, {"share": 250, "soak_s": 3}, {"share": 1000}]
#: longest time without progress, in seconds; a slow machine may take longer in total
PATIENCE = 150.0
LONGEST = 1800.0


@dataclass(frozen=True, slots=True)
class Cast:
    """The roles of devices: determined by the seed, known to the simulator only.

    Args:
        devices: name -> number of its hardware model.
        faulty: the device with a fault after its update.
        targeted: the device that receives the tampered image.
    """

    devices: dict[str, int]
    faulty: str
    targeted: str


def cast_roles(devices: int, seed: int) -> Cast:
    """Return the roles for a seed."""
    names = {f"{KINDS[n % len(KINDS)].name}-{n + 1:04}": n % len(KINDS) for n in range(devices)}
    # Both are in the last wave: if the only device of the first wave failed, the rollout would end at once.
    last = planning.assign_waves(FIRMWARE, sorted(names), [WavePlan(**wave) for wave in WAVES])[-1]
    faulty, targeted = random.Random(seed).sample(sorted(last), 2)  # noqa: S311  because the demo must be reproducible
    return Cast(names, faulty, targeted)


def enrol_fleet(
    rest: Rest, ground: QuickstartSetUp, processes: Processes, roles: Cast, seed: int, voice: Voice
) -> None:
    """Create tokens, write the simulator's plan, start it, wait until every device has enrolled."""
    folder = files.private_folder(ground.folder / "simulator")
    with voice.step(f"create {len(roles.devices)} one-time enrolment tokens", "curl … /api/v1/enrolment-tokens"):
        tokens = _tokens(rest, roles)
    plan = {
        "server": f"https://localhost:{ground.device_port}",
        "anchor": str(ground.anchor),
        "tuf_root": str(ground.tuf_root),
        "folder": str(folder),
        "seed": seed,
        "poll_s": 2,
        "telemetry_s": 1,
        "devices": [_device(ground, roles, name, number, tokens) for name, number in roles.devices.items()],
        "fault": {
            "device": roles.faulty,
            "after_ticks": LEARN_TICKS + MERGED_TICKS,
            "component": "app",
            "when_version": "1.2.4",
        },
    }
    image = (ground.folder / "material" / "app-1.2.4.bin").read_bytes()
    files.write_private(folder / "attackers-copy.bin", image)
    files.write_private(folder / "plan.json", json.dumps(plan, indent=1).encode())
    with voice.step(
        "enrol the devices with EST, then connect them with mTLS", f"python -m fleet.simulator {folder}/plan.json"
    ):
        processes.start("simulator", "-m", "fleet.simulator", str(folder / "plan.json"))
        _wait(processes, voice, lambda: _enrolled(rest, roles, voice), "some devices have not enrolled")


def roll_out(rest: Rest, name: str, release: Published, soak_s: int) -> str:
    """Create and start a rollout in waves of 1 device, 25% and 100%; return its id."""
    rows = rest.get(f"/rollouts?name={name}")["results"]
    if rows:
        rollout = rows[0]
    else:
        waves = [*WAVES[:-1], {**WAVES[-1], "soak_s": soak_s}]
        plan = {"name": name, "release": release.release, "waves": waves}
        rollout = rest.post("/rollouts", {**plan, "success_permille": 800, "error_permille": 100})
    if rollout["state"] == "draft":
        rest.post(f"/rollouts/{rollout['id']}/start")
    return str(rollout["id"])


def watch_rollout(rest: Rest, processes: Processes, rollout: str, voice: Voice) -> RolloutRow:
    """Follow a rollout to its end and report its events."""
    told: set[str] = set()

    def over() -> bool:
        facts: RolloutRow = rest.get(f"/rollouts/{rollout}")
        groups = facts["progress"]["groups"]
        ended = groups.get("finished", 0) + groups.get("failed", 0)
        voice.bar(facts["name"], ended, facts["progress"]["devices"])
        for line in _news(rest, facts):
            if line not in told:
                told.add(line)
                voice.note(line)
        return facts["state"] in {"finished", "aborted"}

    _wait(processes, voice, over, "the rollout did not finish")
    ended: RolloutRow = rest.get(f"/rollouts/{rollout}")
    return ended


def await_release(rest: Rest, processes: Processes, voice: Voice) -> None:
    """Wait until the rolled-back device is released: on a busy machine the incident opens only after the last wave."""
    told: set[str] = set()

    def over() -> bool:
        for incident in _newest(rest):
            reaction = incident["reaction"]
            if reaction.get("quarantined") and incident["device"] not in told:
                told.add(incident["device"])
                voice.note(f"{incident['device']} is quarantined and rolled back to its previous version")
            if reaction.get("released"):
                return True
        return False

    _wait(processes, voice, over, "no device was detected, rolled back and released")


def _newest(rest: Rest) -> list[IncidentRow]:
    rows: list[IncidentRow] = rest.get("/incidents?limit=5")["results"]
    return rows


def _news(rest: Rest, facts: RolloutRow) -> list[str]:
    lines = [
        f"{facts['name']}: wave {wave['wave']} is {wave['state']}"
        for wave in facts["progress"]["waves"]
        if wave["state"] != "waiting"
    ]
    if facts["state"] == "held":
        lines.append(f"{facts['name']} is held: {facts['hold_reason']}")
    lines += [
        f"{facts['name']}: {failure['devices']} failed: {failure['cause']}" for failure in facts["progress"]["failures"]
    ]
    for incident in _newest(rest):
        lines.append(f"incident on {incident['device']} ({incident['layer']}): {incident['explanation']['text'][:160]}")
        if incident["reaction"].get("quarantined"):
            lines.append(f"{incident['device']} is quarantined and rolled back to its previous version")
        if incident["reaction"].get("released"):
            lines.append(f"{incident['device']} runs its previous version and is released")
    return lines


def _tokens(rest: Rest, roles: Cast) -> dict[str, str]:
    """Create the missing tokens; enrolled devices need none."""
    there = {row["name"] for row in rest.all("/devices?limit=500") if row["enrolled_at"]}
    tokens: dict[str, str] = {}
    for number, kind in enumerate(KINDS):
        names = [name for name, own in roles.devices.items() if own == number and name not in there]
        if names:
            answer = rest.post("/enrolment-tokens", {"hardware": kind.name, "devices": names})
            tokens |= {row["device"]: row["secret"] for row in answer["results"]}
    return tokens


def _device(ground: QuickstartSetUp, roles: Cast, name: str, number: int, tokens: dict[str, str]) -> dict[str, object]:
    return {
        "name": name,
        "token": tokens.get(name, ""),
        "hardware": KINDS[number].name,
        "hw_class": KINDS[number].hardware()["class_id"],
        "images": {"app": str(ground.folder / "material" / "app-1.1.0.bin")},
        "mirror": "tampered" if name == roles.targeted else "",
    }


def _enrolled(rest: Rest, roles: Cast, voice: Voice) -> bool:
    rows = [row for row in rest.all("/devices?limit=500") if row["name"] in roles.devices]
    ready = sum(1 for row in rows if row["reported"].get("components"))
    voice.bar("devices enrolled", ready, len(roles.devices))
    return ready == len(roles.devices)


def _wait(processes: Processes, voice: Voice, over: Callable[[], bool], trouble: str) -> None:
    """Wait until ``over`` returns true; fail if nothing new has happened for ``PATIENCE`` seconds."""
    began = voice.progressed = time.monotonic()
    while voice.idle_seconds() < PATIENCE and time.monotonic() - began < LONGEST:
        if over():
            return
        processes.check()
        time.sleep(0.5)
    msg = f"No progress for {PATIENCE:.0f} s: {trouble}. See the logs in {processes.folder}/log."
    raise UnavailableError(msg)


def model_fits(number: int) -> bool:
    """Return whether the model is compatible with a hardware model, by its number."""
    return KINDS[number] in MODEL_KINDS
