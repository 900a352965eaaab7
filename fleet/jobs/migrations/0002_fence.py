from django.db import migrations, models


class Migration(migrations.Migration):
    """Give leases a fencing number; a worker of the version before leaves it as it is."""

    dependencies = [
        ("jobs", "0001_leases"),
    ]

    operations = [
        migrations.AddField(
            model_name="lease",
            name="fence",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
    ]
