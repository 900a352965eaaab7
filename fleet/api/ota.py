"""Trust keys, bundles and releases."""

from typing import Any, NotRequired, TypedDict

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import parsers, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from fleet.api.auth import api_actor
from fleet.api.base import Input, Name, Output, ReasonIn, Text, View, read_fields
from fleet.api.documents import DescribedDocument, schema_of
from fleet.api.lists import list_answer, list_schema
from fleet.api.parsers import bundle_parts
from ota.facts import Arena, BundleFacts
from ota.models import Bundle as BundleRow
from ota.models import Release as ReleaseRow
from ota.models import TrustKey
from ota.selectors import bundles as bundle_rows
from ota.selectors import fitting
from ota.services import bundles, releases, removals, trust_keys


class TrustKeyOut(Output):
    """A key that verifies signatures of artefacts."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    format = serializers.CharField()
    component = serializers.CharField()
    product = serializers.CharField()
    fingerprint = serializers.CharField()
    revocation = serializers.ChoiceField(["crl", "none", "unstated", "n/a"], source="revocation_state")
    withdrawn_at = serializers.DateTimeField(allow_null=True)


class TrustKeyIn(Input):
    """A trust key to register."""

    name = Name(max_length=100, help_text="Name of the trust key.")
    format = serializers.ChoiceField(
        choices=TrustKey.Format.values, help_text="Format of the artefacts that the key verifies."
    )
    component = Name(
        max_length=60, default="", allow_blank=True, help_text="Component that the key may sign; empty for all."
    )
    product = Name(
        max_length=60, default="", allow_blank=True, help_text="Id of the bundles that the key may sign; empty for all."
    )
    pem = Text(max_length=20_000, help_text="Public key, or certificate of a signing CA, in PEM.")
    revocation = serializers.ChoiceField(
        choices=TrustKey.Revocation.values,
        default="",
        allow_blank=True,
        help_text="Revocation check of signers below a signing CA: crl or none; empty for a plain key.",
    )


@extend_schema_field({"type": "string", "format": "binary"})
class FilePart(serializers.FileField):
    """An uploaded file."""


class BundleIn(Input):
    """The parts of a bundle upload."""

    manifest = FilePart(help_text="The bundle.json file.")
    files = serializers.ListField(
        child=FilePart(), required=False, help_text="The payloads. The file name of each part is its path."
    )


class ReportLine(TypedDict):
    """One check of a verification: its name, the tool that made it, and the outcome."""

    check: str
    tool: str
    outcome: str


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
    facts = DescribedDocument(BundleFacts, help_text="Facts from the inspection of the files, by the bundle's format.")
    report = DescribedDocument(list[ReportLine], help_text="Checks of the verification, in order.")
    release = serializers.SerializerMethodField()

    def get_release(self, bundle: BundleRow) -> str | None:
        """Id of the bundle's release; null if there is none."""
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
        """Id of the signing request for the release."""
        return str(release.statement.public_id) if release.statement else None

    def get_withdrawal(self, release: ReleaseRow) -> str | None:
        """Id of the signing request for the withdrawal."""
        return str(release.withdrawal.public_id) if release.withdrawal else None

    def get_signed_by(self, release: ReleaseRow) -> list[str]:
        """Officers who have signed."""
        return (
            sorted(signature.officer for signature in release.statement.signatures.all()) if release.statement else []
        )


class ReleaseIn(Input):
    """The bundle to release."""

    bundle = serializers.UUIDField(help_text="Id of the bundle.")
    raise_floor = serializers.BooleanField(
        default=False, help_text="Whether to raise the floor: devices then reject lower security counters."
    )


class TrustKeys(View):
    """Keys that verify signatures of artefacts."""

    @list_schema(TrustKeyOut)
    def get(self, request: Request) -> Response:
        """List trust keys."""
        return list_answer(request, bundle_rows.trust_keys, TrustKeyOut)

    @extend_schema(request=TrustKeyIn, responses={201: TrustKeyOut})
    def post(self, request: Request) -> Response:
        """Register a trust key."""
        created = trust_keys.add(actor=api_actor(request), **read_fields(request, TrustKeyIn))
        return Response(TrustKeyOut(created).data, status=status.HTTP_201_CREATED)


