"""The agent: enrol, poll, verify, install, test, confirm, report; driven by ``step``, it never waits."""

import logging
import random
import threading
import time
from contextlib import suppress
from pathlib import Path

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from fleet.agent import (
    agreement,
    config,
    downloads,
    est,
    forks,
    installing,
    polls,
    reports,
    selftest,
    trial,
    twin,
    wiping,
)
from fleet.agent.agreement import Assignment
from fleet.agent.coap import CoapTransport
from fleet.agent.commands import Commands, Ring
from fleet.agent.errors import AnswerError, RefusedError, TakenBackError, TransportError
from fleet.agent.installing import Installer
from fleet.agent.key import FileKey
from fleet.agent.lines import Line, Lines
from fleet.agent.polls import Said
from fleet.agent.slots import Image, Slots
from fleet.agent.state import Settings, State
from fleet.agent.tpm import TpmKey
from fleet.agent.trust import Trust
from ota.contract import composite
from pki.kernel import clock

CBOR = {"Content-Type": "application/cbor"}
LEAST_WAIT, MOST_WAIT = 1.0, 300.0
#: however much news a server has, a device does not ask in a tight loop
NEWS_PAUSE = 0.2
#: what is signed is looked at so often, though nothing waits
LOOK_EACH_S = 3600
MOST_LOG = 30 * 1024
#: the log of all devices of this process; a real device is alone in it
RING = Ring()
(_logger := logging.getLogger("muster.agent")).addHandler(RING)


