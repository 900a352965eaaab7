"""Run the devices of a plan, one thread per device, and maintain a status file."""

import hashlib
import json
import logging
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from fleet.agent.agent import Agent
from fleet.agent.errors import AgentError, AnswerError
from fleet.agent.slots import load_image
from fleet.agent.state import Settings
from fleet.simulator.behaviour import SimulatedBehaviour
from fleet.simulator.mirror import HostileMirror
from fleet.simulator.plan import DevicePlan, Plan
from pki.kernel import files

_logger = logging.getLogger("muster.simulator")
STATUS_SECONDS = 1.0


@dataclass(slots=True)
class Simulated:
    """One device at run time."""

    plan: DevicePlan
    agent: Agent
    behaviour: SimulatedBehaviour
    ticks: int = 0
    misbehaving: bool = False
    shut_out: bool = False
    errors: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def status(self) -> dict[str, object]:
        """Return the status of the device."""
        return {
            "enrolled": self.agent.enrolled,
            "components": {name: component["version"] for name, component in self.agent.components().items()},
            "refused": self.agent.state.get("refused_reason", ""),
            "misbehaving": self.misbehaving,
            "shut_out": self.shut_out,
            "errors": self.errors,
            "ticks": self.ticks,
        }


class Fleet:
    """All devices of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.stopped = threading.Event()
        self._mirror: HostileMirror | None = None
        self._ticks = self._earlier_ticks()
        self.devices = [self._device(number, device) for number, device in enumerate(plan.devices)]

    def run(self) -> None:
        """Run until ``stopped`` is set."""
        threads = [threading.Thread(target=self._live, args=(device,), daemon=True) for device in self.devices]
        for number, thread in enumerate(threads):
            thread.start()
            # Stagger the starts: real fleets do not power on at the same moment.
            self.stopped.wait(min(0.03, 10 / (number + 1)))
        while not self.stopped.wait(STATUS_SECONDS):
            self.write_status()
        for thread in threads:
            thread.join(timeout=5)
        self.write_status()
        if self._mirror:
            self._mirror.close()

    def write_status(self) -> None:
        """Write ``status.json``: the status of each device."""
        status = {device.plan.name: device.status() for device in self.devices}
        files.write_private(self.plan.folder / "status.json", json.dumps(status, sort_keys=True).encode())

    def _device(self, number: int, plan: DevicePlan) -> Simulated:
        seed = self.plan.seed * 100_003 + number
        settings = Settings(
            folder=files.private_folder(self.plan.folder / plan.name),
            server=self.plan.server,
            anchor=self.plan.anchor,
            tuf_root=self.plan.tuf_root,
            hw_class=plan.hw_class,
            name=plan.name,
            token=plan.token,
            mirror=self._mirror_address() if plan.mirror == "tampered" else plan.mirror,
        )
        agent = Agent(settings, seed)
        for component, image in plan.images.items():
            agent.provision(component, *load_image(Path(image)))
        randomness = random.Random(seed)  # noqa: S311  because a simulation must be repeatable
        return Simulated(plan, agent, SimulatedBehaviour(plan.hardware, randomness), self._ticks.get(plan.name, 0))

    def _earlier_ticks(self) -> dict[str, int]:
        """Return the number of reports of each device before this simulator restarted."""
        path = self.plan.folder / "status.json"
        if not path.exists():
            return {}
        return {name: int(figure.get("ticks", 0)) for name, figure in json.loads(path.read_text()).items()}

    def _live(self, device: Simulated) -> None:
        poll_at = tick_at = time.monotonic()
        while not self.stopped.is_set():
            now = time.monotonic()
            if now >= poll_at:
                poll_at = now + self._poll(device)
            if now >= tick_at and device.agent.enrolled:
                tick_at = max(tick_at + self.plan.telemetry_s, now)
                self._tick(device)
            self.stopped.wait(max(0.01, min(poll_at, tick_at if device.agent.enrolled else poll_at) - time.monotonic()))

    def _poll(self, device: Simulated) -> float:
        try:
            return min(device.agent.step(), self.plan.poll_s * 2)
        except AgentError:
            device.errors += 1
            _logger.exception("the step of a device failed", extra={"device": device.plan.name})
            return self.plan.poll_s

    def _tick(self, device: Simulated) -> None:
        device.ticks += 1
        device.misbehaving = self._faulty(device)
        metrics = device.behaviour.metrics(misbehaving=device.misbehaving)
        try:
            device.agent.telemetry(metrics, device.behaviour.peers(misbehaving=device.misbehaving))
            device.shut_out = False
        except AnswerError as error:
            device.shut_out = error.status == 403  # noqa: PLR2004  because that is what quarantine looks like
        except AgentError:
            device.errors += 1

    def _faulty(self, device: Simulated) -> bool:
        fault = self.plan.fault
        if fault is None or device.plan.name != fault.device or device.ticks < fault.after_ticks:
            return False
        running = device.agent.slots(fault.component).running
        return running is not None and running.version == fault.when_version

    def _mirror_address(self) -> str:
        if self._mirror is None:
            self._mirror = HostileMirror(self._attackers_copy)
        return self._mirror.address

    def _attackers_copy(self, digest: str) -> bytes | None:
        """Return the attacker's copy of an image if its digest is the requested one."""
        data = (self.plan.folder / "attackers-copy.bin").read_bytes()
        return data if hashlib.sha256(data).hexdigest() == digest else None
