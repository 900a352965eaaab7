"""Bundles and their releases: what was verified, what is inside, who signed and who is missing."""

from typing import BinaryIO, cast

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from fleet.console.door import act, actor, cut, page
from ota.selectors import bundles as rows
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
    release = getattr(bundle, "release", None)
    context = {
        "bundle": bundle,
        "release": release,
        "signatures": list(release.signatures.order_by("id")) if release else [],
        "files": list(bundle.files.order_by("path")),
        "fit": bundle.facts.get("fit", {}),
        "facts": {
            name: value
            for name, value in bundle.facts.items()
            if isinstance(value, str | int | float) and value is not None
        },
        "arena": bundle.facts.get("arena"),
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
        return act(
            request, "Prepared; two officers sign it now.", back, lambda: releases.prepare(actor=who, bundle=bundle)
        )
    release = rows.release(who.domain, bundle.release.public_id)
    return act(request, "Published.", back, lambda: releases.publish(actor=who, release=release))
