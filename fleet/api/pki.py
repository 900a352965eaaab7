"""Certificates and the ledger."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from fleet.api import paging
from fleet.api.auth import actor
from fleet.api.base import Input, Output, View, read
from pki import selectors
from pki.kernel.actor import Role
from pki.services import certificates, ledger_check


class CertificateOut(Output):
    """A device certificate."""

    fingerprint = serializers.CharField()
    serial = serializers.CharField()
    subject = serializers.CharField(source="subject_urn")
    device = serializers.CharField(source="subject_key")
    not_before = serializers.DateTimeField()
    not_after = serializers.DateTimeField()
    revoked_at = serializers.DateTimeField(allow_null=True)
    revocation_reason = serializers.CharField()


class RevokeIn(Input):
    """Why a certificate is revoked."""

    reason = serializers.ChoiceField(choices=sorted(certificates.REASONS))


class EntryOut(Output):
    """A ledger entry."""

    id = serializers.UUIDField(source="public_id")
    at = serializers.DateTimeField()
    actor_kind = serializers.CharField()
    actor_key = serializers.CharField()
    via = serializers.CharField()
    action = serializers.CharField()
    object_kind = serializers.CharField()
    object_key = serializers.CharField()
    detail = serializers.JSONField()
    leaf_hash = serializers.CharField()


class HeadOut(Output):
    """A signed ledger head."""

    epoch = serializers.IntegerField()
    size = serializers.IntegerField()
    root_hash = serializers.CharField()
    at = serializers.DateTimeField()
    key_id = serializers.CharField()
    signature = serializers.CharField()


class VerifyOut(Output):
    """What a verification of the ledger found."""

    ok = serializers.BooleanField()
    entries = serializers.IntegerField()
    heads = serializers.IntegerField()
    problems = serializers.ListField(child=serializers.CharField())


class Certificates(View):
    """The certificates of the domain."""

    @extend_schema(responses=CertificateOut(many=True))
    def get(self, request: Request) -> Response:
        """List certificates, newest first; filter by ``device``."""
        who = actor(request)
        who.require(Role.VIEWER)
        rows = selectors.certificates(who.domain)
        if device := request.query_params.get("device"):
            rows = rows.filter(subject_key=device)
        return paging.page(request, rows, CertificateOut)


class CertificateRevoke(View):
    """Revocation."""

    @extend_schema(request=RevokeIn, responses=CertificateOut)
    def post(self, request: Request, fingerprint: str) -> Response:
        """Revoke a certificate for good."""
        given = read(request, RevokeIn)
        done = certificates.revoke(actor=actor(request), fingerprint=fingerprint, reason=given["reason"])
        return Response(CertificateOut(done).data)


class Ledger(View):
    """The ledger's entries."""

    @extend_schema(responses=EntryOut(many=True))
    def get(self, request: Request) -> Response:
        """List entries, newest first; filter by ``action`` or ``object``."""
        who = actor(request)
        who.require(Role.VIEWER)
        rows = selectors.ledger_entries(who.domain)
        if action := request.query_params.get("action"):
            rows = rows.filter(action=action)
        if key := request.query_params.get("object"):
            rows = rows.filter(object_key=key)
        return paging.page(request, rows, EntryOut)


class LedgerHead(View):
    """The newest signed head."""

    @extend_schema(responses=HeadOut)
    def get(self, request: Request) -> Response:
        """Return the newest head."""
        who = actor(request)
        who.require(Role.VIEWER)
        head = selectors.ledger_head(who.domain)
        return Response(HeadOut(head).data if head else {})


class LedgerVerify(View):
    """A full verification."""

    @extend_schema(request=None, responses=VerifyOut)
    def post(self, request: Request) -> Response:
        """Recompute the tree and compare it with every head, in the database and outside it."""
        report = ledger_check.verify(actor=actor(request))
        return Response(VerifyOut(report).data)
