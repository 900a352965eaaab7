"""What the devices floor tells the floors above, after commit.

Arguments of both: ``incident`` (row) and ``domain`` (slug).
"""

from django.dispatch import Signal

incident_opened = Signal()
incident_closed = Signal()
