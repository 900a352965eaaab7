"""Trust keys, bundles, releases."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import parsers, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from fleet.api.auth import actor
from fleet.api.base import Input, Name, Output, ReasonIn, Text, View, read
from fleet.api.lists import list_answer, list_schema
from fleet.api.parsers import bundle_parts
from ota.models import Bundle as BundleRow
from ota.models import Release as ReleaseRow
from ota.models import TrustKey
from ota.selectors import bundles as bundle_rows
from ota.selectors import fitting
from ota.services import bundles, releases, removals, trust_keys


class TrustKeyOut(Output):
    """A key that vouches for artefacts."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    format = serializers.CharField()
    component = serializers.CharField()
    product = serializers.CharField()
    fingerprint = serializers.CharField()
    revocation = serializers.ChoiceField(["crl", "none", "unstated", "n/a"], source="revocation_state")
    withdrawn_at = serializers.DateTimeField(allow_null=True)


class TrustKeyIn(Input):
    """A key to register."""

    name = Name(max_length=100, help_text="Its name.")
    format = serializers.ChoiceField(
        choices=TrustKey.Format.values, help_text="Format of the artefacts that it vouches for."
    )
    component = Name(
        max_length=60, default="", allow_blank=True, help_text="Vouches for this component only; empty for all."
    )
    product = Name(
        max_length=60, default="", allow_blank=True, help_text="Vouches for bundles of this id only; empty for all."
    )
    pem = Text(max_length=20_000, help_text="Public key, or certificate of a signing CA, in PEM.")
    revocation = serializers.ChoiceField(
        choices=TrustKey.Revocation.values,
        default="",
        allow_blank=True,
        help_text="How revoked signers below a signing CA are noticed: crl or none; empty for a plain key.",
    )


@extend_schema_field({"type": "string", "format": "binary"})
class FilePart(serializers.FileField):
    """A file of an upload."""


class BundleIn(Input):
    """The parts of an upload."""

    manifest = FilePart(help_text="bundle.json.")
    files = serializers.ListField(
        child=FilePart(), required=False, help_text="Each payload, with its path as the file name."
    )


class BundleOut(Output):
    """A bundle."""

    id = serializers.UUIDField(source="public_id")
    digest = serializers.CharField()
    name = serializers.CharField()
    version = serializers.CharField()
    kind = serializers.CharField()
    format = serializers.CharField()
    component = serializers.CharField()
    security_counter = serializers.IntegerField()
    facts = serializers.JSONField()
    report = serializers.JSONField()
    release = serializers.SerializerMethodField()

    def get_release(self, bundle: BundleRow) -> str | None:
        """Return the id of the bundle's release, if there is one."""
        release = getattr(bundle, "release", None)
        return str(release.public_id) if release else None


class ReleaseOut(Output):
    """A release."""

    id = serializers.UUIDField(source="public_id")
    bundle = serializers.UUIDField(source="bundle.public_id")
    name = serializers.CharField(source="bundle.name")
    version = serializers.CharField(source="bundle.version")
    state = serializers.CharField()
    statement = serializers.SerializerMethodField()
    withdrawal = serializers.SerializerMethodField()
    signed_by = serializers.SerializerMethodField()
    published_at = serializers.DateTimeField(allow_null=True)

    def get_statement(self, release: ReleaseRow) -> str | None:
        """Return the id of the statement that officers sign to release it."""
        return str(release.statement.public_id) if release.statement else None

    def get_withdrawal(self, release: ReleaseRow) -> str | None:
        """Return the id of the statement that officers sign to take it back."""
        return str(release.withdrawal.public_id) if release.withdrawal else None

    def get_signed_by(self, release: ReleaseRow) -> list[str]:
        """Return the officers who signed so far."""
        return sorted(one.officer for one in release.statement.signatures.all()) if release.statement else []


class ReleaseIn(Input):
    """The bundle to release."""

    bundle = serializers.UUIDField(help_text="Id of the bundle.")
    raise_floor = serializers.BooleanField(
        default=False, help_text="Whether devices refuse lower security counters from then on."
    )


