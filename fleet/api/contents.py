"""What bundles hold by their bills of materials, and the patches that bring devices to them."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from fleet.api.auth import actor
from fleet.api.base import Output, View, asked_of
from fleet.api.lists import query_schema
from ota.selectors import bundles, patches
from ota.selectors.contents import ContentsFilter, contents


class ComponentOut(Output):
    """One component of a bundle."""

    name = serializers.CharField()
    version = serializers.CharField()
    licence = serializers.CharField()
    kind = serializers.CharField()


class ContentsOut(Output):
    """A page of components."""

    count = serializers.IntegerField(source="found")
    page = serializers.IntegerField()
    pages = serializers.IntegerField()
    results = ComponentOut(many=True, source="rows")


class Contents(View):
    """A bundle's components."""

    @query_schema(ContentsFilter, ContentsOut)
    def get(self, request: Request, public_id: str) -> Response:
        """List the components of a bundle whose name, version, licence or kind holds all words of `q`."""
        asked = asked_of(request)
        bundle = bundles.bundle(actor=actor(request), public_id=public_id)
        return Response(ContentsOut(contents(bundle, asked.q, int(asked.page))).data)


class PatchOut(Output):
    """A patch that brings devices to a bundle."""

    base = serializers.CharField(allow_null=True)
    format = serializers.CharField()
    size = serializers.IntegerField()
    saved = serializers.FloatField()
    trouble = serializers.CharField()


class PatchesOut(Output):
    """The patches to a bundle's image."""

    results = PatchOut(many=True)
    done = serializers.IntegerField(help_text="How many patches were tried.")
    wanted = serializers.IntegerField(help_text="How many are to be tried.")


class Patches(View):
    """What patches save of a bundle's way to devices."""

    @extend_schema(responses=PatchesOut)
    def get(self, request: Request, public_id: str) -> Response:
        """List the patches to a bundle's image, those that save most first, and how many were tried of those wanted."""
        who = actor(request)
        bundle = bundles.bundle(actor=who, public_id=public_id)
        done, wanted = patches.progress(bundle) or (0, 0)
        found = PatchOut(patches.of_bundle(bundle), many=True).data
        return Response({"results": found, "done": done, "wanted": wanted})
