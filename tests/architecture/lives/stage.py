"""What the lives need: a domain with its CA and its officers, a person's API token, devices, the worker's jobs."""

import http.client
import os
import ssl
from contextlib import contextmanager

from devices.models import Device
from devices.services import hardware, observed, presence, tokens
from fleet.agent.agent import Agent
from fleet.agent.state import Settings
from fleet.gateway.poll_cache_sync import Follower
from fleet.jobs.runner import Runner
from fleet.jobs.table import list_jobs
from fleet.management.quickstart.rest import Rest
from fleet.officer import authority
from fleet.operators.services import tokens as api_tokens
from pki import selectors
from pki.services import authorities, signing
from tests.architecture.lives.calls import Calls, name_of, now
from tests.factories.bundles import Workshop
from tests.factories.ground import system
from tests.factories.people import person_with

calls = Calls()
#: what the gateway does once a second, and the last thing that it then writes
EACH_SECOND, WRITTEN = name_of(presence.write_gathered.__code__), name_of(observed.add_samples.__code__)
#: how it follows what was committed, 50 times a second
FOLLOWED = name_of(Follower.look.__code__)
ROLES = ["admin", "operator", "release-officer", "security-officer"]


class Stage:
    """A set-up without its servers.

    Args:
        folder: for what is not in FLEET_DIR.
    """

    def __init__(self, folder):
        self.folder, self.lives = folder, {}
        self._jobs = {job.name: job for job in list_jobs()}
        self._runner = Runner()  # one, because it keeps the leases
        self.domain = selectors.list_domains()[0]
        self.by = system(self.domain)
        self.anchor = self._authority()
        self.model = hardware.register_model(actor=self.by, name="node", vendor="acme.example", flash_model=1, arena=1)
        self.workshop = Workshop(self.domain, self.model, folder)
        self.workshop.ceremony()
        (folder / "root.json").write_bytes(self.workshop.root)

    def _authority(self):
        """Install an issuing CA below an offline root; return the root's PEM file."""
        authority.make_root_ca(self.folder / "root-ca", "Test Root")
        anchor = self.folder / "root-ca" / "root-ca.pem"
        issued = authority.certify_issuing_ca(
            self.folder / "root-ca", authorities.issuing_csr(actor=self.by, name="Test Issuing CA")
        )
        authorities.install(actor=self.by, certificate=issued, root=anchor.read_bytes())
        signing.signer_client("admin").create_online_keys(self.domain.slug)
        return anchor

    def rest(self):
        """Return a client of the REST API."""
        person = person_with(self.domain, "anna", ROLES)
        _, secret = api_tokens.create(actor=self.by, operator=person, name="lives")
        return Rest(int(os.environ["FLEET_OPERATOR_PORT"]), self.anchor, secret)

    def token(self, name):
        """Return the secret of an enrolment token."""
        return tokens.create(actor=self.by, hardware_model=self.model, device_name=name)[1]

    def agent(self, name):
        """Return a device that is not enrolled yet."""
        server = f"https://localhost:{os.environ['FLEET_DEVICE_PORT']}"
        disk, root = self.folder / name, self.folder / "root.json"
        return Agent(Settings(disk, server, self.anchor, root, str(self.model.class_id), name, self.token(name)))

    def device(self, name):
        """Return a device as it is now."""
        return Device.objects.select_related("domain", "twin", "hardware_model").get(name=name)

    def post(self, path, body, headers):
        """Send one request to the device gateway; return the status."""
        context = ssl.create_default_context(cafile=self.anchor)
        port = int(os.environ["FLEET_DEVICE_PORT"])
        line = http.client.HTTPSConnection("localhost", port, timeout=60, context=context)
        try:
            line.request("POST", path, body, headers)
            return line.getresponse().status
        finally:
            line.close()

    def work(self, name):
        """Run a job of the worker once."""
        assert self._runner.once(self._jobs[name], self.domain)

    def settle(self):
        """Wait until the gateway has followed what was committed: it has begun to look, and ended before it looks anew."""
        for _ in range(2):
            calls.await_call(FOLLOWED, now())

    @contextmanager
    def life(self, name):
        """Note what is called in a life, which begins just after the gateway has written what it gathered."""
        for _ in range(2):  # the first one may still write what came before
            calls.await_call(EACH_SECOND, now())
        calls.forget()
        begun, first, last = now(), calls.first, calls.last
        yield begun
        calls.forget()
        self.lives[name] = {"begun": begun, "ended": now(), "first": first, "last": last}
