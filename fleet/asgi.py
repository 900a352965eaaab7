"""The operator door's ASGI application: Django. Devices have a door of their own in ``fleet.gateway``."""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application

from fleet.bounds import Bounded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
_django = get_asgi_application()
application = Bounded(_django, settings.FLEET_MAX_UPLOAD_MB << 20)
