"""Certificates and the ledger."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from devices import selectors as devices
from fleet.api.auth import actor
from fleet.api.base import Input, Name, Output, View, read
from fleet.api.lists import list_answer, list_schema, whole_schema
from pki import selectors
from pki.services import certificates, ledger_check, ledger_proofs, profiles

MOST_DIGITS = 6


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

    reason = serializers.ChoiceField(choices=sorted(certificates.REASONS), help_text="Reason of RFC 5280, 5.3.1.")
    lineage = serializers.BooleanField(
        allow_null=True,
        default=None,
        help_text="Whether to revoke what was renewed from it too; null: only for keyCompromise.",
    )


class AuthorityOut(Output):
    """A CA certificate."""

    id = serializers.UUIDField(source="public_id")
    kind = serializers.CharField()
    state = serializers.CharField()
    name = serializers.CharField()
    key_id = serializers.CharField()
    fingerprint = serializers.CharField()
    not_before = serializers.DateTimeField()
    not_after = serializers.DateTimeField()


class ShardOut(Output):
    """A published revocation list."""

    authority = serializers.CharField(source="key_id")
    shard = serializers.IntegerField()
    number = serializers.IntegerField()
    held = serializers.IntegerField()
    dirty = serializers.BooleanField()
    published_at = serializers.DateTimeField(allow_null=True)
    next_update = serializers.DateTimeField(allow_null=True)


def _bounded(name: str, says: str) -> serializers.IntegerField:
    """Return a field of a profile with the bounds that the service holds."""
    least, most = profiles.BOUNDS[name]
    return serializers.IntegerField(min_value=least, max_value=most, required=False, help_text=says)


class ProfileIn(Input):
    """What is to change in a profile; what is not given stays."""

    name = serializers.SlugField(max_length=40, help_text="Its name: letters, digits and hyphens.")
    validity_days = _bounded("validity_days", "Lifetime of a certificate, in days.")
    renewal_days = _bounded("renewal_days", "How long before its end a device renews, in days.")
    jitter_hours = _bounded("jitter_hours", "Spread of renewals, in hours, so that devices do not renew at once.")
    grace_days = _bounded("grace_days", "How long after its end a certificate can still be renewed, in days.")
    key_types = serializers.ListField(
        child=Name(max_length=20),
        max_length=20,
        required=False,
        help_text="Key types that are certified, such as `ec-p256`.",
    )
    authority = Name(
        max_length=64, required=False, allow_blank=True, help_text="Key id of the issuing CA; empty for the one in use."
    )
    proofs = serializers.ListField(
        child=Name(max_length=20),
        max_length=20,
        required=False,
        help_text="What proves a first enrolment: token, preregistered, idevid or tpm.",
    )
    approval = serializers.BooleanField(required=False, help_text="Whether a person approves each first enrolment.")
    server_keygen = serializers.BooleanField(
        required=False, help_text="Whether devices may have their key made by the server."
    )


class ProfileOut(Output):
    """A certificate profile."""

    name = serializers.CharField()
    validity_days = serializers.IntegerField()
    renewal_days = serializers.IntegerField()
    jitter_hours = serializers.IntegerField()
    grace_days = serializers.IntegerField()
    key_types = serializers.ListField(child=serializers.CharField())
    authority = serializers.CharField()
    proofs = serializers.ListField(child=serializers.CharField())
    approval = serializers.BooleanField()
    server_keygen = serializers.BooleanField()


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
    witnesses = serializers.IntegerField()
    problems = serializers.ListField(child=serializers.CharField())


class Certificates(View):
    """The certificates of the domain."""

    @list_schema(CertificateOut, devices.CertificateFilter)
    def get(self, request: Request) -> Response:
        """List certificates, newest first."""
        return list_answer(request, devices.certificates, CertificateOut)


class CertificateRevoke(View):
    """Revocation."""

    @extend_schema(request=RevokeIn, responses=CertificateOut)
    def post(self, request: Request, fingerprint: str) -> Response:
        """Revoke a certificate for good."""
        given = read(request, RevokeIn)
        done = certificates.revoke(actor=actor(request), fingerprint=fingerprint, **given)
        return Response(CertificateOut(done).data)


class CertificateLineage(View):
    """What was renewed from a certificate."""

    @whole_schema(CertificateOut)
    def get(self, request: Request, fingerprint: str) -> Response:
        """List what a revocation with ``lineage`` would take along, oldest first: a preview."""
        who = actor(request)
        rows = certificates.descendants(selectors.certificate(actor=who, fingerprint=fingerprint))
        return Response({"results": CertificateOut(rows, many=True).data, "next": None})


class Authorities(View):
    """The CA certificates of the domain."""

    @list_schema(AuthorityOut)
    def get(self, request: Request) -> Response:
        """List roots, issuing CAs and the links of a rollover."""
        return list_answer(request, selectors.authority_rows, AuthorityOut)


class Crls(View):
    """The revocation lists of the domain."""

    @list_schema(ShardOut)
    def get(self, request: Request) -> Response:
        """List the lists: number, entries, freshness."""
        return list_answer(request, selectors.crl_shards, ShardOut)


class Profiles(View):
    """Certificate profiles."""

    @list_schema(ProfileOut)
    def get(self, request: Request) -> Response:
        """List the profiles that were defined; ``device`` has its defaults until it is."""
        return list_answer(request, selectors.profiles, ProfileOut)

    @extend_schema(request=ProfileIn, responses=ProfileOut)
    def post(self, request: Request) -> Response:
        """Define a profile, or change what is given of one."""
        row = profiles.define(actor=actor(request), **read(request, ProfileIn))
        return Response(ProfileOut(row).data)


class Ledger(View):
    """The ledger's entries."""

    @list_schema(EntryOut, selectors.LedgerFilter)
    def get(self, request: Request) -> Response:
        """List entries, newest first."""
        return list_answer(request, selectors.ledger_entries, EntryOut)


