"""The ledger's page: every security act, its place in the tree, the newest signed head."""

from collections.abc import Iterable
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from devices.selectors import devices
from fleet.console.door import actor, page
from fleet.console.paging import cut
from ota.selectors.bundles import bundles
from ota.selectors.rollouts import rollouts
from pki import selectors
from pki.kernel.actor import Role
from pki.models import LedgerEntry


@require_GET
@page
def index(request: HttpRequest) -> HttpResponse:
    """List entries, newest first; filter by action or object in the address."""
    who = actor(request)
    who.require(Role.VIEWER)
    rows = selectors.ledger_entries(who.domain)
    given = {name: request.GET.get(name, "")[:100] for name in ("action", "object")}
    if given["action"]:
        rows = rows.filter(action__startswith=given["action"])
    if given["object"]:
        rows = rows.filter(object_key=given["object"])
    cuts = cut(request, rows)
    context = {
        **cuts,
        "head": selectors.ledger_head(who.domain),
        "given": given,
        "names": names(who.domain, cuts["rows"]),
    }
    return render(request, "console/ledger/page.html", context)


def names(domain: str, entries: Iterable[LedgerEntry]) -> dict[str, str]:
    """Return what people call the objects and devices of ledger entries, by key, in at most three queries."""
    wanted: dict[str, set[UUID]] = {"device": set(), "rollout": set(), "bundle": set()}
    for entry in entries:
        told = ("device", str(entry.detail.get("device", "")))
        for kind, key in ((entry.object_kind, entry.object_key), (entry.actor_kind, entry.actor_key), told):
            if kind in wanted and (read := _uuid(key)):
                wanted[kind].add(read)
    found: dict[str, str] = {}
    if keys := wanted["device"]:
        rows = devices(domain).filter(public_id__in=keys).values_list("public_id", "name")
        found |= {str(key): name for key, name in rows}
    if keys := wanted["rollout"]:
        started = rollouts(domain).filter(public_id__in=keys).values_list("public_id", "name")
        found |= {str(key): name for key, name in started}
    if keys := wanted["bundle"]:
        released = bundles(domain).filter(public_id__in=keys).values_list("public_id", "name", "version")
        found |= {str(key): f"{name} {version}" for key, name, version in released}
    return found


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
