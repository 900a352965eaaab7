"""First enrolments that need approval: stored, shown, approved or denied, and found again when the device retries."""

from datetime import timedelta

from django.db import transaction

from devices.models import EnrolmentRequest
from devices.proofs.claim import Claim
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import ConflictError, DeniedError, LimitedError, NotFoundError
from pki.kernel.permissions import Action, permitted_rows
from pki.selectors import get_domain as domain_of
from pki.services import ledger

LIFE = timedelta(days=7)
#: limit of pending enrolments per domain, so that nobody can fill the queue
MOST_WAITING = 1000
RETRY_SECONDS = 10
WAIT = "The enrolment is waiting for approval. Send the same request again later."
State = EnrolmentRequest.State


def ask_approval(*, domain: str, claim: Claim, spki: str, why: str) -> int | None:
    """Return the number of seconds until the next retry, or None when the enrolment is approved.

    Raises:
        DeniedError: a person denied it.
        LimitedError: too many enrolments are pending.
    """
    now = clock.now()
    rows = EnrolmentRequest.objects.select_for_update().filter(domain__slug=domain, caller=claim.caller)
    row = rows.filter(spki_sha256=spki).first()
    if row is None or (row.state == State.WAITING and row.expires_at <= now):
        return _wait(domain, claim, spki, why)
    if row.state == State.DENIED:
        msg = "An operator denied the enrolment" + (f": {row.reason}" if row.reason else ".")
        raise DeniedError(msg)
    row.asked_at = now
    if row.state == State.APPROVED:
        row.state = State.ISSUED
    row.save(update_fields=["asked_at", "state"])
    return None if row.state == State.ISSUED else RETRY_SECONDS


def decide(*, actor: Actor, public_id: str, approved: bool, reason: str = "") -> EnrolmentRequest:
    """Approve or deny a pending enrolment.

    Raises:
        NotFoundError: this domain has no enrolment with that id.
        ConflictError: it is not pending any more.
    """
    rows = permitted_rows(actor, Action.APPROVE_ENROLMENT, EnrolmentRequest.objects.all())
    with transaction.atomic():
        row = rows.select_for_update(of=("self",)).filter(public_id=public_id).first()
        if row is None:
            msg = "There is no such enrolment request."
            raise NotFoundError(msg)
        if row.state != State.WAITING or row.expires_at <= clock.now():
            msg = f"The request is no longer pending; it is {row.state}."
            raise ConflictError(msg)
        row.state = State.APPROVED if approved else State.DENIED
        row.reason, row.decided_at = reason[:300], clock.now()
        row.decided_by = f"{actor.kind}:{actor.key}"
        row.save(update_fields=["state", "reason", "decided_at", "decided_by"])
        action = "enrolment.approved" if approved else "enrolment.denied"
        detail = {"proof": row.proof, "key": row.spki_sha256, "reason": row.reason}
        ledger.record(actor=actor, action=action, thing=("enrolment", row.public_id), detail=detail)
    return row


def _wait(domain: str, claim: Claim, spki: str, why: str) -> int:
    home = domain_of(domain)
    rows = EnrolmentRequest.objects.filter(domain=home)
    if rows.filter(state=State.WAITING, expires_at__gt=clock.now()).count() >= MOST_WAITING:
        msg = "Too many enrolments are waiting for approval. Try again later."
        raise LimitedError(msg, retry_after=300)
    serial = claim.identity.serial if claim.identity else ""
    rows.update_or_create(
        domain=home,
        caller=claim.caller,
        spki_sha256=spki,
        defaults={
            "name": claim.name,
            "hardware_model": claim.hardware_model,
            "proof": claim.kind,
            "profile": claim.profile,
            "facts": {"serial": serial} if serial else {},
            "state": State.WAITING,
            "why": why[:200],
            "expires_at": clock.now() + LIFE,
            "asked_at": clock.now(),
        },
    )
    return RETRY_SECONDS
