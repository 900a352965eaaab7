"""Configuration bundles: strict content, a way back, and roots that the officers see before they sign."""

import hashlib
import io
import json
import uuid
from datetime import timedelta

import pytest

from fleet.officer import authority
from ota.errors import ManifestError, RefusedBundleError
from ota.models import Bundle, Release
from ota.services import bundles, campaigns
from pki.kernel import clock
from pki.kernel.errors import ConflictError, DeniedError, InvalidError
from pki.models import Authority
from tests.factories.ground import person, system
from tests.regressions import regression

pytestmark = pytest.mark.django_db
DEVICE = "0190b5a0-0000-7000-8000-000000000001"


def upload(domain, made, config=None, **changes):
    data = made.config if config is None else json.dumps(config).encode()
    manifest = json.loads(made.manifest) | changes
    manifest["files"][0] |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    files = {"config.json": io.BytesIO(data)}
    return bundles.upload(actor=system(domain), manifest=json.dumps(manifest).encode(), files=files)


@pytest.fixture
def campaign(domain, hardware_model):
    return campaigns.write_anchors_bundle(actor=system(domain))


@pytest.fixture
def other_root(tmp_path):
    return authority.make_root_ca(tmp_path / "other", "Other").read_text()


def test_the_officers_see_which_roots_they_sign(published):
    made = campaigns.write_anchors_bundle(actor=system(published.domain))
    release = published.release(upload(published.domain, made))
    root = Authority.objects.get(domain=published.domain, kind="root")
    assert any(root.fingerprint in line for line in published.told(release.statement))
    following = json.loads(campaigns.write_anchors_bundle(actor=system(published.domain)).manifest)
    assert (following["version"], following["security_counter"]) == ("2.0.0", 2)


@regression("C9", "a configuration with the highest counter that was only uploaded, and one that was published")
def test_a_configuration_that_was_only_uploaded_takes_its_version_and_nothing_else(published):
    def following():
        made = json.loads(campaigns.write_anchors_bundle(actor=system(published.domain)).manifest)
        return made["version"], made["security_counter"]

    bundle = upload(published.domain, campaigns.write_anchors_bundle(actor=system(published.domain)))
    assert following() == ("2.0.0", 2)
    Bundle.objects.filter(pk=bundle.pk).update(security_counter=2**31 - 1, version="9.0.0")
    assert following() == ("1.0.0", 1)
    Release.objects.create(domain=bundle.domain, bundle=bundle, state="published", published_at=clock.now())
    with pytest.raises(ConflictError, match="no later one is possible"):
        following()


def test_the_officers_see_where_devices_move_and_a_later_configuration_does_not_forget_it(published):
    there = "https://fleet.example:8444"
    made = campaigns.write_anchors_bundle(actor=system(published.domain), server=there)
    release = published.release(upload(published.domain, made))
    assert any(f"MOVE to the server at {there}" in line for line in published.told(release.statement))
    assert campaigns.server_in_force(published.domain.slug) == there
    later = campaigns.write_anchors_bundle(actor=system(published.domain))
    assert json.loads(later.config)["server"] == there
    forgotten = {name: value for name, value in json.loads(later.config).items() if name != "server"}
    with pytest.raises(InvalidError, match=f"sends devices to {there}"):
        upload(published.domain, later, forgotten)
    back = campaigns.write_anchors_bundle(actor=system(published.domain), server="")
    release = published.release(upload(published.domain, back))
    assert any("MOVE BACK to their factory server" in line for line in published.told(release.statement))
    assert campaigns.server_in_force(published.domain.slug) == ""
    with pytest.raises(InvalidError, match="in lower case"):
        campaigns.write_anchors_bundle(actor=system(published.domain), server="fleet.example")


def test_only_a_security_officer_writes_one_and_a_domain_without_roots_has_none(domain, hardware_model):
    with pytest.raises(DeniedError):
        campaigns.write_anchors_bundle(actor=person(domain, "operator"))
    root = Authority.objects.get(domain=domain, kind="root")
    with pytest.raises(ConflictError, match="at least one root"):
        campaigns.write_anchors_bundle(actor=system(domain), drop=frozenset({root.fingerprint}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda config, _other: config | {"secret": "x"}, "exactly these fields"),
        (lambda config, _other: config | {"server": "https://evil.example"}, "`server` must be https"),
        (lambda config, _other: config | {"server": "https://evil.example:1/"}, "`server` must be https"),
        (lambda config, _other: config | {"server": None}, "`server` must be https"),
        (lambda config, _other: config | {"schema": 2}, "schema 1"),
        (lambda config, _other: config | {"anchors": []}, "1 to 8 anchors"),
        (lambda config, _other: config | {"anchors": config["anchors"] * 9}, "1 to 8 anchors"),
        (lambda config, _other: config | {"anchors": config["anchors"] * 2}, "twice"),
        (lambda config, _other: config | {"anchors": ["-----BEGIN CERTIFICATE-----"]}, "not a self-signed root"),
        (lambda config, _other: config | {"anchors": [7]}, "not a self-signed root"),
        (lambda config, other: config | {"anchors": [other]}, "no longer trust this server"),
        (lambda config, _other: config | {"version": "7.0.0"}, "version"),
        (lambda config, _other: config | {"version": 7}, "must be a string"),
        (lambda config, _other: config | {"version": ""}, "1 to 64 characters"),
        (lambda config, _other: config | {"wipe": ["everybody"]}, "public ids"),
        (lambda config, _other: config | {"wipe": "all"}, "public ids"),
        (lambda config, _other: config | {"wipe": [DEVICE, DEVICE]}, "each once"),
        (lambda config, _other: config | {"wipe": [str(uuid.uuid4()) for _ in range(1001)]}, "at most 1000"),
    ],
)
def test_what_no_device_should_get_is_refused_at_upload(domain, campaign, other_root, change, said):
    config = change(json.loads(campaign.config), other_root)
    with pytest.raises(RefusedBundleError, match=said):
        upload(domain, campaign, config)


