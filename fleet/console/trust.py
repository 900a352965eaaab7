"""The CA tree, how fresh its revocation lists are, and which certificates end soon."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from devices import selectors as devices
from fleet.console.door import actor, page
from fleet.console.paging import cut
from ota.selectors.bundles import trust_keys
from ota.selectors.roles import roles
from pki import selectors
from pki.kernel import clock
from pki.kernel.actor import Role
from pki.models import Authority, CrlShard
from pki.services import certificates

TERMS = (30, 60, 90)


@dataclass(frozen=True, slots=True)
class Lists:
    """The revocation lists of one CA, summed up."""

    many: int
    held: int
    dirty: int
    oldest: datetime | None
    first_end: datetime | None


#: release keys of vendors that are shown
MOST_KEYS = 200
Tree = tuple[Authority, list[tuple[Authority, Lists]]]


@require_GET
@page
def authorities(request: HttpRequest) -> HttpResponse:
    """Show roots, issuing CAs and links, freshness of the lists, and what ends in 30, 60, 90 days."""
    who = actor(request)
    who.require(Role.VIEWER)
    now = clock.now()
    by_key: dict[str, list[CrlShard]] = {}
    for row in selectors.crl_shards(who.domain):
        by_key.setdefault(row.key_id, []).append(row)
    rows = selectors.authorities(who.domain)
    context = {
        "trees": _trees(rows, by_key),
        "links": [row for row in rows if row.kind == Authority.Kind.LINK],
        "terms": [(days, selectors.expiring(who.domain, now, now + timedelta(days=days)).count()) for days in TERMS],
        "status_url": settings.FLEET_STATUS_URL,
        "profiles": selectors.profiles(who.domain),
        "roles": roles(who.domain),
        "trust_keys": trust_keys(who.domain).filter(withdrawn_at__isnull=True)[:MOST_KEYS],
    }
    return render(request, "console/trust/authorities.html", context)


@require_GET
@page
def certificate_list(request: HttpRequest) -> HttpResponse:
    """List certificates; ``expiring`` leaves those that end within so many days and have no successor."""
    who = actor(request)
    who.require(Role.VIEWER)
    now, days = clock.now(), request.GET.get("expiring", "")
    rows = selectors.certificates(who.domain)
    if days in {str(term) for term in TERMS}:
        rows = selectors.expiring(who.domain, now, now + timedelta(days=int(days)))
    cuts = cut(request, rows)
    names = dict(
        devices.devices(who.domain)
        .filter(public_id__in=[row.subject_key for row in cuts["rows"]])
        .values_list("public_id", "name")
    )
    context = {
        **cuts,
        "rows": [
            (
                row,
                certificates.standing(row, now),
                next((name for key, name in names.items() if str(key) == row.subject_key), ""),
            )
            for row in cuts["rows"]
        ],
        "expiring": days,
        "terms": [str(term) for term in TERMS],
    }
    return render(request, "console/trust/certificates.html", context)


def _trees(
    rows: list[Authority], lists: dict[str, list[CrlShard]]
) -> list[tuple[Authority, list[tuple[Authority, Lists]]]]:
    """Return each root with the issuing CAs below it."""
    roots = [row for row in rows if row.kind == Authority.Kind.ROOT]
    issuing = [row for row in rows if row.kind == Authority.Kind.ISSUING]
    return [
        (root, [(row, _summed(lists.get(row.key_id, []))) for row in issuing if row.parent_id == root.pk])
        for root in roots
    ]


def _summed(rows: list[CrlShard]) -> Lists:
    return Lists(
        len(rows),
        sum(row.held for row in rows),
        sum(row.dirty for row in rows),
        min((row.published_at for row in rows if row.published_at), default=None),
        min((row.next_update for row in rows if row.next_update), default=None),
    )
