"""The OpenAPI document, served."""

from drf_spectacular.views import SpectacularJSONAPIView

from fleet.api.base import View


class ApiDocument(View, SpectacularJSONAPIView):
    """The document of this API, without query parameters as every other address that declares none."""
