"""Indexes from which lists in the order of their ids are read without a look at every row of the domain."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('devices', '0013_networks_in_telemetry_and_indexes'),
        ('ota', '0019_longer_versions'),
        ('pki', '0007_indexes_of_lists'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='assignment',
            index=models.Index(fields=['domain', 'device', 'id'], name='assignments_of_a_device'),
        ),
        migrations.AddIndex(
            model_name='assignment',
            index=models.Index(fields=['domain', 'status', 'id'], name='assignments_in_a_status'),
        ),
        migrations.AddIndex(
            model_name='assignment',
            index=models.Index(condition=models.Q(('closed_at__isnull', True)), fields=['domain', 'closed_at', 'device', 'status'], name='open_assignments'),
        ),
        migrations.AddIndex(
            model_name='assignment',
            index=models.Index(condition=models.Q(('kind', 'repair')), fields=['device', 'status'], name='repairs_of_a_device'),
        ),
    ]
