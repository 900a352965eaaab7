"""The agent: enrol, poll, verify, install, test, confirm, report. ``step`` drives it and never sleeps."""

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
from fleet.agent.agreement import SignedAssignment
from fleet.agent.coap import CoapTransport
from fleet.agent.commands import CommandRunner, Ring
from fleet.agent.connections import ServerConnection, ServerConnections
from fleet.agent.errors import AnswerError, RefusedError, TakenBackError, TransportError
from fleet.agent.installing import Installer
from fleet.agent.key import FileKey
from fleet.agent.polls import Said
from fleet.agent.slots import SlotImage, Slots
from fleet.agent.state import Settings, StateFile
from fleet.agent.tpm import TpmKey
from fleet.agent.trust import Trust
from ota.contract import composite
from pki.kernel import clock

CBOR = {"Content-Type": "application/cbor"}
LEAST_WAIT, MOST_WAIT = 1.0, 300.0
#: least pause between two polls, whatever the server offers
NEWS_PAUSE = 0.2
#: interval of metadata checks without an offer
LOOK_EACH_S = 3600
MOST_LOG = 30 * 1024
#: the log of all devices in this process; a real device has a process of its own
RING = Ring()
(_logger := logging.getLogger("muster.agent")).addHandler(RING)


class Agent:
    """One device.

    Args:
        settings: its factory settings.
        seed: seed of its jitter.
    """

    def __init__(self, settings: Settings, seed: int = 0) -> None:
        self.settings = settings
        self.state = StateFile(settings.folder)
        self._key = TpmKey(settings.folder, settings.tpm) if settings.tpm else FileKey(settings.folder)
        self._chain = settings.folder / "chain.pem"
        self._random = random.Random(seed)  # noqa: S311  because jitter is no secret
        self._failures, self._report_due, self._followed = 0, False, False
        self.restart_wanted = False
        acts = {
            "reboot": self._restart,
            "identify": self._identify,
            "collect-log": lambda: self.send_log("command"),
            "run-self-test": self._self_test,
            "re-attest": self._attest,
        }
        self._commands = CommandRunner(self.state, acts)
        self._last_batch = 0
        self.erased = False
        self._connections = ServerConnections(settings, lambda: self._identity)
        self._config_watch = config.Watch(settings)
        self._installer = Installer(settings.folder / "slots", self._bring, self._test)

    @property
    def enrolled(self) -> bool:
        """Return whether the device has a certificate."""
        return self._chain.exists()

    @property
    def public_id(self) -> str:
        """Return the device's public id from its certificate."""
        return est.certificate_uris(self._chain)[0].rsplit(":", 1)[1]

    def slots(self, component: str) -> Slots:
        """Return the slots of a component."""
        return self._installer.slots(component)

    def components(self) -> dict[str, dict[str, object]]:
        """Return the installed components in the form of a report."""
        images = self._installer.running()
        return {name: image.report(confirmed=self.slots(name).confirmed) for name, image in images.items()}

    def anchors(self) -> list[str]:
        """Return the SHA-256 of each root certificate that this device trusts, in hex."""
        roots = x509.load_pem_x509_certificates(config.trusted_file(self.settings).read_bytes())
        return sorted(root.fingerprint(hashes.SHA256()).hex() for root in roots)

    def enrol(self) -> None:
        """Get the first certificate if there is none, and report the installed components."""
        if self.enrolled:
            return
        transport = self._connections.for_enrolment()
        try:
            est.enrol_first(transport, self._holder, self.settings.token)
        finally:
            transport.close()
        self.report()

    def renew(self) -> None:
        """Renew the certificate."""
        self._connections.drop()
        connection = self._connections.authenticated()
        try:
            if isinstance(connection, CoapTransport):
                est.renew_over_coap(connection, self._holder)
            else:
                est.renew_certificate(connection, self._holder)
        finally:
            connection.close()

    def step(self) -> float:
        """Poll once and handle what the server offers. Return the seconds to wait before the next step.

        Connection errors lengthen the wait, with jitter. They never stop the agent.
        """
        try:
            self._recover()
            if self.erased:
                return MOST_WAIT
            self._connections.try_factory_address(self._failures)
            self.enrol()
            self._act(said := self._poll())
            self._failures = 0
            return self._wait(said.pause)
        except (TransportError, AnswerError, RefusedError) as error:
            self._failures += 1
            _logger.info("the server does not answer: %s", error, extra={"device": self.settings.name})
            return self._wait(min(LEAST_WAIT * 2**self._failures, MOST_WAIT))
        except Exception as error:
            # A full disk or a compromised server must not stop the agent.
            self._failures += 1
            _logger.exception("cannot process an answer", extra={"device": self.settings.name, "cause": str(error)})
            return self._wait(MOST_WAIT)

    def _act(self, said: Said) -> None:
        """Handle what the server offers. At an address that officers did not choose, verify the server first."""
        if self._connections.at_factory_address:
            self._verify_server(self._server())
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
        elif self._report_due:
            self.report()
            self._report_due = False
        self.look()

    def rest(self, seconds: float, stopped: threading.Event) -> None:
        """Wait for the next step. Over CoAP, observe the poll, so that offers arrive at once."""
        until = time.monotonic() + seconds
        try:
            server = self._server() if self.enrolled and not self.erased and self._connections.over_coap else None
            if isinstance(server, CoapTransport) and server.await_change("/v1/poll", seconds, stopped.is_set):
                until = min(until, time.monotonic() + NEWS_PAUSE)
        except Exception as error:  # noqa: BLE001  because the next step meets the same error and logs it
            _logger.info("cannot observe the poll resource: %s", error, extra={"device": self.settings.name})
        stopped.wait(max(0.0, until - time.monotonic()))

    def _poll(self) -> Said:
        return polls.read_poll_answer(self._server().call("GET", "/v1/poll").body)

    def update(self, action: int) -> None:
        """Follow an offer: verify first, write the inactive slot, test, keep or roll back, report."""
        self._recover()
        if self.erased or self.state.get("refused_action") == action:
            self._tell_refusal()
            return
        assignment: SignedAssignment | None = None
        try:
            assignment = Trust(self.settings, self.state, self._server()).assignment(self.public_id, self._counters())
            if assignment is None:
                return
            action = assignment.action
            self._install(assignment)
        except RefusedError as error:
            _logger.warning("refused", extra={"device": self.settings.name, "cause": str(error)})
            self._refuse(action, "refused", str(error))

    def _refuse(self, action: int, state: str, reason: str) -> None:
        """Never retry an action. Report its failure until the server acknowledges it."""
        self.state.put(refused_action=action, refused_reason=reason, refused_state=state, refused_told=False)
        self._tell_refusal()

    def _tell_refusal(self) -> None:
        if not self.erased and not self.state.get("refused_told", True):
            said = (self.state.get(name) for name in ("refused_action", "refused_state", "refused_reason"))
            self.report(*said)
            self.state.put(refused_told=True)

    def obey(self) -> None:
        """Execute the commands that the director signed, each once, and send the results."""
        try:
            waiting = Trust(self.settings, self.state, self._server()).commands(self.public_id)
        except RefusedError as error:
            _logger.warning("commands refused", extra={"device": self.settings.name, "cause": str(error)})
            return
        for command in waiting:
            state, result = self._commands.obey(command)
            body = cbor2.dumps({"state": state, "result": result})
            try:
                self._server().call("POST", f"/v1/command/{command['id']}", body, CBOR)
            except AnswerError as error:  # it was canceled or has expired meanwhile
                _logger.info("the result was rejected", extra={"device": self.settings.name, "cause": str(error)})

    def sync(self) -> None:
        """Fetch the desired configuration, keep it, and report it."""
        twin.sync_configuration(self._server(), self.state, self.settings.name)

    def look(self) -> None:
        """Check the signed metadata once an hour even without an offer, and report metadata that is not trusted.

        This is how a device learns of withdrawals and floors, and detects that newer metadata is withheld from it.
        """
        if self.erased or clock.unix() < self.state.get("looked_at", 0) + LOOK_EACH_S:
            return
        try:
            Trust(self.settings, self.state, self._server()).check(self.public_id)
        except RefusedError as error:
            _logger.warning("metadata refused", extra={"device": self.settings.name, "cause": str(error)})
            self.report(state="refused", reason=str(error))
        self.state.put(looked_at=clock.unix())

    def send_log(self, reason: str) -> str:
        """Send the end of this device's log. Return the result of the command."""
        self._server().call("POST", "/v1/log", cbor2.dumps({"reason": reason, "text": RING.text(MOST_LOG)}), CBOR)
        return "sent"

    def report(self, action: int | None = None, state: str = "", reason: str = "") -> None:
        """Send a report, signed by the device's key."""
        runs = {"device": self.public_id, "components": self.components(), "anchors": self.anchors()}
        data = cbor2.dumps(reports.report_payload(self.state, runs, action, state, reason))
        body = cbor2.dumps({"payload": data, "signature": self._key.sign(data)})
        if token := forks.read_fork_token(self._server().call("POST", "/v1/report", body, CBOR).body):
            self.state.put(fork=token)

    def telemetry(self, metrics: dict[str, float], peers: list[tuple[str, int, str]]) -> None:
        """Send one batch of metrics.

        Raises:
            AnswerError: the server refused it, for example while the device is quarantined.
        """
        batch = {"seq": self._batch(), "metrics": metrics, "peers": [list(peer) for peer in peers]}
        self._server().call("POST", "/v1/telemetry", cbor2.dumps(batch), CBOR)

    def provision(self, component: str, data: bytes, image: SlotImage) -> None:
        """Install a factory image if the component has none."""
        self.slots(component).provision(data, image)

    def close(self) -> None:
        """Drop the connections."""
        self._connections.close()

    def _install(self, assignment: SignedAssignment) -> None:
        agreement.check_requirements(self._installer.running(), {assignment.component: assignment.counter})
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
            self._connections.use_configured()  # the next connection trusts the anchors of the new configuration
        try:
            self.report(assignment.action, "confirmed")
        finally:
            self._followed = False
            self._recover()

    def _follow(self) -> None:
        """Apply the other settings of the kept configuration. Repeat it at every start, because power may fail."""
        config.publish_settings(self.settings, kept := config.read_configuration(self.settings))
        if kept is not None and self.enrolled and config.orders_wipe(kept, self.public_id):
            self.wipe()

    def _recover(self) -> None:
        """Roll back unconfirmed images before any request."""
        if self.erased:
            return
        if wiping.wipe_begun(self.settings.folder):
            self.wipe()
            return
        self._report_due |= self._installer.recover()
        if not self._followed:
            self._follow()
            self._followed = True

    def _bring(self, assignment: SignedAssignment, pair: Slots) -> SlotImage:
        image, patched = downloads.fill_slot(assignment, self._connections.mirror, self._server(), pair)
        # Kept: it is reported with the end of the action, perhaps after a restart.
        self.state.put(patched=patched and {**patched, "action": assignment.action})
        return image

    def _parts(self, whole: SignedAssignment, data: bytes) -> list[SignedAssignment]:
        parts = Trust(self.settings, self.state, self._server()).parts(data, whole.action, self._counters())
        coming = {part.component: part.counter for part in parts}
        agreement.check_requirements(self._installer.running(), {**coming, whole.component: whole.counter})
        return parts

    def _counters(self) -> dict[str, int]:
        return {name: image.counter for name, image in self._installer.running().items()}

    def _send_log_after_failure(self) -> None:
        with suppress(AnswerError):  # the server rejected it
            self.send_log("failure")

    def wipe(self) -> None:
        """Erase keys, images and state permanently, as ordered by two officers."""
        _logger.warning("erased by a signed configuration", extra={"device": self.settings.name})
        self.close()
        wiping.erase_folder(self.settings.folder)
        self.erased = True

    def _test(self, component: str) -> int:
        """Test the current image. Return the arena bytes of a model, or 0 if nothing was measured."""
        pair = self.slots(component)
        if component == config.COMPONENT:
            config.try_configuration(self.settings, pair.read_running(), self._identity, self._verify_server)
            return 0
        if component == composite.COMPONENT:
            installing.check_parts(pair.read_running())
            return 0
        selftest.check_image(component, pair.read_running())
        return trial.check_vectors(pair)

    def _verify_server(self, connection: ServerConnection) -> None:
        Trust(self.settings, self.state, connection).check(self.public_id)

    def _restart(self) -> str:
        """Ask the supervisor to restart this agent."""
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
        """Hash the running images instead of repeating stored digests, and report them, signed by the device's key."""
        measured = self._installer.measured()
        try:
            self.report()
        except (TransportError, AnswerError) as error:  # the result of the command says the same
            _logger.info("the report could not be sent", extra={"device": self.settings.name, "cause": str(error)})
        return ", ".join(f"{name} {digest}" for name, digest in measured.items())

    def _batch(self) -> int:
        """Return an increasing number without a disk write for each batch."""
        self._last_batch = max(self._last_batch + 1, int(clock.now().timestamp() * 1000))
        return self._last_batch

    @property
    def _identity(self) -> tuple[Path, Path]:
        return self._chain, self._key.path

    @property
    def _holder(self) -> est.Holder:
        return est.Holder(self._key, self.settings.name, self._chain, config.trusted_file(self.settings))

    def _server(self) -> ServerConnection:
        return self._connections.regular()

    def _wait(self, seconds: float) -> float:
        return max(0.2, seconds * self._random.uniform(0.8, 1.2))
