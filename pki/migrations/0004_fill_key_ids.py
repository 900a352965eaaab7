"""Give CAs that are there already their key id, and what was revoked already its entry in the lists."""

from cryptography import x509
from django.db import migrations

from pki import crl
from pki.x509 import key_id, shard_of


def fill(apps, _schema_editor):
    """Fill what is empty; running it again changes nothing."""
    authority, certificate = apps.get_model("pki", "Authority"), apps.get_model("pki", "Certificate")
    entry = apps.get_model("pki", "RevokedEntry")
    for row in authority.objects.filter(key_id=""):
        row.key_id = key_id(x509.load_der_x509_certificate(bytes(row.der)))
        row.save(update_fields=["key_id"])
    for row in certificate.objects.filter(revoked_at__isnull=False).select_related("authority").iterator():
        serial = int(row.serial, 16)
        entry.objects.get_or_create(
            certificate=row,
            defaults={
                "key_id": row.authority.key_id,
                "shard": shard_of(serial),
                "der": crl.crl_entry(serial, row.revoked_at, row.revocation_reason),
                "not_after": row.not_after,
            },
        )


class Migration(migrations.Migration):
    """Fill."""

    dependencies = (("pki", "0003_profiles_and_revocation_lists"),)
    operations = (migrations.RunPython(fill, migrations.RunPython.noop, elidable=True),)
