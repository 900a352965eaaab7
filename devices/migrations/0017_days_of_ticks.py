from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('devices', '0016_index_of_tags'),
    ]

    operations = [
        migrations.CreateModel(
            name='ObservationDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('device_id', models.BigIntegerField()),
                ('day', models.IntegerField()),
                ('key', models.CharField(max_length=60)),
                ('start', models.BigIntegerField()),
                ('values', models.BinaryField()),
            ],
            options={
                'indexes': [models.Index(fields=['day'], name='observation_days_by_age')],
                'constraints': [models.UniqueConstraint(fields=('device_id', 'day', 'key'), name='one_observation_day_a_key')],
            },
        ),
        migrations.CreateModel(
            name='SampleDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('device_id', models.BigIntegerField()),
                ('day', models.IntegerField()),
                ('metric', models.CharField(max_length=40)),
                ('start', models.BigIntegerField()),
                ('values', models.BinaryField()),
            ],
            options={
                'indexes': [models.Index(fields=['day'], name='sample_days_by_age')],
                'constraints': [models.UniqueConstraint(fields=('device_id', 'day', 'metric'), name='one_sample_day_a_metric')],
            },
        ),
    ]