class Agent:
    """One device.

    Args:
        settings: what it got at the factory.
        seed: of its jitter.
    """

    def __init__(self, settings: Settings, seed: int = 0) -> None:
        self.settings = settings
        self.state = State(settings.folder)
        self._key = TpmKey(settings.folder, settings.tpm) if settings.tpm else FileKey(settings.folder)
        self._chain = settings.folder / "chain.pem"
        self._random = random.Random(seed)  # noqa: S311  because jitter is no secret
        self._failures, self._untold, self._followed = 0, False, False
        self.restart_wanted = False
        acts = {
            "reboot": self._restart,
            "identify": self._identify,
            "collect-log": lambda: self.send_log("command"),
            "run-self-test": self._self_test,
            "re-attest": self._attest,
        }
        self._commands = Commands(self.state, acts)
        self._last_batch = 0
        self.erased = False
        self._lines = Lines(settings, lambda: self._identity)
        self._config_watch = config.Watch(settings)
        self._installer = Installer(settings.folder / "slots", self._bring, self._test)

    @property
    def enrolled(self) -> bool:
        """Say whether the device has a certificate."""
        return self._chain.exists()

    @property
    def public_id(self) -> str:
        """Return the device's public id, as its certificate says it."""
        return est.identity(self._chain)[0].rsplit(":", 1)[1]

    def slots(self, component: str) -> Slots:
        """Return the slots of a component."""
        return self._installer.slots(component)

    def components(self) -> dict[str, dict[str, object]]:
        """Return what runs, as a report says it."""
        found = self._installer.running()
        return {name: image.report(confirmed=self.slots(name).confirmed) for name, image in found.items()}

    def anchors(self) -> list[str]:
        """Return the SHA-256 of each root certificate that this device trusts, in hex."""
        roots = x509.load_pem_x509_certificates(config.trusted(self.settings).read_bytes())
        return sorted(root.fingerprint(hashes.SHA256()).hex() for root in roots)

    def enrol(self) -> None:
        """Get the first certificate, if there is none, and report what runs."""
        if self.enrolled:
            return
        transport = self._lines.first()
        try:
            est.enrol(transport, self._holder, self.settings.token)
        finally:
            transport.close()
        self.report()

    def renew(self) -> None:
        """Get a new certificate with the present one."""
        self._lines.drop()
        line = self._lines.shown()
        try:
            if isinstance(line, CoapTransport):
                est.renew_over_coap(line, self._holder)
            else:
                est.renew(line, self._holder)
        finally:
            line.close()

    def step(self) -> float:
        """Poll once and do what is offered; return the seconds to wait before the next step.

        Trouble with the line makes the waits longer, each with jitter; it never ends the agent.
        """
        try:
            self._recover()
            if self.erased:
                return MOST_WAIT
            self._lines.silent(self._failures)
            self.enrol()
            self._act(said := self._poll())
            self._failures = 0
            return self._wait(said.pause)
        except (TransportError, AnswerError, RefusedError) as error:
            self._failures += 1
            _logger.info("no answer: %s", error, extra={"device": self.settings.name})
            return self._wait(min(LEAST_WAIT * 2**self._failures, MOST_WAIT))
        except Exception as error:
            # Whatever a disk that is full or a server in wrong hands makes of its answers, the agent goes on.
            self._failures += 1
            _logger.exception("an answer broke a rule", extra={"device": self.settings.name, "cause": str(error)})
            return self._wait(MOST_WAIT)

    def _act(self, said: Said) -> None:
        """Do what the server has for this device; at another address than officers chose, ours has to be there."""
        if self._lines.astray:
            self._believes(self._line())
        if said.renew:
            self.renew()
        if said.command:
            self.obey()
        if said.twin:
            self.sync()
        if said.update is not None:
            self.update(said.update)
        elif trouble := self._installer.boot_trouble() or self._config_watch.trouble():
            self.report(state="refused", reason=trouble)
        elif self._untold:
            self.report()
            self._untold = False
        self.look()

    def rest(self, seconds: float, stopped: threading.Event) -> None:
        """Wait for the next step; over CoAP by observing the poll, so that what waits is heard of at once."""
        until = time.monotonic() + seconds
        try:
            line = self._line() if self.enrolled and not self.erased and self._lines.over_coap else None
            if isinstance(line, CoapTransport) and line.await_change("/v1/poll", seconds, stopped.is_set):
                until = min(until, time.monotonic() + NEWS_PAUSE)
        except Exception as error:  # noqa: BLE001  because the next step will meet it as well, and tell
            _logger.info("cannot observe: %s", error, extra={"device": self.settings.name})
        stopped.wait(max(0.0, until - time.monotonic()))

    def _poll(self) -> Said:
        return polls.read(self._line().call("GET", "/v1/poll").body)

    def update(self, action: int) -> None:
        """Follow an offer: verify first, write the inactive slot, test, keep or roll back, report."""
        self._recover()
        if self.erased or self.state.get("refused_action") == action:
            self._tell_refusal()
            return
        assignment: Assignment | None = None
        try:
            assignment = Trust(self.settings, self.state, self._line()).assignment(self.public_id, self._counters())
            if assignment is None:
                return
            action = assignment.action
            self._install(assignment)
        except RefusedError as error:
            _logger.warning("refused", extra={"device": self.settings.name, "cause": str(error)})
            self._refuse(action, "refused", str(error))

    def _refuse(self, action: int, state: str, reason: str) -> None:
        """Never try an action again, and tell so until the server has heard it."""
        self.state.put(refused_action=action, refused_reason=reason, refused_state=state, refused_told=False)
        self._tell_refusal()

    def _tell_refusal(self) -> None:
        if not self.erased and not self.state.get("refused_told", True):
            said = (self.state.get(name) for name in ("refused_action", "refused_state", "refused_reason"))
            self.report(*said)
            self.state.put(refused_told=True)

    def obey(self) -> None:
        """Do what the director has signed, once each, and answer."""
        try:
            waiting = Trust(self.settings, self.state, self._line()).commands(self.public_id)
        except RefusedError as error:
            _logger.warning("commands refused", extra={"device": self.settings.name, "cause": str(error)})
            return
        for command in waiting:
            state, result = self._commands.obey(command)
            body = cbor2.dumps({"state": state, "result": result})
            try:
                self._line().call("POST", f"/v1/command/{command['id']}", body, CBOR)
            except AnswerError as error:  # it was canceled or is over meanwhile
                _logger.info("an answer was not wanted", extra={"device": self.settings.name, "cause": str(error)})

    def sync(self) -> None:
        """Fetch the configuration that this device shall have, keep it, and say which one it has."""
        twin.sync(self._line(), self.state, self.settings.name)

    def look(self) -> None:
        """Ask once in an hour what is signed, though nothing waits, and tell the server when it is not believed.

        So a device learns of withdrawals and floors, and notices when somebody hides newer metadata from it.
        """
        if self.erased or clock.unix() < self.state.get("looked_at", 0) + LOOK_EACH_S:
            return
        try:
            Trust(self.settings, self.state, self._line()).check(self.public_id)
        except RefusedError as error:
            _logger.warning("not believed", extra={"device": self.settings.name, "cause": str(error)})
            self.report(state="refused", reason=str(error))
        self.state.put(looked_at=clock.unix())

    def send_log(self, reason: str) -> str:
        """Send the end of this device's log; return what to answer."""
        self._line().call("POST", "/v1/log", cbor2.dumps({"reason": reason, "text": RING.text(MOST_LOG)}), CBOR)
        return "sent"

    def report(self, action: int | None = None, state: str = "", reason: str = "") -> None:
        """Send a report, signed by the device's key."""
        runs = {"device": self.public_id, "components": self.components(), "anchors": self.anchors()}
        data = cbor2.dumps(reports.payload(self.state, runs, action, state, reason))
        body = cbor2.dumps({"payload": data, "signature": self._key.sign(data)})
        if token := forks.token(self._line().call("POST", "/v1/report", body, CBOR).body):
            self.state.put(fork=token)

    def telemetry(self, metrics: dict[str, float], peers: list[tuple[str, int, str]]) -> None:
        """Send one batch of metrics.

        Raises:
            AnswerError: refused, such as while quarantined.
        """
        batch = {"seq": self._batch(), "metrics": metrics, "peers": [list(peer) for peer in peers]}
        self._line().call("POST", "/v1/telemetry", cbor2.dumps(batch), CBOR)

    def provision(self, component: str, data: bytes, image: Image) -> None:
        """Put a factory image in, if the component has none."""
        self.slots(component).provision(data, image)

    def close(self) -> None:
        """Drop the connections."""
        self._lines.close()

    def _install(self, assignment: Assignment) -> None:
        agreement.keeps(self._installer.running(), {assignment.component: assignment.counter})
        if not self._installer.has(assignment):
            self.report(assignment.action, "downloading")
        try:
            if assignment.component == composite.COMPONENT:
                self._installer.together(assignment, lambda data: self._parts(assignment, data))
            else:
                self._installer.one(assignment)
        except TakenBackError as error:
            self._refuse(assignment.action, "rolled-back", str(error))
            self._send_log_after_failure()
            return
        if assignment.component == config.COMPONENT:
            self._lines.moved()  # the next connection believes whom the new configuration names
        try:
            self.report(assignment.action, "confirmed")
        finally:
            self._followed = False
            self._recover()

    def _follow(self) -> None:
        """Do what the kept configuration says beside roots and address; at every start too, for power may fail."""
        config.publish(self.settings, kept := config.read(self.settings))
        if kept is not None and self.enrolled and config.wipes(kept, self.public_id):
            self.wipe()

    def _recover(self) -> None:
        """Take back what was never confirmed, before anybody is asked anything."""
        if self.erased:
            return
        if wiping.begun(self.settings.folder):
            self.wipe()
            return
        self._untold |= self._installer.recover()
        if not self._followed:
            self._follow()
            self._followed = True

    def _bring(self, assignment: Assignment, pair: Slots) -> Image:
        image, patched = downloads.bring(assignment, self._lines.mirror, self._line(), pair)
        # Kept: the word about it is said with the end of the action, perhaps after a restart.
        self.state.put(patched=patched and {**patched, "action": assignment.action})
        return image

    def _parts(self, whole: Assignment, data: bytes) -> list[Assignment]:
        parts = Trust(self.settings, self.state, self._line()).parts(data, whole.action, self._counters())
        coming = {one.component: one.counter for one in parts}
        agreement.keeps(self._installer.running(), {**coming, whole.component: whole.counter})
        return parts

    def _counters(self) -> dict[str, int]:
        return {name: image.counter for name, image in self._installer.running().items()}

    def _send_log_after_failure(self) -> None:
        with suppress(AnswerError):  # the server does not want it
            self.send_log("failure")

    def wipe(self) -> None:
        """Erase keys, images and state for good: two officers have signed that this device shall."""
        _logger.warning("erased by order", extra={"device": self.settings.name})
        self.close()
        wiping.erase(self.settings.folder)
        self.erased = True

    def _test(self, component: str) -> int:
        """Test what runs; return what a model took of the arena, 0 where nothing was measured."""
        pair = self.slots(component)
        if component == config.COMPONENT:
            config.check(self.settings, pair.read_running(), self._identity, self._believes)
            return 0
        if component == composite.COMPONENT:
            installing.check(pair.read_running())
            return 0
        selftest.check(component, pair.read_running())
        return trial.check(pair)

    def _believes(self, line: Line) -> None:
        Trust(self.settings, self.state, line).check(self.public_id)

    def _restart(self) -> str:
        """Ask whoever runs this agent to start it again."""
        self.restart_wanted = True
        return "restarting"

    def _identify(self) -> str:
        _logger.warning("identify", extra={"device": self.settings.name})
        return "shown in the log"

    def _self_test(self) -> str:
        for component in self.components():
            self._test(component)
        return "all components pass"

    def _attest(self) -> str:
        """Measure what runs, instead of repeating what was installed, and report it under the device's key."""
        found = self._installer.measured()
        try:
            self.report()
        except (TransportError, AnswerError) as error:  # the answer to the command says the same
            _logger.info("the report did not get through", extra={"device": self.settings.name, "cause": str(error)})
        return ", ".join(f"{name} {digest}" for name, digest in found.items())

    def _batch(self) -> int:
        """Return a number above all earlier ones without a write to the disk for each batch."""
        self._last_batch = max(self._last_batch + 1, int(clock.now().timestamp() * 1000))
        return self._last_batch

    @property
    def _identity(self) -> tuple[Path, Path]:
        return self._chain, self._key.path

    @property
    def _holder(self) -> est.Holder:
        return est.Holder(self._key, self.settings.name, self._chain, config.trusted(self.settings))

    def _line(self) -> Line:
        return self._lines.daily()

    def _wait(self, seconds: float) -> float:
        return max(0.2, seconds * self._random.uniform(0.8, 1.2))
