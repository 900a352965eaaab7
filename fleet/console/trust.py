"""Show the CA hierarchy, the state of its CRLs, the TUF roles, and certificates close to expiry."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from devices import selectors as devices
from fleet.console.lists import asked_filter, check_parameters
from fleet.console.pages import page_actor, page_view
from fleet.console.paging import cut_page
from ota.selectors.bundles import trust_keys
from ota.selectors.roles import role_states
from pki import selectors
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.models import Authority, CrlShard
from pki.services import certificates

TERMS = (30, 60, 90)
#: certificates that are counted before "and more" is said: exact numbers of many tell nobody more
MOST_ENDING = 1000


@dataclass(frozen=True, slots=True)
class Lists:
    """Summary of the CRLs of one CA.

    Args:
        many: number of CRLs.
        held: number of entries in them.
        dirty: number of CRLs with changes that are not published yet.
        oldest: earliest publication time.
        first_end: earliest next update.
    """

    many: int
    held: int
    dirty: int
    oldest: datetime | None
    first_end: datetime | None


#: maximum number of artefact signing keys on the page
MOST_KEYS = 200
Tree = tuple[Authority, list[tuple[Authority, Lists]]]


@require_GET
@page_view
def authority_list(request: HttpRequest) -> HttpResponse:
    """Show root and issuing CAs, link certificates, CRLs, and the number of certificates close to expiry."""
    check_parameters(request)
    who = page_actor(request)
    by_key: dict[str, list[CrlShard]] = {}
    for row in selectors.crl_shards(actor=who):
        by_key.setdefault(row.key_id, []).append(row)
    rows = selectors.list_authorities(actor=who)
    context = {
        "trees": _trees(rows, by_key),
        "links": [row for row in rows if row.kind == Authority.Kind.LINK],
        "terms": [(days, *_ending(who, days)) for days in TERMS],
        "status_url": settings.FLEET_STATUS_URL,
        "profiles": selectors.list_profiles(actor=who),
        "roles": role_states(actor=who),
        "trust_keys": trust_keys(actor=who, in_use=True)[:MOST_KEYS],
    }
    return render(request, "console/trust/authorities.html", context)


@require_GET
@page_view
def certificate_list(request: HttpRequest) -> HttpResponse:
    """List certificates; ``expiring`` selects those that expire within that many days and have no replacement."""
    who = page_actor(request)
    now, wanted = clock.now(), asked_filter(request, devices.CertificateFilter)
    cuts = cut_page(request, devices.list_device_certificates(actor=who, wanted=wanted))
    names = devices.device_names(actor=who, public_ids=[row.subject_key for row in cuts["rows"]])
    context = {
        **cuts,
        "rows": [
            (row, certificates.certificate_status(row, now), names.get(row.subject_key, "")) for row in cuts["rows"]
        ],
        "expiring": wanted.expiring,
        "terms": [str(term) for term in TERMS],
    }
    return render(request, "console/trust/certificates.html", context)


def _ending(who: Actor, days: int) -> tuple[int, bool]:
    """Return how many certificates expire within that many days without a replacement, and whether there are more."""
    rows = devices.list_device_certificates(actor=who, wanted=devices.CertificateFilter(expiring=str(days)))
    count = rows[: MOST_ENDING + 1].count()
    return min(count, MOST_ENDING), count > MOST_ENDING


def _trees(
    rows: list[Authority], lists: dict[str, list[CrlShard]]
) -> list[tuple[Authority, list[tuple[Authority, Lists]]]]:
    """Return each root CA with the issuing CAs below it."""
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
