"""Enrolment: tokens, vendors, pre-registered devices, and pending requests."""

from dataclasses import dataclass
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from django.db.models import QuerySet

from devices.models import (
    Device,
    EnrolmentRequest,
    EnrolmentToken,
    HardwareIdentity,
    PreRegistration,
    VendorAnchor,
)
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError
from pki.kernel.filters import choice_field
from pki.kernel.permissions import Action, permitted_rows
from pki.kernel.public_keys import accept_key, key_identity
from pki.selectors.finding import one_by_id


@dataclass(frozen=True, slots=True)
class EnrolmentRequestFilter:
    """The filter of the enrolment request list."""

    state: str = choice_field("The state of the request.", EnrolmentRequest.State.values, "EnrolmentRequest.state")


def list_tokens(*, actor: Actor) -> QuerySet[EnrolmentToken]:
    """Return the enrolment tokens, newest first."""
    rows = permitted_rows(actor, Action.READ, EnrolmentToken.objects.all())
    return rows.select_related("hardware_model", "used_by").order_by("-id")


def get_token(*, actor: Actor, public_id: str | UUID) -> EnrolmentToken:
    """Return an enrolment token by its public id.

    Raises:
        NotFoundError: the actor sees none of that id.
    """
    return one_by_id(list_tokens(actor=actor), public_id, "enrolment token")


def list_vendors(*, actor: Actor) -> QuerySet[VendorAnchor]:
    """Return the vendors that a domain trusts or has trusted, newest first."""
    rows = permitted_rows(actor, Action.READ, VendorAnchor.objects.all())
    return rows.select_related("hardware_model").order_by("-id")


def vendor_anchors(*, actor: Actor) -> list[bytes]:
    """Return the CA certificates (DER) of vendors whose device identities a domain trusts for enrolment."""
    rows = list_vendors(actor=actor).filter(kind="idevid", withdrawn_at__isnull=True)
    return [bytes(der) for der in rows.order_by("id").values_list("der", flat=True)]


def vendor_identities() -> set[str]:
    """Return the identities (SHA-256 of the SubjectPublicKeyInfo) of the keys of all vendors' CAs, of every domain."""
    identities = set()
    for der in VendorAnchor.objects.values_list("der", flat=True):
        try:
            identities.add(key_identity(accept_key(x509.load_der_x509_certificate(bytes(der)).public_key())))
        except (ValueError, TypeError, UnsupportedAlgorithm, InvalidError):
            continue  # a key that is not accepted here cannot be one that is
    return identities


def list_preregistered(*, actor: Actor) -> QuerySet[PreRegistration]:
    """Return the pre-registered devices of a domain, newest first."""
    rows = permitted_rows(actor, Action.READ, PreRegistration.objects.all())
    return rows.select_related("hardware_model", "used_by").order_by("-id")


def enrolment_requests(
    *,
    actor: Actor,
    wanted: EnrolmentRequestFilter = EnrolmentRequestFilter(),
) -> QuerySet[EnrolmentRequest]:
    """Return the enrolment requests that need or needed approval, newest first."""
    rows = permitted_rows(actor, Action.READ, EnrolmentRequest.objects.all()).select_related("hardware_model")
    return (rows.filter(state=wanted.state) if wanted.state else rows).order_by("-id")


def list_hardware_identities(device: Device) -> list[HardwareIdentity]:
    """Return the verified hardware identities of a device."""
    return list(HardwareIdentity.objects.filter(device=device).order_by("id"))
