"""The ledger's page: every security act, its place in the tree, the newest signed head."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from fleet.console.door import actor, cut, page
from pki import selectors
from pki.kernel.actor import Role


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
    context = {**cut(request, rows), "head": selectors.ledger_head(who.domain), "given": given}
    return render(request, "console/ledger/page.html", context)
