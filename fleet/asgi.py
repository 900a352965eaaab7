"""The operator door's ASGI application: Django. Devices have a door of their own in ``fleet.gateway``."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
application = get_asgi_application()
