"""The rows without the query compiler are the ORM's rows, value for value, on both databases."""

import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from devices.models import Device, EnrolmentToken, HardwareModel, Twin
from pki.models import LedgerEntry, prepared_sql

pytestmark = pytest.mark.django_db
AT = datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)


@pytest.fixture
def model(domain):
    key = uuid.uuid4()
    return HardwareModel.objects.create(domain=domain, name="m", vendor="v", vendor_id=key, class_id=key)


def raw(key):
    """Return a row as the driver has it, without its key."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM devices_device WHERE id = %s", [key])
        names = [column[0] for column in cursor.description]
        return dict(zip(names, cursor.fetchone(), strict=True))


def device_values(domain, model):
    return {
        "domain": domain,
        "hardware_model": model,
        "tags": ["a", {"b": [1, None, "ü"]}],
        "enrolled_at": AT.astimezone(timezone(timedelta(hours=5))),
        "created_at": AT,
        "salt": b"\x00\xff",
        "public_id": uuid.UUID(int=1),
    }


def test_a_row_is_written_as_the_orm_writes_it(domain, model):
    values = device_values(domain, model)
    theirs = Device.objects.create(name="one", **values)
    expected = raw(theirs.pk)
    Device.objects.filter(pk=theirs.pk).delete()
    ours = prepared_sql.insert_row(Device, name="one", **values)
    assert {**raw(ours.pk), "id": 0} == {**expected, "id": 0}
    assert (ours.domain, ours.hardware_model, ours._state.adding) == (domain, model, False)


def test_a_row_is_read_as_the_orm_reads_it(domain, model):
    made = Device.objects.create(name="one", **device_values(domain, model))
    theirs, ours = Device.objects.get(pk=made.pk), prepared_sql.get_row(Device, domain_id=domain.pk, name="one")
    for field in Device._meta.concrete_fields:
        mine, other = getattr(ours, field.attname), getattr(theirs, field.attname)
        assert (type(mine), bytes(mine) if field.name == "salt" else mine) == (
            type(other),
            bytes(other) if field.name == "salt" else other,
        )


def test_defaults_are_the_fields_own(domain, model):
    device = prepared_sql.insert_row(Device, domain=domain, hardware_model=model, name="one")
    twin = prepared_sql.insert_row(Twin, device=device)
    again = Device.objects.select_related("twin").get(pk=device.pk)
    assert (again.state, again.tags, again.parent_id, again.site) == ("pending", [], None, "")
    assert again.public_id.version == 7
    assert len(bytes(again.salt)) == 16
    assert (again.twin, again.twin.desired, again.twin.reported_at) == (twin, {}, None)


def test_fields_are_changed_and_others_left(domain, model):
    made = EnrolmentToken.objects.create(
        domain=domain, hardware_model=model, secret_hash="x", expires_at=AT, created_by="anna"
    )
    found = prepared_sql.get_row(EnrolmentToken, secret_hash="x")
    found.used_at, found.used_spki, found.created_by = AT + timedelta(1), "key", "not written"
    prepared_sql.update_row(found, "used_at", "used_spki")
    made.refresh_from_db()
    assert (made.used_at, made.used_spki, made.created_by) == (AT + timedelta(1), "key", "anna")


def test_no_row_is_none_and_a_wrong_name_is_a_mistake(domain, model):
    assert prepared_sql.get_row(Device, name="nobody") is None
    assert prepared_sql.row_values(Device, ("name",), name="nobody") is None
    with pytest.raises(TypeError, match="nickname"):
        prepared_sql.insert_row(Device, domain=domain, hardware_model=model, name="one", nickname="two")


def test_what_the_database_refuses_is_refused_as_the_orm_says_it(domain, model):
    prepared_sql.insert_row(Device, domain=domain, hardware_model=model, name="one")
    with pytest.raises(IntegrityError), transaction.atomic():
        prepared_sql.insert_row(Device, domain=domain, hardware_model=model, name="one")
    assert Device.objects.filter(domain=domain).count() == 1


def test_values_never_become_part_of_a_statement(domain, model):
    name = "x'); DROP TABLE devices_device; -- %s ?"
    prepared_sql.insert_row(Device, domain=domain, hardware_model=model, name=name)
    assert prepared_sql.get_row(Device, name=name).name == name


def test_after_an_error_in_a_transaction_nothing_more_is_written(domain, model):
    prepared_sql.insert_row(Device, domain=domain, hardware_model=model, name="one")
    with transaction.atomic():
        with pytest.raises(IntegrityError):
            prepared_sql.insert_row(Device, domain=domain, hardware_model=model, name="one")
        with pytest.raises(transaction.TransactionManagementError):
            prepared_sql.insert_row(LedgerEntry, domain=domain, actor_kind="system", actor_key="x", action="a.b")


def test_many_rows_are_written_by_few_statements_value_for_value(domain, model, monkeypatch):
    monkeypatch.setattr(prepared_sql, "MOST_PARAMETERS", 60)
    names = [f"many-{number:02}" for number in range(30)]
    rows = [(domain.pk, name, model.pk, []) for name in names]
    prepared_sql.create_many(Device, ("domain_id", "name", "hardware_model_id", "tags"), rows)
    made = list(Device.objects.order_by("name"))
    assert [(one.name, one.hardware_model, one.tags) for one in made] == [(name, model, []) for name in names]
    changed = [(AT if number % 2 else None, "x", ["%s", "?"], one.pk) for number, one in enumerate(made)]
    with CaptureQueriesContext(connection) as seen:
        prepared_sql.update_many(Device, ("quarantined_at", "quarantine_reason", "tags"), changed)
        prepared_sql.update_many(Device, ("quarantined_at",), [(None, made[0].pk)])
    assert len(seen) == (2 if connection.vendor == "postgresql" else 3)
    found = list(Device.objects.order_by("name").values_list("quarantined_at", "quarantine_reason", "tags", "pk"))
    assert found == changed


@pytest.mark.parametrize("many", [1, 50])
def test_no_text_is_cut_to_the_length_of_its_column(domain, model, many):
    """PostgreSQL cuts what is cast to a shorter type, and refuses what is written into a shorter column."""
    rows = [(domain.pk, f"nnn{number}" * 200, model.pk, []) for number in range(many)]
    if connection.vendor == "postgresql":
        with pytest.raises(DataError), transaction.atomic():
            prepared_sql.create_many(Device, ("domain_id", "name", "hardware_model_id", "tags"), rows)
        assert not Device.objects.filter(name__startswith="nnn").exists()


def test_no_rows_are_no_statement(domain, model):
    with CaptureQueriesContext(connection) as seen:
        prepared_sql.create_many(Device, ("domain_id", "name"), [])
        prepared_sql.update_many(Device, ("name",), [])
    assert len(seen) == 0
