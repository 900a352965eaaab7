"""Indexes from which pages of a rollout and of a group are read; indexes that begin as others do are removed."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models.lookups import IsNull

SEVERAL = models.Func(
    models.F('status'),
    output_field=models.CharField(),
    template=(
        "CASE %(expressions)s WHEN 'scheduled' THEN 'offered' WHEN 'retrieved' THEN 'offered'"
        " WHEN 'running' THEN 'installing' WHEN 'download' THEN 'installing' WHEN 'downloaded' THEN 'installing'"
        " WHEN 'installed' THEN 'installing' WHEN 'warning' THEN 'installing' END"
    ),
)


def _without_index(name, model, index):
    """Remove the index of a foreign key. Django would copy the table on SQLite, and lose its triggers."""
    field = models.ForeignKey(
        db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='assignments', to=model
    )
    return migrations.SeparateDatabaseAndState(
        [migrations.RunSQL(f'DROP INDEX {index}', f'CREATE INDEX {index} ON ota_assignment ({name}_id)')],
        [migrations.AlterField(model_name='assignment', name=name, field=field)],
    )


class Migration(migrations.Migration):

    dependencies = [
        ('devices', '0021_fill_trusted_roots'),
        ('ota', '0024_count_patches'),
        ('pki', '0009_journal_checkpoint'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='assignment',
            index=models.Index(fields=['domain', 'rollout', 'id'], name='assignments_of_a_rollout'),
        ),
        migrations.AddIndex(
            model_name='assignment',
            index=models.Index(fields=['domain', 'rollout', 'status', 'id'], name='statuses_of_a_rollout'),
        ),
        migrations.AddIndex(
            model_name='assignment',
            index=models.Index(
                models.F('domain'), SEVERAL, models.F('id'),
                condition=models.Q(IsNull(SEVERAL, False)), name='assignments_in_a_group',
            ),
        ),
        migrations.AddIndex(
            model_name='assignment',
            index=models.Index(
                models.F('domain'), models.F('rollout'), SEVERAL, models.F('id'),
                condition=models.Q(IsNull(SEVERAL, False)), name='groups_of_a_rollout',
            ),
        ),
        migrations.RemoveIndex(model_name='assignment', name='ota_assignm_rollout_d6e6c2_idx'),
        _without_index('rollout', 'ota.rollout', 'ota_assignment_rollout_id_963a9267'),
        _without_index('wave', 'ota.wave', 'ota_assignment_wave_id_0af90c5d'),
    ]
