"""Certificates and the audit log."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from devices import selectors as devices
from fleet.api.auth import api_actor
from fleet.api.base import Input, Name, Output, View, read_fields
from fleet.api.lists import list_answer, list_schema, whole_schema
from pki import selectors
from pki.services import certificates, ledger_check, ledger_proofs, profiles


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
    """The reason for a revocation."""

    reason = serializers.ChoiceField(
        choices=sorted(certificates.REASONS), help_text="Revocation reason (RFC 5280, 5.3.1)."
    )
    lineage = serializers.BooleanField(
        allow_null=True,
        default=None,
        help_text="Whether to revoke its renewals too. null: only if the reason is keyCompromise.",
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
    """A published certificate revocation list (CRL)."""

    authority = serializers.CharField(source="key_id")
    shard = serializers.IntegerField()
    number = serializers.IntegerField()
    held = serializers.IntegerField()
    dirty = serializers.BooleanField()
    published_at = serializers.DateTimeField(allow_null=True)
    next_update = serializers.DateTimeField(allow_null=True)


def _bounded(name: str, says: str) -> serializers.IntegerField:
    """Return a field of a profile with the limits that the service enforces."""
    least, most = profiles.BOUNDS[name]
    return serializers.IntegerField(min_value=least, max_value=most, required=False, help_text=says)


class ProfileIn(Input):
    """Changes to a certificate profile; omitted fields keep their values."""

    name = serializers.SlugField(max_length=40, help_text="Name of the profile: letters, digits and hyphens.")
    validity_days = _bounded("validity_days", "Lifetime of the certificates, in days.")
    renewal_days = _bounded("renewal_days", "Time before expiry at which devices renew, in days.")
    jitter_hours = _bounded(
        "jitter_hours", "Random spread of renewals, in hours, so that devices do not renew all at once."
    )
    grace_days = _bounded("grace_days", "Time after expiry in which a certificate can still be renewed, in days.")
    key_types = serializers.ListField(
        child=Name(max_length=20),
        max_length=20,
        required=False,
        help_text="Accepted key types, such as `p256`.",
    )
    authority = Name(
        max_length=64, required=False, allow_blank=True, help_text="Key id of the issuing CA; empty for the active one."
    )
    proofs = serializers.ListField(
        child=Name(max_length=20),
        max_length=20,
        required=False,
        help_text="Accepted proofs for a first enrolment: token, preregistered, idevid or tpm.",
    )
    approval = serializers.BooleanField(
        required=False, help_text="Whether each first enrolment needs a person's approval."
    )
    server_keygen = serializers.BooleanField(
        required=False, help_text="Whether the server may generate keys for devices."
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
    """An audit-log entry."""

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
    """A signed tree head of the audit log."""

    epoch = serializers.IntegerField()
    size = serializers.IntegerField()
    root_hash = serializers.CharField()
    at = serializers.DateTimeField()
    key_id = serializers.CharField()
    signature = serializers.CharField()


class VerifyOut(Output):
    """The result of an audit-log verification."""

    ok = serializers.BooleanField()
    entries = serializers.IntegerField()
    heads = serializers.IntegerField()
    witnesses = serializers.IntegerField()
    problems = serializers.ListField(child=serializers.CharField())


class Certificates(View):
    """Certificates of the trust domain."""

    @list_schema(CertificateOut, devices.CertificateFilter)
    def get(self, request: Request) -> Response:
        """List certificates, newest first; with `expiring`, first those that end first."""
        return list_answer(request, devices.list_device_certificates, CertificateOut)


class CertificateRevoke(View):
    """Revoke a certificate."""

    @extend_schema(request=RevokeIn, responses=CertificateOut)
    def post(self, request: Request, fingerprint: str) -> Response:
        """Revoke a certificate permanently."""
        given = read_fields(request, RevokeIn)
        done = certificates.revoke(actor=api_actor(request), fingerprint=fingerprint, **given)
        return Response(CertificateOut(done).data)


class CertificateLineage(View):
    """Renewals of a certificate."""

    @whole_schema(CertificateOut)
    def get(self, request: Request, fingerprint: str) -> Response:
        """List the certificates that a revocation with ``lineage`` would revoke too, oldest first."""
        who = api_actor(request)
        rows = certificates.renewed_certificates(selectors.get_certificate(actor=who, fingerprint=fingerprint))
        return Response({"results": CertificateOut(rows, many=True).data, "next": None})


class Authorities(View):
    """CA certificates of the trust domain."""

    @list_schema(AuthorityOut)
    def get(self, request: Request) -> Response:
        """List root CAs, issuing CAs and the cross-certificates of a root rollover."""
        return list_answer(request, selectors.authority_rows, AuthorityOut)


class Crls(View):
    """CRLs of the trust domain."""

    @list_schema(ShardOut)
    def get(self, request: Request) -> Response:
        """List the CRLs: number, entries, freshness."""
        return list_answer(request, selectors.crl_shards, ShardOut)


class Profiles(View):
    """Certificate profiles."""

    @list_schema(ProfileOut)
    def get(self, request: Request) -> Response:
        """List the defined certificate profiles. The profile ``device`` has default values until it is defined."""
        return list_answer(request, selectors.list_profiles, ProfileOut)

    @extend_schema(request=ProfileIn, responses=ProfileOut)
    def post(self, request: Request) -> Response:
        """Create a certificate profile, or change the given fields of an existing one."""
        row = profiles.define_profile(actor=api_actor(request), **read_fields(request, ProfileIn))
        return Response(ProfileOut(row).data)


class Ledger(View):
    """Entries of the audit log."""

    @list_schema(EntryOut, selectors.LedgerFilter)
    def get(self, request: Request) -> Response:
        """List audit-log entries, newest first."""
        return list_answer(request, selectors.ledger_entries, EntryOut)


class LedgerHeadView(View):
    """The newest signed tree head."""

    @extend_schema(responses=HeadOut)
    def get(self, request: Request) -> Response:
        """Return the newest signed tree head (RFC 6962)."""
        return Response(HeadOut(selectors.signed_head(actor=api_actor(request))).data)


class LedgerVerify(View):
    """Verify the audit log."""

    @extend_schema(request=None, responses=VerifyOut)
    def post(self, request: Request) -> Response:
        """Recompute the Merkle tree and compare it with every signed tree head, in the database and in the journal."""
        who = api_actor(request)
        report = ledger_check.verify_ledger(actor=who, witnesses=devices.reported_heads(actor=who))
        return Response(VerifyOut(report).data)


class InclusionOut(Output):
    """An inclusion proof for the newest signed tree (RFC 6962)."""

    leaf = serializers.JSONField()
    index = serializers.IntegerField()
    size = serializers.IntegerField()
    root_hash = serializers.CharField(source="root")
    path = serializers.ListField(child=serializers.CharField())


class ConsistencyOut(Output):
    """A consistency proof from an older tree to the newest signed tree (RFC 6962)."""

    old_size = serializers.IntegerField()
    new_size = serializers.IntegerField()
    new_root = serializers.CharField()
    path = serializers.ListField(child=serializers.CharField())


class LedgerInclusion(View):
    """Inclusion proof of one entry."""

    @extend_schema(responses=InclusionOut)
    def get(self, request: Request, public_id: str) -> Response:
        """Return the inclusion proof of an entry: the audit path to the root hash of the newest signed tree head."""
        return Response(InclusionOut(ledger_proofs.prove_inclusion(actor=api_actor(request), entry=public_id)).data)


class LedgerConsistency(View):
    """Consistency proof."""

    @extend_schema(responses=ConsistencyOut)
    def get(self, request: Request, old: str) -> Response:
        """Return the consistency proof from the tree with ``old`` entries to the newest signed tree."""
        return Response(ConsistencyOut(ledger_proofs.prove_consistency(actor=api_actor(request), old=int(old))).data)
