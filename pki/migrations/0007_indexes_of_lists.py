"""Indexes from which lists in the order of their ids are read without a look at every row of the domain."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('pki', '0006_change_feed'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='certificate',
            index=models.Index(fields=['domain', 'subject_key', 'id'], name='certificates_of_a_subject'),
        ),
        migrations.AddIndex(
            model_name='ledgerentry',
            index=models.Index(fields=['domain', 'object_key', 'id'], name='entries_of_a_thing'),
        ),
        migrations.AddIndex(
            model_name='ledgerentry',
            index=models.Index(fields=['domain', 'action', 'id'], name='entries_of_an_action'),
        ),
    ]
