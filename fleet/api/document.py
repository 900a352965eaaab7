"""Serve the OpenAPI document."""

from drf_spectacular.views import SpectacularJSONAPIView

from fleet.api.base import View


class ApiDocument(View, SpectacularJSONAPIView):
    """Return the OpenAPI document of this API."""
