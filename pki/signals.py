"""What the ground floor tells the floors above, after commit."""

from django.dispatch import Signal

#: Sent with ``fingerprint`` (hex) and ``domain`` (slug) when a certificate has been revoked.
certificate_revoked = Signal()
