"""Links of the version before signed people in; the new ones open a set-up only. Void those that are left."""

from django.db import migrations

from pki.kernel import clock


def void_links(apps, _schema_editor):
    apps.get_model("operators", "LoginLink").objects.filter(voided_at=None).update(voided_at=clock.now())


class Migration(migrations.Migration):

    dependencies = [
        ('operators', '0002_set_up_links_and_token_parents'),
    ]

    operations = [
        migrations.RunPython(void_links, migrations.RunPython.noop, elidable=True),
    ]
