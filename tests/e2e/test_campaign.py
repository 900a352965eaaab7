"""An anchor campaign over the wire: devices trust a new root because officers signed it, and for no other reason."""

import contextlib
import dataclasses
import hashlib
import http.server
import json
import socketserver
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from fleet.agent import config
from fleet.agent.coap import CoapTransport
from fleet.agent.connections import SILENT
from fleet.agent.errors import RefusedError
from fleet.officer import authority
from pki.kernel.errors import DomainError
from tests.factories.story import eventually, identity
from tests.peers.operator import Operator
from tests.peers.pki import self_signed

pytestmark = pytest.mark.xdist_group("story")
BOARD = "campaign-node"


def fingerprint(path):
    return x509.load_pem_x509_certificate(path.read_bytes()).fingerprint(hashes.SHA256()).hex()


@pytest.fixture(scope="module")
def new_root(tmp_path_factory):
    return authority.make_root_ca(tmp_path_factory.mktemp("new") / "root-ca", "A New Root")


class Campaign:
    """One device, and a configuration written by the command and changed as a test wants it."""

    def __init__(self, story, folder, name):
        self.story, self.folder = story, folder
        self.operator = Operator(story, folder)
        self.model = self.operator.board(BOARD)
        self.agent = story.agent(name, folder / "device", BOARD)
        story.manage("ca", "campaign", "--out", folder / "paper")
        self.manifest = json.loads((folder / "paper" / "bundle.json").read_text())
        self.config = json.loads((folder / "paper" / "config.json").read_text())

    def upload(self, anchors, counter, **orders):
        """Upload a configuration with these roots for this board only."""
        version = f"{counter}.0.0"
        pems = [one.read_text() for one in anchors]
        data = json.dumps({"schema": 1, "version": version, "anchors": pems, **orders}).encode()
        (self.folder / "config.json").write_bytes(data)
        file = {"path": "config.json", "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "role": "image"}
        hardware = [{name: self.model[name] for name in ("vendor_id", "class_id", "name")}]
        facts = {"version": version, "security_counter": counter, "hw": hardware, "files": [file]}
        manifest = {**self.manifest, "id": "campaign-test", **facts}
        return self.operator.rest.upload(
            "/bundles", json.dumps(manifest).encode(), {"config.json": self.folder / "config.json"}
        )

    def roll_out(self, bundle, ends="finished"):
        rollout = self.operator.roll_out(self.operator.release(bundle))
        # The listener hears of an offer a moment after the database: the device asks until it has followed it.
        eventually(lambda: self.agent.step() and self.operator.progress(rollout)["groups"].get(ends), 60)
        return rollout


def test_the_command_writes_what_brings_every_root_to_every_hardware_model(story, tmp_path):
    campaign = Campaign(story, tmp_path, "campaign-signed")
    assert campaign.manifest["kind"] == campaign.manifest["component"] == "config"
    assert len(campaign.manifest["hw"]) >= 4
    assert story.anchor.read_text().strip() in {pem.strip() for pem in campaign.config["anchors"]}


def test_a_device_trusts_a_new_root_after_two_officers_have_signed_it(story, new_root, tmp_path):
    campaign = Campaign(story, tmp_path, "campaign-device")
    agent, both = campaign.agent, sorted([fingerprint(story.anchor), fingerprint(new_root)])
    assert agent.anchors() == [fingerprint(story.anchor)]
    rollout = campaign.roll_out(campaign.upload([story.anchor, new_root], 1))
    assert agent.anchors() == both
    assert campaign.operator.progress(rollout)["groups"].get("finished") == 1
    # The server knows it, and the device still talks to it.
    key = story.device("campaign-device")["id"]
    assert story.rest.get(f"/devices/{key}")["reported"]["anchors"] == both
    agent.renew()
    assert agent.anchors() == both


def test_time_sources_and_policy_keys_come_by_officers_alone(story, tmp_path):
    campaign = Campaign(story, tmp_path, "campaign-orders")
    told = {"time_sources": ["time.example"], "policy_keys": ["ab" * 32]}
    campaign.roll_out(campaign.upload([story.anchor], 5, **told))
    assert json.loads((campaign.agent.settings.folder / config.KEPT).read_text()) == told
    campaign.roll_out(campaign.upload([story.anchor], 6, time_sources=[], policy_keys=[]))
    assert json.loads((campaign.agent.settings.folder / config.KEPT).read_text()) == {
        "time_sources": [],
        "policy_keys": [],
    }


def test_a_configuration_under_which_the_server_is_a_stranger_is_taken_back(story, new_root, tmp_path):
    campaign = Campaign(story, tmp_path, "campaign-lost")
    data = json.dumps({"schema": 1, "version": "9.0.0", "anchors": [new_root.read_text()]}).encode()
    with pytest.raises(RefusedError, match="not trusted under the new trust anchors"):
        config.try_configuration(campaign.agent.settings, data, identity(campaign.agent), campaign.agent._verify_server)
    with pytest.raises(DomainError, match="no longer trust this server"):
        campaign.upload([new_root], 9)
    assert campaign.agent.anchors() == [fingerprint(story.anchor)]


def test_a_device_keeps_its_anchors_whatever_cacerts_says(story, tmp_path):
    campaign = Campaign(story, tmp_path, "campaign-cacerts")
    before = config.trusted_file(campaign.agent.settings).read_bytes()
    campaign.agent.renew()  # reads cacerts
    assert config.trusted_file(campaign.agent.settings).read_bytes() == before


def test_an_order_of_the_officers_erases_one_device_and_no_other(story, tmp_path):
    campaign = Campaign(story, tmp_path, "campaign-erased")
    key, disk = campaign.agent.public_id, campaign.agent.settings.folder
    other = story.agent("campaign-kept", tmp_path / "other", BOARD)
    campaign.roll_out(campaign.upload([story.anchor], 30, wipe=[key]))
    assert campaign.agent.erased
    assert list(disk.iterdir()) == []
    other.step()
    assert not other.erased
    assert other.enrolled
    story.rest.post(f"/devices/{key}/decommission", {"name": "campaign-erased"})
    assert story.rest.get(f"/devices/{key}")["state"] == "retired"


def address_of(story, scheme="https", host="127.0.0.1"):
    port = story.settings["FLEET_COAP_PORT"] if scheme == "coaps" else story.device_port
    return f"{scheme}://{host}:{port}"


def test_a_device_moves_to_another_address_when_it_is_served_there(story, tmp_path):
    campaign = Campaign(story, tmp_path, "campaign-moves")
    agent, before = campaign.agent, config.effective_settings(campaign.agent.settings).server
    for counter, there in ((60, address_of(story)), (61, address_of(story, "coaps", "localhost")), (62, before)):
        campaign.roll_out(campaign.upload([story.anchor], counter, server=there))
        assert config.effective_settings(agent.settings).server == there
        assert isinstance(agent._server(), CoapTransport) == there.startswith("coaps")
        assert agent.components()["config"]["confirmed"]
    # Whoever forgets the address later is asked; the empty one sends devices back to where the factory did.
    with pytest.raises(DomainError, match="The current configuration sends devices to"):
        campaign.upload([story.anchor], 63)
    story.manage("ca", "campaign", "--out", tmp_path / "later")
    assert json.loads((tmp_path / "later" / "config.json").read_text())["server"] == before
    campaign.roll_out(campaign.upload([story.anchor], 64, server=""))
    assert config.effective_settings(agent.settings) == agent.settings
    assert campaign.operator.rest.get(f"/devices/{agent.public_id}")["name"] == "campaign-moves"


def keep_by_hand(agent, document):
    """Make a device keep a configuration as if officers had signed it and it had passed its test."""
    pair, data = agent.slots(config.COMPONENT), json.dumps(document).encode()
    pair.inactive.write_bytes(data)
    pair.swap(dataclasses.replace(pair.running, sha256=hashlib.sha256(data).hexdigest()))
    pair.confirm()
    agent._connections.drop()


def test_a_device_whose_new_address_goes_silent_comes_back_by_the_factorys(story, tmp_path, monkeypatch):
    campaign = Campaign(story, tmp_path, "campaign-silent")
    agent, there = campaign.agent, address_of(story)
    campaign.roll_out(campaign.upload([story.anchor], 68, server=there))
    # The address that officers chose dies: here a configuration with another one is kept by hand.
    document = json.loads(agent.slots(config.COMPONENT).read_running())
    keep_by_hand(agent, {**document, "server": "https://127.0.0.1:1"})
    for _ in range(SILENT):
        agent.step()
    assert agent._failures == SILENT
    agent.step()
    assert (agent._failures, agent._connections.at_factory_address) == (0, True)
    agent.renew()  # or else its certificate would end there
    agent.step()
    assert agent._failures == 0
    # Nobody but our server is believed there, and after an hour it looks again where officers sent it.
    monkeypatch.setattr(agent, "_verify_server", lambda *_: (_ for _ in ()).throw(RefusedError("a stranger")))
    agent.step()
    assert agent._failures == 1
    monkeypatch.undo()
    agent._connections._until = 0
    agent.step()
    assert not agent._connections.at_factory_address
    assert agent._failures == 2
    keep_by_hand(agent, {**document, "server": there})
    agent.step()
    assert agent._failures == 0


@pytest.mark.parametrize("where", ["nobody", "another server", "a stranger"])
def test_a_device_stays_where_it_is_when_the_new_address_is_not_its_servers(story, tmp_path, where):
    campaign = Campaign(story, tmp_path, f"campaign-stays-{where.split()[-1]}")
    agent, before = campaign.agent, config.effective_settings(campaign.agent.settings).server
    counter = {"nobody": 70, "another server": 71, "a stranger": 72}[where]
    with contextlib.ExitStack() as stack:
        if where == "nobody":
            there = "https://127.0.0.1:1"
        elif where == "another server":  # believed by its certificate, but it is no device gateway
            there = f"https://localhost:{story.settings['FLEET_OPERATOR_PORT']}"
        else:
            there = stack.enter_context(stranger(tmp_path))
        rollout = campaign.roll_out(campaign.upload([story.anchor], counter, server=there), ends="failed")
    assert config.effective_settings(agent.settings).server == before
    assert agent._server().call("GET", "/v1/poll").status == 200
    assert "not trusted" in agent.state.get("refused_reason") or "not serve" in agent.state.get("refused_reason")
    assert campaign.operator.progress(rollout)["groups"].get("failed") == 1


@contextlib.contextmanager
def stranger(folder):
    """A server at an address of its own, with a certificate of its own making."""
    chain, key = self_signed(folder, "stranger")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
