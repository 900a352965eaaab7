"""PATCH where it merges takes the media type of RFC 7396."""

import pytest
from rest_framework.test import APIRequestFactory

from fleet.api.devices import DeviceView
from fleet.api.field import TwinView
from tests.regressions import regression


@regression("B8", "application/merge-patch+json where PATCH merges; types in other letters")
@pytest.mark.parametrize("view", [TwinView, DeviceView])
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/merge-patch+json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ("text/plain", 415),
        ("application/cbor", 415),
    ],
)
def test_a_patch_is_read_by_its_media_type(view, kind, status):
    read = []

    class Reading(view):
        authentication_classes = permission_classes = ()

        def patch(self, request):
            read.append(request.data)
            from rest_framework.response import Response

            return Response({})

    answer = Reading.as_view()(APIRequestFactory().generic("PATCH", "/", b'{"a": null}', content_type=kind))
    assert answer.status_code == status
    assert read == ([{"a": None}] if status == 200 else [])
