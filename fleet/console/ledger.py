"""Show the audit log: security-relevant actions with their index in the tree, and the newest signed tree head."""

from collections.abc import Iterable
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from devices import selectors as devices
from fleet.console.lists import asked_filter, shown_filter
from fleet.console.pages import page_actor, page_view
from fleet.console.paging import cut_page
from ota.selectors import bundles, rollouts
from pki import selectors
from pki.kernel.actor import Actor
from pki.models import LedgerEntry


@require_GET
@page_view
def audit_log(request: HttpRequest) -> HttpResponse:
    """List entries, newest first, filtered by the query parameters ``action`` and ``object``."""
    who = page_actor(request)
    wanted = asked_filter(request, selectors.LedgerFilter)
    cuts = cut_page(request, selectors.ledger_entries(actor=who, wanted=wanted))
    context = {
        **cuts,
        **shown_filter(wanted),
        "head": selectors.ledger_head(actor=who),
        "names": object_names(who, cuts["rows"]),
    }
    return render(request, "console/ledger/page.html", context)


def object_names(who: Actor, entries: Iterable[LedgerEntry]) -> dict[str, str]:
    """Return the names of the objects and devices in audit-log entries, by key, in at most three queries."""
    ids_by_kind: dict[str, set[UUID]] = {"device": set(), "rollout": set(), "bundle": set()}
    for entry in entries:
        detailed = ("device", str(entry.detail.get("device", "")))
        for kind, key in ((entry.object_kind, entry.object_key), (entry.actor_kind, entry.actor_key), detailed):
            if kind in ids_by_kind and (read := _uuid(key)):
                ids_by_kind[kind].add(read)
    names = devices.device_names(actor=who, public_ids=ids_by_kind["device"])
    names |= rollouts.rollout_names(actor=who, public_ids=ids_by_kind["rollout"])
    return names | bundles.bundle_names(actor=who, public_ids=ids_by_kind["bundle"])


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
