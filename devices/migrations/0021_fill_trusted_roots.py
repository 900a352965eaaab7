"""Fill ``trusted_roots`` from what each device has reported, in small commits; a repeated run changes nothing."""

from django.db import migrations

#: devices that one commit changes
BATCH = 1000
#: as ``devices.twin_documents.ROOT_MARK`` was when this was written
MARK = 16


def fill(apps, schema_editor):
    alias = schema_editor.connection.alias
    devices = apps.get_model("devices", "Device").objects.using(alias)
    twins = apps.get_model("devices", "Twin").objects.using(alias).order_by("device_id")
    place = 0
    while some := list(twins.filter(device_id__gt=place).values_list("device_id", "reported")[:BATCH]):
        place = some[-1][0]
        kinds = {}
        for device, reported in some:
            if "anchors" in reported:
                kinds.setdefault(" ".join(sorted(one[:MARK] for one in reported["anchors"])), []).append(device)
        for marks, keys in kinds.items():
            devices.filter(pk__in=keys).update(trusted_roots=marks)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("devices", "0020_trusted_roots")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop, elidable=False)]
