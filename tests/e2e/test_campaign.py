"""An anchor campaign over the wire: devices trust a new root because officers signed it, and for no other reason."""

import hashlib
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from fleet.agent import config
from fleet.agent.errors import RefusedError
from fleet.officer import authority
from pki.kernel.errors import DomainError
from tests.factories.story import eventually, identity
from tests.peers.operator import Operator

pytestmark = pytest.mark.xdist_group("story")
BOARD = "campaign-node"


def fingerprint(path):
    return x509.load_pem_x509_certificate(path.read_bytes()).fingerprint(hashes.SHA256()).hex()


@pytest.fixture(scope="module")
def new_root(tmp_path_factory):
    return authority.make_root(tmp_path_factory.mktemp("new") / "root-ca", "A New Root")


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

    def roll_out(self, bundle):
        rollout = self.operator.roll_out(self.operator.release(bundle))
        # The door hears of an offer a moment after the database: the device asks until it has followed it.
        eventually(lambda: self.agent.step() and self.operator.progress(rollout)["groups"].get("finished"), 60)
        return rollout


def test_the_command_writes_what_brings_every_root_to_every_hardware_model(story, tmp_path):
    campaign = Campaign(story, tmp_path, "campaign-paper")
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


def test_a_configuration_under_which_the_server_is_a_stranger_is_taken_back(story, new_root, tmp_path):
    campaign = Campaign(story, tmp_path, "campaign-lost")
    data = json.dumps({"schema": 1, "version": "9.0.0", "anchors": [new_root.read_text()]}).encode()
    with pytest.raises(RefusedError, match="not to be believed"):
        config.check(campaign.agent.settings, data, identity(campaign.agent))
    with pytest.raises(DomainError, match="never believe this server again"):
        campaign.upload([new_root], 9)
    assert campaign.agent.anchors() == [fingerprint(story.anchor)]


def test_a_device_keeps_its_anchors_whatever_cacerts_says(story, tmp_path):
    campaign = Campaign(story, tmp_path, "campaign-cacerts")
    before = config.trusted(campaign.agent.settings).read_bytes()
    campaign.agent.renew()  # reads cacerts
    assert config.trusted(campaign.agent.settings).read_bytes() == before


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
