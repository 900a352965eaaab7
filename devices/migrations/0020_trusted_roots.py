from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('devices', '0019_index_of_names'),
    ]

    operations = [
        migrations.AddField(
            model_name='device',
            name='trusted_roots',
            field=models.CharField(max_length=140, null=True),
        ),
        migrations.AddIndex(
            model_name='device',
            index=models.Index(fields=['domain', 'state', 'trusted_roots'], name='devices_by_trusted_roots'),
        ),
    ]