def test_an_issuing_ca_or_an_expired_root_is_no_anchor(domain, campaign):
    config = json.loads(campaign.config)
    issuing = Authority.objects.get(domain=domain, kind="issuing")
    with pytest.raises(RefusedBundleError, match="not a self-signed root"):
        upload(domain, campaign, config | {"anchors": [campaigns.certificate_pem(bytes(issuing.der))]})
    with clock.frozen(clock.now() + timedelta(days=365 * 30)), pytest.raises(RefusedBundleError, match="not valid now"):
        upload(domain, campaign)


def test_the_slot_of_configurations_is_for_nothing_else(domain, campaign, workshop):
    with pytest.raises(ManifestError, match="component config"):
        upload(domain, campaign, component="app")
    data = workshop.image()
    with pytest.raises(ManifestError, match="component config"):
        workshop.upload(data, workshop.manifest(data, component="config"))


def test_the_officers_see_whom_they_erase(published, enrol):
    one = enrol("old-1").device
    made = campaigns.write_anchors_bundle(actor=system(published.domain), wipe=[one])
    assert json.loads(made.config)["wipe"] == [one.key]
    release = published.release(upload(published.domain, made))
    assert any("ERASES" in line and one.key in line for line in published.told(release.statement))


KEY = "ab" * 32
FURTHER = {"time_sources": ["time.example", "ntp.example:123"], "policy_keys": [KEY], "secrets": {"wifi": "c2VhbGVk"}}


def test_time_sources_policy_keys_and_secrets_are_set_by_officers_and_kept_until_they_say_otherwise(published):
    made = campaigns.write_anchors_bundle(actor=system(published.domain), further=FURTHER)
    kept = upload(published.domain, made)
    assert "c2VhbGVk" not in json.dumps(kept.facts)
    release = published.release(kept)
    told = "\n".join(published.told(release.statement))
    assert "time.example" in told
    assert KEY in told
    assert "delivers the secret wifi, encrypted" in told
    assert "c2VhbGVk" not in told
    assert campaigns.orders_in_force(published.domain.slug) == FURTHER
    later = campaigns.write_anchors_bundle(actor=system(published.domain), further={"secrets": {}})
    document = json.loads(later.config)
    assert (document["time_sources"], document["secrets"]) == (FURTHER["time_sources"], {})
    forgotten = {name: value for name, value in document.items() if name != "policy_keys"}
    with pytest.raises(InvalidError, match=r"sets `policy_keys`. Repeat it"):
        upload(published.domain, later, forgotten)
    published.release(upload(published.domain, later))
    assert "secrets" not in campaigns.orders_in_force(published.domain.slug)


@pytest.mark.parametrize(
    "odd",
    [
        {"time_sources": "time.example"}, {"time_sources": ["Time.example"]}, {"time_sources": ["a", "a"]}, {"time_sources": ["a:0"]},
        {"time_sources": ["a"] * 9}, {"policy_keys": ["ab"]}, {"policy_keys": [KEY, KEY]}, {"policy_keys": {}}, {"secrets": []},
        {"secrets": {"WIFI": "c2VhbGVk"}}, {"secrets": {"wifi": "?"}}, {"secrets": {"wifi": ""}}, {"secrets": {"wifi": "\u00e9"}}, {"secrets": {"wifi": 1}},
        {"secrets": {"wifi": "A" * 8196}}, {"secrets": {f"n{number}": "c2VhbGVk" for number in range(33)}},
    ],
)  # fmt: skip
def test_orders_that_cannot_be_meant_are_refused_everywhere(published, odd):
    with pytest.raises(InvalidError, match=next(iter(odd))):
        campaigns.write_anchors_bundle(actor=system(published.domain), further=odd)
    made = campaigns.write_anchors_bundle(actor=system(published.domain))
    with pytest.raises(InvalidError, match=next(iter(odd))):
        upload(published.domain, made, {**json.loads(made.config), **odd})
