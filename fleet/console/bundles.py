"""Bundles and their releases: what was verified, what is inside, who signed and who is missing."""

from typing import Any, BinaryIO, cast

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from fleet.console.door import act, actor, page
from fleet.console.paging import cut
from ota.models import Bundle, Release
from ota.selectors import bundles as rows
from ota.selectors.officers import officers
from ota.services import bundles, releases
from pki.kernel.actor import Role
from pki.kernel.errors import InvalidError


@require_http_methods(["GET", "POST"])
@page
def index(request: HttpRequest) -> HttpResponse:
    """List bundles; take an upload."""
    who = actor(request)
    who.require(Role.VIEWER)
    if request.method == "POST":
        manifest = request.FILES.get("manifest")
        if manifest is None or not manifest.size or manifest.size > 1 << 20:
            msg = "Choose the bundle.json and the files that it lists."
            raise InvalidError(msg)
        files = {str(one.name): cast("BinaryIO", one.file) for one in request.FILES.getlist("files")}
        made = bundles.upload(actor=who, manifest=manifest.read(), files=files)
        return HttpResponseRedirect(reverse("console:bundle", args=[made.public_id]))
    return render(request, "console/bundles/list.html", cut(request, rows.bundles(who.domain)))


@require_GET
@page
def detail(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show a bundle: report, facts, fit, signatures."""
    who = actor(request)
    who.require(Role.VIEWER)
    bundle = rows.bundle(who.domain, public_id)
    release: Release | None = getattr(bundle, "release", None)
    context = {
        "bundle": bundle,
        "release": release,
        "release_key": str(release.public_id) if release else "",
        "signing": _signing(who.domain, release) if release else None,
        "files": list(bundle.files.all()),
        "facts": _facts(bundle),
        "arena": bundle.facts.get("arena"),
        "hardware": [(one, bundle.facts.get("fit", {}).get(one.name, [])) for one in bundle.hardware_models.all()],
    }
    return render(request, "console/bundles/detail.html", context)


@require_POST
@page
def step(request: HttpRequest, public_id: str, verb: str) -> HttpResponse:
    """Prepare a release, or publish it."""
    who = actor(request)
    bundle = rows.bundle(who.domain, public_id)
    back = reverse("console:bundle", args=[bundle.public_id])
    if verb == "prepare":
        done = "Prepared; the officers sign it now."
        return act(request, done, back, lambda: releases.prepare(actor=who, bundle=bundle))
    release: Release | None = getattr(bundle, "release", None)
    if release is None:
        msg = "There is no release to publish; prepare one first."
        raise InvalidError(msg)
    return act(request, "Published.", back, lambda: releases.publish(actor=who, release=release))


def _signing(domain: str, release: Release) -> dict[str, Any]:
    """Return who signed, who could still, and how many are missing."""
    known = officers(domain)
    signed = {one.keyid: one for one in release.signatures.order_by("id")}
    return {
        "threshold": known.threshold,
        "signed": list(signed.values()),
        "others": sorted(name for keyid, name in known.names.items() if keyid not in signed),
        "missing": max(known.threshold - len({one.officer for one in signed.values()}), 0),
    }


def _facts(bundle: Bundle) -> list[tuple[str, object]]:
    """Return the plain facts that the inspection found."""
    return [
        (name.replace("_", " "), value)
        for name, value in bundle.facts.items()
        if isinstance(value, str | int | float) and value not in ("", None)
    ]
