"""The lives, each for real: over TLS, through the gateway or the operator server, into the databases."""

import base64
import json
import time
from datetime import timedelta

from devices.services import drift, presence, telemetry
from fleet.gateway.poll_cache import PollCache
from ota.models import Bundle
from ota.services import commands
from pki.kernel import actor as actors
from pki.kernel import clock
from tests.architecture.lives.calls import name_of
from tests.architecture.lives.stage import EACH_SECOND, WRITTEN, calls
from tests.factories.devices import csr
from tests.factories.ground import person

#: FLEET_DRIFT_LEARN_TICKS, and one more than the ticks that are left open for late batches (in ticks of one second)
LEARNED, WHOLE_S = 20, 3
USUAL, WILD = 1000, 1e9
#: what gathers a contact, and a poll that the cache answers
SEEN, COUNTED = name_of(presence.note_request.__code__), name_of(PollCache.count.__code__)
#: on a busy machine a poll may take longer than the second between two writes
ATTEMPTS = 10


class Lives:
    """The lives, in an order in which each finds what it needs.

    Args:
        stage: the set-up, while its servers run.
    """

    def __init__(self, stage):
        self.stage, self.agent, self.rest = stage, stage.agent("dev-1"), stage.rest()

    def run(self):
        """Live."""
        self.enrolment()
        self.cached_poll()
        self.poll()
        uploaded = self.upload()
        self.rollout(uploaded)
        self.incident()

    def enrolment(self):
        """Enrol a device by a token, as any EST client does."""

        def enrol(name):
            request = base64.b64encode(csr(name)[0])
            basic = base64.b64encode(f"{name}:{self.stage.token(name)}".encode()).decode()

            def act():
                path = "/.well-known/est/simpleenroll"
                assert self.stage.post(path, request, {"Authorization": f"Basic {basic}"}) == 200

            return act

        self._undisturbed("An enrolment", SEEN, lambda attempt: enrol(f"enrolled-{attempt}"))
        self.agent.enrol()

    def cached_poll(self):
        """Poll while nothing is pending, as the first poll of a connection."""

        def poll(_attempt):
            self.agent.close()
            self.agent.report()
            self.stage.settle()
            return self.agent._poll

        self._undisturbed("A poll that the cache answers", COUNTED, poll)

    def poll(self):
        """Poll while a command is pending; then obey it."""
        by, device = person(self.stage.domain, "operator"), self.stage.device("dev-1")
        commands.queue_command(actor=by, device=device, kind="identify", reason="why")
        self.stage.settle()
        self._undisturbed("A poll with pending work", SEEN, lambda _attempt: self.agent._poll)
        assert self.agent._poll().command
        self.agent.step()

    def _undisturbed(self, name, gathered, prepare):
        """Live a life until its contact is written, and anew if the gateway wrote before the contact was gathered.

        Args:
            name: of the life.
            gathered: what gathers the contact.
            prepare: makes the next attempt ready and returns what sends its request.
        """
        for attempt in range(ATTEMPTS):
            act = prepare(attempt)
            with self.stage.life(name) as begun:
                act()
                calls.await_call(WRITTEN, begun)
            first = self.stage.lives[name]["first"]
            if first[EACH_SECOND] > first[gathered]:
                return
        raise AssertionError(name)

    def upload(self):
        """Upload firmware over the REST API."""
        image, manifest = self._image("1.0.0", 1)
        with self.stage.life("An upload"):
            return self.rest.upload("/bundles", manifest, {"app.bin": image})

    def rollout(self, uploaded):
        """Roll the firmware out to the device that has none."""
        release = self._release(uploaded)
        self.stage.work("metadata")
        with self.stage.life("A rollout"):
            made = self._roll_out("first", release)
            self.stage.work("rollouts")
            self.stage.work("rollouts")
        assert self.rest.get(f"/rollouts/{made}")["state"] == "finished"

    def incident(self):
        """Let the device behave strangely after its next update, be repaired, and come back."""
        image, manifest = self._image("2.0.0", 2)
        release = self._release(self.rest.upload("/bundles", manifest, {"app.bin": image}))
        made = self._roll_out("second", release, soak_s=3600)
        self._learn_baseline()
        with self.stage.life("An incident"):
            self.agent.telemetry({"bytes_out": WILD}, [("tcp", 4444, "wan")])
            time.sleep(WHOLE_S)
            self.stage.work("drift")
            assert self.stage.device("dev-1").quarantined
            self.stage.settle()
            self.agent.step()
            self.stage.work("heal")
        assert not self.stage.device("dev-1").quarantined
        assert self.rest.get(f"/rollouts/{made}")["state"] == "running"

    def _image(self, version, counter):
        """Return the file and the ``bundle.json`` of an image."""
        workshop = self.stage.workshop
        data = workshop.image(version, counter)
        manifest = json.dumps(workshop.manifest(data, version, counter)).encode()
        return workshop.folder / f"{version}.bin", manifest

    def _release(self, uploaded):
        return self.stage.workshop.release(Bundle.objects.get(public_id=uploaded["id"]))

    def _roll_out(self, name, release, **wave):
        """Create and start a rollout of one wave, open it, and let the device update itself; return its id."""
        asked = {"name": name, "release": str(release.public_id), "waves": [{"share": 1000, **wave}]}
        made = self.rest.post("/rollouts", {**asked, "target": "name = dev-1"})
        self.rest.post(f"/rollouts/{made['id']}/start")
        self.stage.work("rollouts")
        self.stage.settle()
        self.agent.step()
        return made["id"]

    def _learn_baseline(self):
        """Send and score what the device did until a moment ago; the last batch is wild already: one is no spike."""
        device = self.stage.device("dev-1")
        actor, many = actors.device_actor(device.domain.slug, device.key), LEARNED + 9
        start = clock.now() - timedelta(seconds=many + 1)
        for tick in range(many):
            sent = WILD if tick == many - 1 else USUAL + tick % 7
            body = {"seq": tick + 1, "metrics": {"bytes_out": sent}, "peers": [["tcp", 443, "lan"]]}
            with clock.frozen(start + timedelta(seconds=tick)):
                telemetry.ingest_batch(actor=actor, device=device, batch=telemetry.parse_batch(body))
                drift.score_ticks(domain=device.domain)
