"""Lists of one thing read the rows of that thing: the plan names an index and passes over no other rows, on both databases.

The rows are few, but distributed as in a fleet: nearly every assignment is finished, nearly every rollout is over, and
all of them belong to one domain, so that an index of the domain alone narrows nothing.
"""

import json
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, connections

from devices import selectors as devices
from devices.contact_words import contact_limits
from devices.models import Device, Incident, Presence, Twin
from devices.services.presence_words import outdated_contacts
from ota.models import Assignment, Command, Rollout, Wave
from ota.selectors import repairs, rollouts
from ota.selectors.commands import CommandFilter, list_commands
from ota.selectors.device_list import updating_devices
from ota.services.commands import expired_commands
from pki import selectors as ground
from pki.kernel import clock
from pki.models import Authority, Certificate, LedgerEntry
from pki.selectors.finding import named_rows
from pki.selectors.keyset import rows_beyond
from pki.services import ledger
from tests.factories.ground import system

pytestmark = pytest.mark.django_db

DEVICES, ROLLOUTS, ENTRIES = 2000, 3, 4
LATE = devices.DeviceFilter(presence="late")
#: rows that PostgreSQL may read and not use: a few others share a page or a hash
MOST_PASSED_OVER = 60


class Fleet:
    """A domain with many rows in each large table; ``device`` is one of its devices."""

    def __init__(self, published, model):
        self.domain, self.now = published.domain, clock.now()
        self.slug = self.domain.slug
        release = published.release(published.bundle("1.0.0", 1))
        Device.objects.bulk_create(
            [Device(domain=self.domain, name=f"dev-{number:05}", hardware_model=model, state="active",
                    presence="online" if number % (DEVICES // 5) else "late")
             for number in range(DEVICES)], batch_size=50,
        )  # fmt: skip
        self.devices = list(Device.objects.filter(domain=self.domain, name__startswith="dev-").order_by("id"))
        Twin.objects.bulk_create([Twin(device=one) for one in self.devices], batch_size=50)
        self.device = self.devices[DEVICES // 2]
        self._rollouts(release)
        self._certificates()
        self._entries()
        self._incidents()
        self._contacts()
        self._commands()
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor, connections["telemetry"].cursor() as other:
                cursor.execute("ANALYZE")
                # One table: the whole would wait for the catalogue that both databases share.
                other.execute("ANALYZE devices_presence")

    def _rollouts(self, release):
        for index in range(ROLLOUTS + 300):
            rollout = Rollout.objects.create(
                domain=self.domain, name=f"r{index}", release=release, success_permille=900, error_permille=100,
                state="running" if index == 0 else "finished", created_by="test",
            )  # fmt: skip
            if index < ROLLOUTS:
                self._assignments(rollout, release.bundle, index)

    def _assignments(self, rollout, bundle, index):
        wave = Wave.objects.create(rollout=rollout, index=0, label="all", soak_s=1, state="open")
        rows = [
            Assignment(
                domain=self.domain, action_id=10_000 + index * DEVICES + number, rollout=rollout, wave=wave,
                device=device, bundle=bundle, kind="update", status="finished", content_stamp=1, closed_at=self.now,
            )
            for number, device in enumerate(self.devices)
        ]  # fmt: skip
        for row in rows[:: DEVICES // 5]:
            row.status, row.closed_at = ("scheduled", None) if index == 0 else ("error", self.now)
        Assignment.objects.bulk_create(rows, batch_size=50)

    def _certificates(self):
        authority = Authority.objects.filter(domain=self.domain, kind="issuing").first()
        Certificate.objects.bulk_create(
            [
                Certificate(
                    domain=self.domain, authority=authority, serial=f"{number:x}", fingerprint=f"{number:064x}",
                    subject_urn=device.key, subject_key=device.key, spki_sha256=f"{number:064x}", profile="device",
                    der=b"x", not_before=self.now, not_after=self.now + timedelta(days=10, minutes=number * 60),
                )
                for number, device in enumerate(self.devices, 1)
            ],
            batch_size=50,
        )  # fmt: skip

    def _entries(self):
        usual = ("certificate.issued", "assignment.ended")
        LedgerEntry.objects.bulk_create(
            [
                LedgerEntry(
                    domain=self.domain, actor_kind="system", actor_key="test", action=usual[turn % 2],
                    object_kind="device", object_key=device.key, leaf_hash="00" * 32,
                )
                for turn in range(ENTRIES)
                for device in self.devices
            ],
            batch_size=50,
        )  # fmt: skip

    def _incidents(self):
        Incident.objects.bulk_create(
            [
                Incident(
                    domain=self.domain, device=device, state="closed", layer="numeric", severity="low", score=1.0,
                    closed_at=self.now - timedelta(days=2), opened_at=self.now - timedelta(days=3),
                )
                for device in self.devices
            ],
            batch_size=50,
        )  # fmt: skip
        Incident.objects.create(
            domain=self.domain, device=self.device, layer="numeric", severity="low", score=1.0,
        )  # fmt: skip

    def _contacts(self):
        """Every device was heard just now."""
        rows = [Presence(device_id=one.pk, last_seen=self.now, word=one.presence) for one in self.devices]
        Presence.objects.bulk_create(rows, batch_size=50)

    def _commands(self):
        """Nearly every command is done."""
        rows = [
            Command(
                domain=self.domain, device=device, kind="reboot", state="done", created_by="test",
                expires_at=self.now - timedelta(days=1), closed_at=self.now,
            )
            for device in self.devices
        ]  # fmt: skip
        rows[DEVICES // 2].state, rows[DEVICES // 2].closed_at = "waiting", None
        Command.objects.bulk_create(rows, batch_size=50)

    def of_rollout(self, name, **wanted):
        """Return the list of the assignments of a rollout."""
        return rollouts.list_assignments(
            actor=system(self.domain), wanted=rollouts.AssignmentFilter(rollout=name, **wanted)
        )

    def assignment(self, name):
        """Return an assignment in the middle of a rollout."""
        return Assignment.objects.get(rollout__name=name, device=self.device)

    def outdated(self):
        """Return the contacts of online devices that make them late."""
        limits = contact_limits(self.now, settings.FLEET_POLL_S)
        return next(rows for rows, old, new in outdated_contacts(limits) if (old, new) == ("online", "late"))


#: what is asked -> its rows, and the index that SQLite names
QUESTIONS = {
    "assignments of a device": (
        lambda fleet: rollouts.list_assignments(actor=system(fleet.domain)).filter(device=fleet.device)[:51],
        "assignments_of_a_device",
    ),
    "finished assignments of a device": (
        lambda fleet: rollouts.list_assignments(
            actor=system(fleet.domain), wanted=rollouts.AssignmentFilter(device=fleet.device.name, status="finished")
        )[:51],
        "assignments_of_a_device",
    ),
    "assignments of a device in a group": (
        lambda fleet: rollouts.list_assignments(
            actor=system(fleet.domain), wanted=rollouts.AssignmentFilter(device=fleet.device.name, group="finished")
        )[:51],
        "assignments_of_a_device",
    ),
    "assignments that failed": (
        lambda fleet: rollouts.list_assignments(actor=system(fleet.domain)).filter(status="error")[:51],
        "assignments_in_a_status",
    ),
    "assignments of an old rollout": (lambda fleet: fleet.of_rollout("r0")[:51], "assignments_of_a_rollout"),
    "further assignments of an old rollout": (
        lambda fleet: fleet.of_rollout("r0").filter(id__lt=fleet.assignment("r0").pk)[:51],
        "assignments_of_a_rollout",
    ),
    "assignments that failed in an old rollout": (
        lambda fleet: fleet.of_rollout("r1", status="error")[:51], "statuses_of_a_rollout"
    ),
    "assignments of an old rollout in a group of one status": (
        lambda fleet: fleet.of_rollout("r1", group="failed")[:51], "statuses_of_a_rollout"
    ),
    "assignments of an old rollout in a group of several": (
        lambda fleet: fleet.of_rollout("r0", group="offered")[:51], "groups_of_a_rollout"
    ),
    "assignments of a rollout in an empty group": (
        lambda fleet: fleet.of_rollout("r2", group="installing")[:51], "groups_of_a_rollout"
    ),
    "assignments in a group": (
        lambda fleet: rollouts.list_assignments(
            actor=system(fleet.domain), wanted=rollouts.AssignmentFilter(group="offered")
        )[:51],
        "assignments_in_a_group",
    ),
    "devices that are updating": (lambda fleet: updating_devices(actor=system(fleet.domain)), "open_assignments"),
    "commands that wait": (
        lambda fleet: list_commands(actor=system(fleet.domain), wanted=CommandFilter(state="waiting"))[:51],
        "commands_in_a_state",
    ),
    "commands that expire": (lambda fleet: expired_commands(fleet.domain), "commands_that_expire"),
    "certificates of a device": (
        lambda fleet: ground.list_certificates(actor=system(fleet.domain)).filter(subject_key=fleet.device.key),
        "certificates_of_a_subject",
    ),
    "certificates that expire": (
        lambda fleet: ground.expiring_certificates(actor=system(fleet.domain), now=fleet.now, until=fleet.now + timedelta(days=11)),
        "pki_certifi_domain__1c9665_idx",
    ),
    "audit log of a device": (
        lambda fleet: ground.ledger_entries(actor=system(fleet.domain)).filter(object_key=fleet.device.key)[:51],
        "entries_of_a_thing",
    ),
    "audit log of a rare action": (
        lambda fleet: ground.ledger_entries(actor=system(fleet.domain)).filter(action="certificate.revoked")[:51],
        "entries_of_an_action",
    ),
    "audit log of a rare prefix": (
        lambda fleet: ground.ledger_entries(actor=system(fleet.domain), wanted=ground.LedgerFilter("authority"))[:51],
        "entries_of_a_prefix",
    ),
    "next page of the audit log of a prefix": (
        lambda fleet: ground.ledger_entries(actor=system(fleet.domain), wanted=ground.LedgerFilter("certificate")).filter(
            id__lt=LedgerEntry.objects.latest("id").pk - DEVICES
        )[:51],
        "entries_of_a_prefix",
    ),
    "names of devices": (
        lambda fleet: named_rows(devices.list_devices(actor=system(fleet.domain)), [one.public_id for one in fleet.devices[:50]]).order_by(),
        "sqlite_autoindex_devices_device_1",
    ),
    "restores": (lambda fleet: ledger.restored_epochs(fleet.domain), "entries_of_an_action"),
    "incidents of a device": (
        lambda fleet: devices.list_incidents(actor=system(fleet.domain)).filter(device=fleet.device)[:51],
        "incidents_of_a_device",
    ),
    "open incidents": (
        lambda fleet: devices.list_incidents(actor=system(fleet.domain)).filter(state="open")[:51],
        "incidents_in_a_state",
    ),
    "incidents that a repair may have ended": (lambda fleet: repairs.repaired_incidents(actor=system(fleet.domain)), "incidents_in_a_state"),
    "rollouts that run": (
        lambda fleet: rollouts.list_rollouts(actor=system(fleet.domain)).filter(state="running")[:51],
        "ota_rollout_domain__33fdf0_idx",
    ),
    "devices in quarantine": (
        lambda fleet: devices.list_devices(actor=system(fleet.domain)).filter(quarantined_at__isnull=False)[:51],
        "quarantined_devices",
    ),
    "devices in a rare state": (
        lambda fleet: devices.list_devices(actor=system(fleet.domain)).filter(state="suspended")[:51],
        "devices_in_a_state",
    ),
    # SQLite names the index of a constraint itself: this one is of `one_device_a_name`.
    "devices by name": (
        lambda fleet: devices.list_devices(actor=system(fleet.domain))[:51],
        "sqlite_autoindex_devices_device_2",
    ),
    "devices of a rare presence by name": (
        lambda fleet: devices.list_devices(actor=system(fleet.domain), wanted=LATE)[:51],
        "devices_of_a_presence",
    ),
    "devices of a rare presence by age": (
        lambda fleet: devices.list_devices(actor=system(fleet.domain), wanted=LATE).order_by("-id")[:51],
        "devices_of_a_presence_by_age",
    ),
    "contacts that make a word wrong": (Fleet.outdated, "contacts_of_a_word"),
}  # fmt: skip


def test_devices_with_a_rare_tag_are_read_from_an_index_of_tags_on_postgresql(published, hardware_model):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no index of what stands in a list; docs/limits.md says so")
    fleet = Fleet(published, hardware_model)
    Device.objects.filter(pk=fleet.device.pk).update(tags=["pilot", "lab"])
    rows = devices.list_devices(actor=system(fleet.domain), wanted=devices.DeviceFilter(query="tag in (pilot, none)"))[
        :51
    ]
    assert [one.pk for one in rows] == [fleet.device.pk]
    with connection.cursor() as cursor:
        # Rows of tests before this one wait in the index's pending list, which makes it dear; to read all of 2,000
        # devices is cheaper as well. The question is whether the index can answer.
        cursor.execute("SELECT gin_clean_pending_list('devices_with_a_tag')")
        cursor.execute("SET LOCAL enable_seqscan TO off; SET LOCAL enable_indexscan TO off")
    assert "devices_with_a_tag" in rows.explain()
    assert _passed_over(rows.explain(analyze=True, format="json")) <= MOST_PASSED_OVER


@pytest.mark.parametrize(
    ("wanted", "falling"), [(devices.DeviceFilter(), False), (devices.DeviceFilter(), True), (LATE, False)]
)
def test_a_page_deep_in_a_list_by_name_begins_where_the_last_one_ended(published, hardware_model, wanted, falling):
    fleet = Fleet(published, hardware_model)
    mark = fleet.device.name, fleet.device.pk
    rows = rows_beyond(
        devices.list_devices(actor=system(fleet.domain), wanted=wanted), ("name", "id"), mark, falling=falling
    )
    assert all((one.name < mark[0]) if falling else (one.name > mark[0]) for one in rows)
    if connection.vendor == "postgresql":
        assert _passed_over(rows.all()[:51].explain(analyze=True, format="json")) <= MOST_PASSED_OVER
    else:
        assert f"name{'<' if falling else '>'}?" in rows.all()[:51].explain()


def test_a_list_of_one_thing_reads_no_rows_of_others(published, hardware_model):
    fleet = Fleet(published, hardware_model)
    judged = _trouble_on_postgresql if connection.vendor == "postgresql" else _trouble_on_sqlite
    found = {name: judged(asked(fleet), index) for name, (asked, index) in QUESTIONS.items()}
    assert {name: trouble for name, trouble in found.items() if trouble} == {}


def _trouble_on_sqlite(rows, index):
    plan = rows.explain()
    good = f"INDEX {index} " in plan and "SCAN" not in plan and "TEMP B-TREE FOR ORDER BY" not in plan
    return "" if good else plan


def _trouble_on_postgresql(rows, _index):
    plan = rows.explain(analyze=True, format="json")
    return plan if _passed_over(plan) > MOST_PASSED_OVER else ""


def _passed_over(text):
    """Return how many rows of the plan were read only to be thrown away."""

    def walk(node):
        own = sum(value for name, value in node.items() if name.startswith("Rows Removed by")) * node["Actual Loops"]
        return own + sum(walk(one) for one in node.get("Plans", ()))

    return sum(walk(one["Plan"]) for one in json.loads(text))
