"""One token, one key, one certificate."""

from datetime import timedelta
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devices.errors import TokenError
from devices.models import Device, EnrolmentToken, FleetCount
from devices.proofs.claim import Shown
from devices.services import enrolment, fleet_counts, restored, tokens
from pki.errors import CsrError
from pki.kernel import clock
from pki.models import Certificate, LedgerEntry
from pki.services import journal
from pki.x509 import parse_csr as parsed
from tests.factories.devices import csr
from tests.factories.ground import person, system
from tests.regressions import regression

pytestmark = pytest.mark.django_db


def token(domain, model, **further):
    return tokens.create(actor=system(domain), hardware_model=model, **further)


def enrol(domain, secret, request):
    return enrolment.enrol(domain=domain, shown=Shown(secret), csr=parsed(request), via="test")


def test_a_token_enrols_one_device_with_its_own_key(domain, hardware_model):
    _, secret = token(domain, hardware_model, device_name="dev-1")
    request, _ = csr("dev-1")
    done = enrol(domain, secret, request)
    assert done.device.state == Device.State.ACTIVE
    assert done.certificate.subject_urn == f"urn:muster:device:{domain.slug}:{done.device.public_id}"
    [leaf] = LedgerEntry.objects.filter(domain=domain, object_key=done.device.key)
    assert leaf.detail["fingerprint"] == done.certificate.fingerprint
    assert leaf.detail["enrolled"]["proof"] == "token"


def test_a_repeat_with_the_same_key_gets_the_same_certificate(domain, hardware_model):
    _, secret = token(domain, hardware_model)
    request, _ = csr("dev-1")
    first, again = enrol(domain, secret, request), enrol(domain, secret, request)
    assert first.certificate.pk == again.certificate.pk
    assert Device.objects.filter(domain=domain).count() == 1


def test_a_used_token_opens_nothing_for_another_key(domain, hardware_model):
    _, secret = token(domain, hardware_model)
    enrol(domain, secret, csr("dev-1")[0])
    with pytest.raises(TokenError):
        enrol(domain, secret, csr("dev-1")[0])
    assert Certificate.objects.filter(domain=domain).count() == 1


@pytest.mark.parametrize("case", ["unknown", "withdrawn", "expired", "foreign", "other-name"])
def test_a_token_that_is_not_good_is_refused_with_one_sentence_and_nothing_is_stored(
    domain, other_domain, hardware_model, case
):
    made, secret = token(domain, hardware_model, device_name="dev-1")
    home, name = domain, "dev-1"
    if case == "unknown":
        secret += "x"
    elif case == "withdrawn":
        tokens.withdraw(actor=system(domain), public_id=str(made.public_id))
    elif case == "expired":
        EnrolmentToken.objects.filter(pk=made.pk).update(expires_at=clock.now() - timedelta(seconds=1))
    elif case == "foreign":
        home = other_domain
    else:
        name = "dev-2"
    with pytest.raises(TokenError, match="not valid for this request"):
        enrolment.enrol(domain=home, shown=Shown(secret), csr=parsed(csr(name)[0]), via="test")
    assert not Device.objects.filter(domain=domain).exists()
    assert not Certificate.objects.filter(domain=domain).exists()


def test_a_request_whose_signature_is_broken_is_refused_and_the_token_stays_open(domain, hardware_model):
    made, secret = token(domain, hardware_model)
    request = bytearray(csr("dev-1")[0])
    request[-3] ^= 1
    with pytest.raises(CsrError):
        enrol(domain, secret, bytes(request))
    made.refresh_from_db()
    assert made.used_at is None


@pytest.mark.parametrize("request_", [b"", b"garbage", b"\x30\x80", csr("x", curve=ec.SECP384R1())[0], b"\0" * 9000])
def test_other_requests_are_refused_by_name(domain, hardware_model, request_):
    _, secret = token(domain, hardware_model)
    with pytest.raises(CsrError):
        enrol(domain, secret, request_)


def test_a_live_device_is_not_taken_over_by_a_new_token(domain, hardware_model, enrol):
    enrol("dev-1")
    _, secret = token(domain, hardware_model, device_name="dev-1")
    with pytest.raises(TokenError):
        enrolment.enrol(domain=domain, shown=Shown(secret), csr=parsed(csr("dev-1")[0]), via="test")


def test_a_viewer_makes_no_tokens(domain, hardware_model):
    with pytest.raises(Exception, match="security-officer"):
        tokens.create(actor=person(domain, "viewer"), hardware_model=hardware_model)


def test_what_the_database_forgot_comes_back_from_the_journal(domain, hardware_model):
    made, secret = token(domain, hardware_model)
    done = enrol(domain, secret, csr("dev-1")[0])
    done.certificate.delete()
    EnrolmentToken.objects.filter(pk=made.pk).update(used_at=None, used_by=None, used_spki="")
    done.device.twin.delete()
    done.device.delete()
    fact = next(one for one in journal.read_facts() if one.get("device") == str(done.device.public_id))
    assert restored.apply_enrolled(fact) is True
    assert restored.apply_enrolled(fact) is False
    back = Device.objects.get(domain=domain, public_id=done.device.public_id)
    assert back.state == Device.State.ACTIVE
    with pytest.raises(TokenError):
        enrol(domain, secret, csr("dev-2")[0])


def test_a_device_of_the_journal_is_counted_where_a_retired_one_had_its_name(domain, hardware_model):
    _, secret = token(domain, hardware_model, device_name="dev-2")
    done = enrol(domain, secret, csr("dev-2")[0])
    done.certificate.delete()
    fact = next(one for one in journal.read_facts() if one.get("device") == str(done.device.public_id))
    older = {"public_id": uuid4(), "state": Device.State.RETIRED, "presence": ""}  # as a backup has it
    Device.objects.filter(pk=done.device.pk).update(**older)
    fleet_counts.note_count(domain.pk, "never", -1)
    restored.apply_enrolled(fact)
    back = Device.objects.get(domain=domain, public_id=done.device.public_id)
    assert (back.state, back.presence) == (Device.State.ACTIVE, "never")
    assert sum(FleetCount.objects.filter(domain=domain, kind="never").values_list("delta", flat=True)) == 1


@regression("N2", "guessed enrolment tokens take no turn at SQLite's write lock")
def test_an_unknown_token_is_refused_before_a_transaction_begins(domain, hardware_model):
    request, _ = csr("dev-1")
    with CaptureQueriesContext(connection) as seen, pytest.raises(TokenError):
        enrol(domain, "met_guessed", request)
    assert [one["sql"].split()[0] for one in seen] == ["SELECT"]
