"""What a device believes of a configuration that officers signed: exactly the fields that it knows, and no more."""

import hashlib
import json

import pytest

from fleet.agent import config
from fleet.agent.errors import RefusedError
from fleet.agent.slots import SlotImage, Slots
from fleet.agent.state import Settings
from fleet.officer import authority
from tests.regressions import regression

DEVICE = "0190b5a0-0000-7000-8000-000000000001"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return authority.make_root_ca(tmp_path_factory.mktemp("root"), "Root").read_text()


@pytest.fixture
def document(root):
    return {"schema": 1, "version": "1.0.0", "anchors": [root]}


def written(document):
    return json.dumps(document).encode()


@pytest.fixture
def kept(document, tmp_path):
    """A device whose officers moved it to another address."""
    (tmp_path / "factory.pem").write_text("the root of the factory")
    settings = Settings(tmp_path, "https://factory.example:1", tmp_path / "factory.pem", tmp_path, "hw", "dev")
    data = written(document | {"server": "https://moved.example:1"})
    pair = Slots(tmp_path / "slots" / config.COMPONENT)
    pair.provision(data, SlotImage("1.0.0", hashlib.sha256(data).hexdigest(), 1))
    return settings, pair


def in_place(pair, data):
    pair.image.write_bytes(data)


def by_link(pair, data):
    other = pair.image.with_name("other")
    other.write_bytes(data)
    pair.image.unlink()
    pair.image.symlink_to(other)


def removed(pair, _data):
    pair.image.unlink()


@regression("R4", "a kept configuration whose bytes change on the disk: other roots, another address, an erasure")
@pytest.mark.parametrize("change", [in_place, by_link, removed])
def test_a_changed_configuration_is_not_used_and_the_factorys_is(kept, document, tmp_path, change):
    settings, pair = kept
    assert config.effective_settings(settings).server == "https://moved.example:1"
    assert config.trusted_file(settings).read_text() == document["anchors"][0]
    thief = authority.make_root_ca(tmp_path / "thief", "Thief").read_text()
    change(pair, written(document | {"anchors": [thief], "server": "https://thief.example:1", "wipe": [DEVICE]}))
    assert config.read_configuration(settings) is None
    assert config.effective_settings(settings) == settings
    assert config.trusted_file(settings) == settings.anchor


def test_a_changed_configuration_is_reported_once_and_again_after_it_was_whole(kept):
    settings, pair = kept
    watch, whole = config.Watch(settings), pair.image.read_bytes()
    assert watch.trouble() == ""
    for _ in range(2):
        pair.image.write_bytes(b"{}")
        assert "the kept configuration is not usable; the device uses its factory settings" in watch.trouble()
        assert watch.trouble() == ""
        pair.image.write_bytes(whole)
        assert watch.trouble() == ""


@regression("R4", "the file of trusted roots exchanged for another one or a link")
def test_the_file_of_roots_is_written_anew_when_it_is_not_what_the_configuration_says(kept, document, tmp_path):
    settings, _ = kept
    path = config.trusted_file(settings)
    path.unlink()
    (tmp_path / "same").write_text(document["anchors"][0])
    for changed in (lambda: path.write_text("thief"), lambda: (path.unlink(), path.symlink_to(tmp_path / "same"))):
        changed()
        assert config.trusted_file(settings).read_text() == document["anchors"][0]
        assert not path.is_symlink()


def test_a_plain_configuration_is_believed(document, root):
    assert config.configured_anchors(written(document)) == root
    assert config.configured_anchors(written(document | {"wipe": [DEVICE]})) == root


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one | {"server": "https://evil.example"},
        lambda one: {name: one[name] for name in ("schema", "anchors")},
        lambda one: one | {"time_sources": "time.example"},
        lambda one: one | {"policy_keys": ["short"]},
        lambda one: one | {"secrets": {"wifi": 7}},
        lambda one: one | {"schema": 2},
        lambda one: one | {"schema": "1"},
        lambda one: one | {"anchors": []},
        lambda one: one | {"anchors": one["anchors"] * 2},
        lambda one: one | {"anchors": one["anchors"] * 9},
        lambda one: one | {"anchors": one["anchors"][0]},
        lambda one: one | {"anchors": [one["anchors"][0] + "\n"]},
        lambda one: one | {"anchors": [7]},
        lambda one: [one],
        lambda _one: 7,
        lambda _one: None,
    ],
)
def test_whatever_a_device_does_not_know_exactly_is_refused(document, change):
    with pytest.raises(RefusedError, match="self-test"):
        config.configured_anchors(written(change(document)))


def test_what_officers_set_is_written_for_the_rest_of_the_device(document, tmp_path):
    """Only what has confirmed itself counts, and a later configuration that sets nothing takes it away."""
    settings = Settings(tmp_path, "https://x.example:1", tmp_path, tmp_path, "hw", "dev")
    told = {"time_sources": ["time.example"], "policy_keys": ["ab" * 32], "secrets": {"wifi": "c2VhbGVk"}}
    pair = Slots(tmp_path / "slots" / config.COMPONENT)

    def comes(data):
        pair.inactive.write_bytes(data)
        pair.swap(SlotImage("1.0.0", hashlib.sha256(data).hexdigest(), 1))
        config.publish_settings(settings, pair.read_kept())
        return json.loads((tmp_path / config.KEPT).read_text()) if (tmp_path / config.KEPT).exists() else None

    assert comes(written(document | told)) is None
    pair.confirm()
    assert comes(written(document)) == told
    assert (tmp_path / config.KEPT).stat().st_mode & 0o077 == 0
    pair.confirm()
    assert comes(written(document)) == {}


def test_a_device_erases_itself_only_where_it_is_listed(document):
    assert config.orders_wipe(written(document | {"wipe": [DEVICE]}), DEVICE)
    for other in (
        document,
        document | {"wipe": []},
        document | {"wipe": [DEVICE[:-1] + "2"]},
        document | {"wipe": f"all but {DEVICE}"},
        document | {"wipe": {DEVICE: True}},
        document | {"wipe": [DEVICE], "schema": 2},
        [DEVICE],
        7,
    ):
        assert not config.orders_wipe(written(other), DEVICE)
    assert not config.orders_wipe(b"{", DEVICE)