class TrustKeys(View):
    """Keys that vouch for artefacts."""

    @list_schema(TrustKeyOut)
    def get(self, request: Request) -> Response:
        """List trust keys."""
        return list_answer(request, bundle_rows.trust_keys, TrustKeyOut)

    @extend_schema(request=TrustKeyIn, responses={201: TrustKeyOut})
    def post(self, request: Request) -> Response:
        """Register a key."""
        made = trust_keys.add(actor=actor(request), **read(request, TrustKeyIn))
        return Response(TrustKeyOut(made).data, status=status.HTTP_201_CREATED)


class Bundles(View):
    """Bundles."""

    parser_classes = (parsers.MultiPartParser,)

    @list_schema(BundleOut, bundle_rows.BundleFilter)
    def get(self, request: Request) -> Response:
        """List bundles, newest first."""
        return list_answer(request, bundle_rows.bundles, BundleOut)

    @extend_schema(request={"multipart/form-data": BundleIn}, responses={201: BundleOut})
    def post(self, request: Request) -> Response:
        """Upload a bundle: the part ``manifest`` (bundle.json) and a part ``files`` for each payload."""
        manifest, files = bundle_parts(request)
        made = bundles.upload(actor=actor(request), manifest=manifest, files=files)
        return Response(BundleOut(made).data, status=status.HTTP_201_CREATED)


class Bundle(View):
    """One bundle."""

    @extend_schema(responses=BundleOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return a bundle with its verification report."""
        who = actor(request)
        return Response(BundleOut(bundle_rows.bundle(actor=who, public_id=public_id)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, public_id: str) -> Response:
        """Delete a bundle that was never published, with its unpublished release."""
        who = actor(request)
        removals.delete_bundle(actor=who, bundle=bundle_rows.bundle(actor=who, public_id=public_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class FitOut(Output):
    """One bundle of a model against the hardware models that it is for."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    version = serializers.CharField()
    hardware = serializers.SerializerMethodField()

    def get_hardware(self, bundle: BundleRow) -> list[dict[str, Any]]:  # untyped: the document says the hint
        """Return for each hardware model whether it fits, and why not, as both are now."""
        known = self.context.get("released")
        found = [(model, fitting.reasons(bundle, model, known)) for model in bundle.hardware_models.all()]
        return [
            {
                "name": model.name,
                "fits": not why,
                "reasons": [one.to_dict() for one in why],
                "arena": fitting.facts(bundle, model).get("arena"),
            }
            for model, why in found
        ]


class Fit(View):
    """Which models fit which hardware."""

    @list_schema(FitOut)
    def get(self, request: Request) -> Response:
        """List bundles of models, newest first, against the hardware models that they are for."""
        known = fitting.released(actor(request).domain)
        return list_answer(request, fitting.models, FitOut, context=lambda _: {"released": known})


class Releases(View):
    """Releases."""

    @list_schema(ReleaseOut, bundle_rows.ReleaseFilter)
    def get(self, request: Request) -> Response:
        """List releases, newest first."""
        return list_answer(request, bundle_rows.releases, ReleaseOut)

    @extend_schema(request=ReleaseIn, responses={201: ReleaseOut})
    def post(self, request: Request) -> Response:
        """Prepare the release of a bundle for two officers to sign."""
        who, given = actor(request), read(request, ReleaseIn)
        bundle = bundle_rows.bundle(actor=who, public_id=given["bundle"])
        made = releases.prepare(actor=who, bundle=bundle, raise_floor=given["raise_floor"])
        return Response(ReleaseOut(made).data, status=status.HTTP_201_CREATED)


class Release(View):
    """One release."""

    @extend_schema(responses=ReleaseOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return a release and who signed it."""
        who = actor(request)
        return Response(ReleaseOut(bundle_rows.release(actor=who, public_id=public_id)).data)


class ReleaseWithdraw(View):
    """Withdrawal."""

    @extend_schema(request=ReasonIn, responses=ReleaseOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Take a release back: it is offered no more, and ``withdrawal`` is what officers sign."""
        who, given = actor(request), read(request, ReasonIn)
        release = bundle_rows.release(actor=who, public_id=public_id)
        done = releases.withdraw(actor=who, release=release, reason=given["reason"])
        return Response(ReleaseOut(done).data)
