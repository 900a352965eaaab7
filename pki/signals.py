"""Signals of the pki package to the layers above, sent after commit."""

from django.dispatch import Signal

#: Sent with ``fingerprint`` (hex) and ``domain`` (slug) when a certificate has been revoked.
certificate_revoked = Signal()
