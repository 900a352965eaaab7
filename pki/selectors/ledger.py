"""The ledger: entries and signed heads."""

from dataclasses import dataclass

from django.db.models import QuerySet

from pki.kernel.actor import Actor
from pki.kernel.errors import NotFoundError
from pki.kernel.filters import text_field
from pki.kernel.permissions import Action, permitted_rows
from pki.models import LedgerEntry, LedgerHead
from pki.models.action_prefix import ActionPrefix
from pki.selectors.finding import rows_of_domain


@dataclass(frozen=True, slots=True)
class LedgerFilter:
    """Which entries of the ledger are asked for."""

    action: str = text_field("Action, such as `rollout.start`, or its prefix `rollout`.", "action")
    object: str = text_field("Public id of the affected object.", "object_key")


def ledger_entries(*, actor: Actor, wanted: LedgerFilter = LedgerFilter()) -> QuerySet[LedgerEntry]:
    """Return the entries that match, newest first, with their place in the tree."""
    rows = rows_of_domain(permitted_rows(actor, Action.READ, LedgerEntry.objects.all()), actor.domain)
    rows = rows.select_related("order").order_by("-id")
    if wanted.object:
        rows = rows.filter(object_key=wanted.object)
    if "." in wanted.action:
        return rows.filter(action=wanted.action)
    return rows.alias(prefix=ActionPrefix("action")).filter(prefix=wanted.action) if wanted.action else rows


def ledger_head(*, actor: Actor) -> LedgerHead | None:
    """Return the newest signed head of a domain."""
    return permitted_rows(actor, Action.READ, LedgerHead.objects.all()).order_by("-epoch", "-size").first()


def signed_head(*, actor: Actor) -> LedgerHead:
    """Return the newest signed head.

    Raises:
        NotFoundError: none has been signed yet.
    """
    head = ledger_head(actor=actor)
    if head is None:
        msg = "No head has been signed yet; the worker does it within a second."
        raise NotFoundError(msg)
    return head
