"""Indexes of commands by state, and of open ones by their end."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('devices', '0021_fill_trusted_roots'),
        ('ota', '0025_pages_of_rollouts'),
        ('pki', '0009_journal_checkpoint'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='command',
            index=models.Index(fields=['domain', 'state', 'id'], name='commands_in_a_state'),
        ),
        migrations.AddIndex(
            model_name='command',
            index=models.Index(condition=models.Q(('closed_at__isnull', True)), fields=['domain', 'expires_at'], name='commands_that_expire'),
        ),
    ]
