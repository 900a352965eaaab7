"""The signal of the devices package to the layers above, sent after commit."""

from django.dispatch import Signal

#: Sent with ``incident`` (row) and ``domain`` (slug) when an incident has been opened, or became more severe.
incident_opened = Signal()
