"""Fill the word of each device from its last contact, and the counts from the tables, in small commits.

A run that was interrupted is repeated: words that are right already stay, and the counts are made anew at the end. The
telemetry database keeps "never" in its rows; the job ``presence`` writes there what it finds in the main database.
"""

from datetime import datetime, timedelta, timezone

from django.conf import settings
from django.db import connections, migrations, transaction
from django.db.models import Count

#: devices that one commit changes
BATCH = 1000
#: polling intervals after which a device is late, and overdue; seconds of the shortest one
LATE, OVERDUE, SHORTEST_POLL_S = 1.5, 3, 5


def fill(apps, schema_editor):
    """Fill the main database; a new set-up has nothing to fill, and maybe no telemetry database yet."""
    alias = schema_editor.connection.alias
    devices = apps.get_model("devices", "Device").objects.using(alias)
    if not devices.exists():
        return
    for keys in _batches(devices.filter(state="retired").exclude(presence=""), "pk"):
        devices.filter(pk__in=keys, state="retired").update(presence="")
    contacts = apps.get_model("devices", "Presence")
    if _has_table("telemetry", contacts):
        limits = _limits()
        for rows in _batches(contacts.objects.using("telemetry"), "device_id", "last_seen"):
            _write(devices, rows, limits)
    _count(apps, alias)


def _batches(rows, key, *more):
    """Yield the values of rows in the order of their key."""
    place = 0
    while some := list(rows.filter(**{f"{key}__gt": place}).order_by(key).values_list(key, *more, flat=not more)[:BATCH]):
        yield some
        place = some[-1][0] if more else some[-1]


def _limits():
    interval = timedelta(seconds=max(settings.FLEET_POLL_S, SHORTEST_POLL_S))
    now = datetime.now(timezone.utc)
    return now - interval * LATE, now - interval * OVERDUE


def _write(devices, rows, limits):
    keys = {"online": [], "late": [], "overdue": []}
    for device, seen in rows:
        keys["online" if seen >= limits[0] else "late" if seen >= limits[1] else "overdue"].append(device)
    for word, some in keys.items():
        devices.filter(pk__in=some).exclude(presence__in=["", word]).update(presence=word)


def _count(apps, alias):
    devices, incidents, counts = (apps.get_model("devices", name) for name in ("Device", "Incident", "FleetCount"))
    rows = devices.objects.using(alias).order_by()
    kinds = list(rows.exclude(presence="").values_list("domain_id", "presence").annotate(Count("id")))
    held = rows.filter(quarantined_at__isnull=False)
    opened = incidents.objects.using(alias).order_by().filter(state="open")
    for kind, some in (("quarantined", held), ("open_incidents", opened)):
        kinds += [(domain, kind, many) for domain, many in some.values_list("domain_id").annotate(Count("id"))]
    with transaction.atomic(using=alias):
        counts.objects.using(alias).all().delete()
        counts.objects.using(alias).bulk_create(
            [counts(domain_id=domain, kind=kind, delta=many) for domain, kind, many in kinds]
        )


def _has_table(alias, model):
    connection = connections[alias]
    with connection.cursor() as cursor:
        return model._meta.db_table in connection.introspection.table_names(cursor)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("devices", "0014_presence_words")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop, elidable=False)]
