"""Contents of bundles (from their SBOMs), and the delta patches to them."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from fleet.api.auth import api_actor
from fleet.api.base import Output, View, asked_of
from fleet.api.lists import query_schema
from ota.selectors import bundles, patches
from ota.selectors.contents import ContentsFilter, bundle_contents


class ComponentOut(Output):
    """One component of a bundle, from its SBOM."""

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


class ContentsView(View):
    """Components of a bundle."""

    @query_schema(ContentsFilter, ContentsOut)
    def get(self, request: Request, public_id: str) -> Response:
        """List the components of a bundle. `q` filters by name, version, licence and kind; all words must match."""
        asked = asked_of(request)
        bundle = bundles.get_bundle(actor=api_actor(request), public_id=public_id)
        return Response(ContentsOut(bundle_contents(bundle, asked.q, int(asked.page))).data)


class PatchOut(Output):
    """A delta patch to a bundle's image."""

    base = serializers.CharField(allow_null=True)
    format = serializers.CharField()
    size = serializers.IntegerField()
    saved = serializers.FloatField()
    trouble = serializers.CharField()


class PatchesOut(Output):
    """Delta patches to a bundle's image."""

    results = PatchOut(many=True)
    done = serializers.IntegerField(help_text="Number of patches tried so far.")
    wanted = serializers.IntegerField(help_text="Number of patches planned.")


class Patches(View):
    """Delta patches to one bundle."""

    @extend_schema(responses=PatchesOut)
    def get(self, request: Request, public_id: str) -> Response:
        """List the delta patches to a bundle's image, largest saving first, and how many of them are done."""
        who = api_actor(request)
        bundle = bundles.get_bundle(actor=who, public_id=public_id)
        done, wanted = patches.patch_progress(bundle) or (0, 0)
        answer = PatchOut(patches.of_bundle(bundle), many=True).data
        return Response({"results": answer, "done": done, "wanted": wanted})
