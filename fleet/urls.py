"""URLs of the operator server: health, REST API, console. Device URLs are not here: the device gateway has its own."""

from django.urls import include, path

from fleet import health
from fleet.api.missing import missing_resource

handler400 = "fleet.api.missing.bad_request"
urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics_page),
    path("api/v1/", include("fleet.api.urls")),
    path("api/", missing_resource),
    path("api/<path:rest>", missing_resource),
    path("", include("fleet.console.urls")),
]