class LedgerHead(View):
    """The newest signed head."""

    @extend_schema(responses=HeadOut)
    def get(self, request: Request) -> Response:
        """Return the newest head."""
        return Response(HeadOut(selectors.signed_head(actor=actor(request))).data)


class LedgerVerify(View):
    """A full verification."""

    @extend_schema(request=None, responses=VerifyOut)
    def post(self, request: Request) -> Response:
        """Recompute the tree and compare it with every head, in the database and outside it."""
        who = actor(request)
        report = ledger_check.verify(actor=who, witnesses=devices.witnesses(actor=who))
        return Response(VerifyOut(report).data)


class InclusionOut(Output):
    """A proof that an entry stands in the newest signed tree."""

    leaf = serializers.JSONField()
    index = serializers.IntegerField()
    size = serializers.IntegerField()
    root_hash = serializers.CharField(source="root")
    path = serializers.ListField(child=serializers.CharField())


class ConsistencyOut(Output):
    """A proof that the newest signed tree only adds to an older one."""

    old_size = serializers.IntegerField()
    new_size = serializers.IntegerField()
    new_root = serializers.CharField()
    path = serializers.ListField(child=serializers.CharField())


class LedgerInclusion(View):
    """Proof of one entry."""

    @extend_schema(responses=InclusionOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return the path from an entry to the root that the newest head signs."""
        return Response(InclusionOut(ledger_proofs.inclusion(actor=actor(request), entry=public_id)).data)


class LedgerConsistency(View):
    """Proof of growth."""

    @extend_schema(responses=ConsistencyOut)
    def get(self, request: Request, old: str) -> Response:
        """Return what shows that the newest tree only adds to the one of so many entries."""
        return Response(ConsistencyOut(ledger_proofs.consistency(actor=actor(request), old=int(old))).data)
