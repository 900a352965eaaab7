"""Signals of the devices package to the layers above, sent after commit.

Arguments of both: ``incident`` (row) and ``domain`` (slug).
"""

from django.dispatch import Signal

incident_opened = Signal()
incident_closed = Signal()
