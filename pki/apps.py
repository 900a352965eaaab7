"""The Django application of the pki package."""

from django.apps import AppConfig


class PkiConfig(AppConfig):
    """Certificates, keys, trust domains and the audit log."""

    name = "pki"
    label = "pki"

    def ready(self) -> None:
        """Register how this package's journal facts are applied after a restore."""
        # Here, because models may not be imported before every application is loaded.
        from pki.services import authorities, certificates, domains, journal, numbers  # noqa: PLC0415  because of the line above

        journal.on_resume("domain", domains.create_again)
        journal.on_resume("authority", authorities.install_again)
        journal.on_resume("link", authorities.link_again)
        journal.on_resume("revoked", certificates.revoke_again)
        journal.on_resume("number-block", numbers.raise_to)