class Bundles(View):
    """Bundles."""

    parser_classes = (parsers.MultiPartParser,)

    @list_schema(BundleOut, bundle_rows.BundleFilter)
    def get(self, request: Request) -> Response:
        """List bundles, newest first."""
        return list_answer(request, bundle_rows.list_bundles, BundleOut)

    @extend_schema(request={"multipart/form-data": BundleIn}, responses={201: BundleOut})
    def post(self, request: Request) -> Response:
        """Upload a bundle as multipart: the part ``manifest`` (bundle.json) and one part ``files`` per payload."""
        manifest, files = bundle_parts(request)
        created = bundles.upload(actor=api_actor(request), manifest=manifest, files=files)
        return Response(BundleOut(created).data, status=status.HTTP_201_CREATED)


class BundleView(View):
    """One bundle."""

    @extend_schema(responses=BundleOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return a bundle with its verification report."""
        who = api_actor(request)
        return Response(BundleOut(bundle_rows.get_bundle(actor=who, public_id=public_id)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, public_id: str) -> Response:
        """Delete a bundle that was never published, and its unpublished release."""
        who = api_actor(request)
        removals.delete_bundle(actor=who, bundle=bundle_rows.get_bundle(actor=who, public_id=public_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class FitReason(TypedDict):
    """A reason against a model on a hardware model; ``need`` and ``have`` are bytes, a version, or a name."""

    code: str
    need: NotRequired[int | str]
    have: NotRequired[int | str]
    source: NotRequired[str]
    subject: NotRequired[str]
    text: str


class FitVerdict(TypedDict):
    """Compatibility of a model with one hardware model, and the memory that its tensors need there."""

    name: str
    fits: bool
    reasons: list[FitReason]
    arena: Arena | None


class FitOut(Output):
    """Compatibility of a model bundle with its target hardware models."""

    id = serializers.UUIDField(source="public_id")
    name = serializers.CharField()
    version = serializers.CharField()
    hardware = serializers.SerializerMethodField()

    @extend_schema_field(schema_of(list[FitVerdict]))
    def get_hardware(
        self, bundle: BundleRow
    ) -> list[dict[str, Any]]:  # untyped: the members of a reason depend on its code
        """Compatibility of the model with each target hardware model, and the reasons against it, by current data."""
        known = self.context.get("released")
        models = [
            (model, fitting.incompatibility_reasons(bundle, model, known)) for model in bundle.hardware_models.all()
        ]
        return [
            {
                "name": model.name,
                "fits": not why,
                "reasons": [reason.to_dict() for reason in why],
                "arena": fitting.bundle_facts(bundle, model).get("arena"),
            }
            for model, why in models
        ]


class FitView(View):
    """Compatibility of models and hardware."""

    @list_schema(FitOut)
    def get(self, request: Request) -> Response:
        """List model bundles, newest first, with their compatibility with each target hardware model."""
        known = fitting.released_counters(api_actor(request).domain)
        return list_answer(request, fitting.list_model_bundles, FitOut, context=lambda _: {"released": known})


class Releases(View):
    """Releases."""

    @list_schema(ReleaseOut, bundle_rows.ReleaseFilter)
    def get(self, request: Request) -> Response:
        """List releases, newest first."""
        return list_answer(request, bundle_rows.list_releases, ReleaseOut)

    @extend_schema(request=ReleaseIn, responses={201: ReleaseOut})
    def post(self, request: Request) -> Response:
        """Prepare the release of a bundle: two officers must sign it."""
        who, given = api_actor(request), read_fields(request, ReleaseIn)
        bundle = bundle_rows.get_bundle(actor=who, public_id=given["bundle"])
        created = releases.prepare_release(actor=who, bundle=bundle, raise_floor=given["raise_floor"])
        return Response(ReleaseOut(created).data, status=status.HTTP_201_CREATED)


class ReleaseView(View):
    """One release."""

    @extend_schema(responses=ReleaseOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return a release and its signatures."""
        who = api_actor(request)
        return Response(ReleaseOut(bundle_rows.get_release(actor=who, public_id=public_id)).data)


class ReleaseWithdraw(View):
    """Withdraw a release."""

    @extend_schema(request=ReasonIn, responses=ReleaseOut)
    def post(self, request: Request, public_id: str) -> Response:
        """Withdraw a release. It is no longer offered; ``withdrawal`` is the signing request for the officers."""
        who, given = api_actor(request), read_fields(request, ReasonIn)
        release = bundle_rows.get_release(actor=who, public_id=public_id)
        done = releases.withdraw(actor=who, release=release, reason=given["reason"])
        return Response(ReleaseOut(done).data)
