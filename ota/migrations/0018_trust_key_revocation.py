

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ota', '0017_rollouts_in_small_commits'),
    ]

    operations = [
        migrations.AddField(
            model_name='trustkey',
            name='issuer_crl',
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name='trustkey',
            name='issuer_pem',
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name='trustkey',
            name='revocation',
            field=models.CharField(blank=True, choices=[('crl', 'Crl'), ('none', 'None')], max_length=8),
        ),
    ]
