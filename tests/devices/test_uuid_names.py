"""A name does not pass for the public id of something else."""

import pytest

from devices import selectors
from devices.models import Device, EnrolmentToken
from devices.services import groups, hardware, tokens
from ota.planning import WavePlan
from ota.services import rollouts
from pki.kernel import ids
from pki.kernel.errors import InvalidError
from tests.factories.ground import person, system
from tests.regressions import regression

pytestmark = pytest.mark.django_db


@regression("B7", "a filter that names a device by its id, while another device has that id as its name")
def test_a_public_id_means_its_device_although_another_one_is_named_so(domain, enrol):
    first, second = enrol("first").device, enrol("second").device
    Device.objects.filter(pk=second.pk).update(name=str(first.public_id))
    by = system(domain)
    assert selectors.device_referred(actor=by, word=str(first.public_id)) == first
    assert selectors.device_referred(actor=by, word=str(second.public_id)) == second
    Device.objects.filter(pk=second.pk).update(name=(own := str(ids.uuid7())))
    assert selectors.device_referred(actor=by, word=own) == second


@pytest.mark.parametrize("shape", [str, lambda key: str(key).upper()])
def test_a_new_name_has_not_the_form_of_a_uuid(published, hardware_model, shape):
    name, by, boss = shape(ids.uuid7()), person(published.domain, "operator"), system(published.domain)
    release = published.release(published.bundle("1.0.0", 1))
    makers = [
        lambda: tokens.create(actor=by, hardware_model=hardware_model, device_name=name),
        lambda: groups.create(actor=by, name=name),
        lambda: hardware.register_model(actor=by, name=name, vendor="acme.example"),
        lambda: rollouts.create(actor=boss, name=name, release=release, waves=[WavePlan(share=1000)]),
    ]
    for make in makers:
        with pytest.raises(InvalidError, match="form of a UUID"):
            make()
    assert tokens.create(actor=by, hardware_model=hardware_model, device_name=name.replace("-", ""))


def test_many_tokens_are_made_together_or_not_at_all(domain, hardware_model):
    by = person(domain, "operator")
    further = {"actor": by, "hardware_model": hardware_model, "days": 7, "profile": "device"}
    with pytest.raises(InvalidError, match="device name"):
        tokens.create_tokens(device_names=["a", "b", ".hidden"], **further)
    assert not EnrolmentToken.objects.exists()
    made = tokens.create_tokens(device_names=["a", "b", ""], **further)
    assert [token.device_name for token, _ in made] == ["a", "b", ""]
    assert len({secret for _, secret in made}) == 3
