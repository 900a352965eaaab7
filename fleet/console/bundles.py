"""Show bundles and releases: verification report, contents, present and missing signatures."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from devices.models import HardwareModel
from fleet.console.lists import asked_filter, check_parameters, shown_filter
from fleet.console.pages import page_actor, page_view, run_form, wants_json
from fleet.console.paging import cut_page
from fleet.uploads import files_by_path
from ota.eligibility import Reason
from ota.errors import ReleaseStateError
from ota.models import Bundle, Release, Statement
from ota.selectors import bundles as rows
from ota.selectors import fitting, parts, patches
from ota.selectors.contents import ContentsFilter, bundle_contents
from ota.selectors.officers import list_officers
from ota.services import bundles, releases, removals, statements
from pki.kernel.errors import InvalidError


@require_http_methods(["GET", "POST"])
@page_view
def bundle_list(request: HttpRequest) -> HttpResponse:
    """List bundles on GET; accept an upload on POST."""
    who = page_actor(request)
    if request.method == "POST":
        manifest = request.FILES.get("manifest")
        if manifest is None or not manifest.size or manifest.size > 1 << 20:
            msg = "The manifest is missing, empty or larger than 1 MiB. Choose bundle.json and the files listed in it."
            raise InvalidError(msg)
        files = files_by_path(request.FILES.getlist("files"))
        bundle = bundles.upload(actor=who, manifest=manifest.read(), files=files)
        address = reverse("console:bundle", args=[bundle.public_id])
        return JsonResponse({"address": address}, status=201) if wants_json(request) else HttpResponseRedirect(address)
    wanted = asked_filter(request, rows.BundleFilter)
    page = cut_page(request, rows.list_bundles(actor=who, wanted=wanted))
    known = fitting.released_counters(who.domain)
    listed = [(row, _listed(row, known)) for row in page["rows"]]
    choices = {"kinds": Bundle.Kind.values, "states": Release.State.values}
    return render(request, "console/bundles/list.html", {**page, "rows": listed, **shown_filter(wanted), **choices})


@require_GET
@page_view
def compatibility_matrix(request: HttpRequest) -> HttpResponse:
    """Show the compatibility of models with hardware models."""
    check_parameters(request)
    who = page_actor(request)
    return render(request, "console/bundles/fit.html", {"matrix": fitting.fit_matrix(actor=who)})


@require_GET
@page_view
def bundle_detail(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show a bundle: verification report, inspection results, hardware compatibility and signatures."""
    check_parameters(request)
    who = page_actor(request)
    bundle = rows.get_bundle(actor=who, public_id=public_id)
    release: Release | None = getattr(bundle, "release", None)
    context = {
        "bundle": bundle,
        "release": release,
        **_signing(who.domain, release),
        "files": list(bundle.files.all()),
        "facts": _facts(bundle),
        "arena": bundle.facts.get("arena"),
        "sbom": bundle.facts.get("sbom"),
        "hardware": _fits(bundle),
        "card": _card(bundle),
        "parts": parts.parts_at_hand(bundle),
        "work": patches.patch_progress(bundle),
        "may_delete": removals.may_be_deleted(actor=who, bundle=bundle),
        "patches": patches.of_bundle(bundle),
    }
    return render(request, "console/bundles/detail.html", context)


@require_GET
@page_view
def bundle_components(request: HttpRequest, public_id: str) -> HttpResponse:
    """Search the components in the SBOM of a bundle."""
    who = page_actor(request)
    bundle = rows.get_bundle(actor=who, public_id=public_id)
    wanted = asked_filter(request, ContentsFilter)
    page = bundle_contents(bundle, wanted.q, int(wanted.page))
    context = {"bundle": bundle, "sbom": bundle.facts.get("sbom"), "words": wanted.q, "found": page}
    return render(request, "console/bundles/contents.html", context)


@require_POST
@page_view
def release_step(request: HttpRequest, public_id: str, verb: str) -> HttpResponse:
    """Prepare a release, or publish its signed statement."""
    who = page_actor(request)
    bundle = rows.get_bundle(actor=who, public_id=public_id)
    back = reverse("console:bundle", args=[bundle.public_id])
    if verb == "prepare":
        done = "Release prepared. The release officers can now sign it."
        return run_form(request, done, back, lambda: releases.prepare_release(actor=who, bundle=bundle))
    statement = _asked(getattr(bundle, "release", None))
    if statement is None:
        msg = "The bundle has no release to publish. Prepare the release first."
        raise InvalidError(msg)
    return run_form(request, "Statement published.", back, lambda: statements.publish(actor=who, statement=statement))


@require_POST
@page_view
def bundle_delete(request: HttpRequest, public_id: str) -> HttpResponse:
    """Delete an unpublished bundle after the person has typed its name."""
    who = page_actor(request)
    bundle = rows.get_bundle(actor=who, public_id=public_id)
    back = reverse("console:bundle", args=[bundle.public_id])
    if request.POST.get("name") != bundle.name:
        msg = f"The name does not match, so the bundle was not deleted. Type {bundle.name} to confirm the deletion."
        raise InvalidError(msg)
    try:
        removals.delete_bundle(actor=who, bundle=bundle)
    except ReleaseStateError as error:
        messages.error(request, error.detail)
        return HttpResponseRedirect(back)
    messages.success(request, f"Bundle {bundle} deleted.")
    return HttpResponseRedirect(reverse("console:bundles"))


def _fits(bundle: Bundle) -> list[tuple[HardwareModel, list[Reason]]]:
    """Return the target hardware models of a bundle, each with the reasons why it is incompatible."""
    return [(model, fitting.incompatibility_reasons(bundle, model)) for model in bundle.hardware_models.all()]


def _listed(bundle: Bundle, known: fitting.Released) -> list[tuple[HardwareModel, list[Reason]]]:
    """Return the same for a list row; only the detail page checks the parts of a composite bundle."""
    if bundle.kind == Bundle.Kind.COMPOSITE:
        return [(model, []) for model in bundle.hardware_models.all()]
    return [(model, fitting.incompatibility_reasons(bundle, model, known)) for model in bundle.hardware_models.all()]


def _card(bundle: Bundle) -> dict[str, object]:
    """Return the model card: statements of the author, results of the test run here, and reports from devices."""
    if bundle.kind != Bundle.Kind.MODEL:
        return {}
    said = bundle.facts.get("sbom", {}).get("card", {})
    names = {model.pk: model.name for model in bundle.hardware_models.all()}
    reported = [
        (names.get(arena.hardware_model_id, ""), arena.median, len(arena.said)) for arena in bundle.arenas.all()
    ]
    return {
        "said": said,
        "evaluation": bundle.manifest.get("eval"),
        "golden": bundle.facts.get("golden"),
        "trial": bundle.facts.get("trial"),
        "reported": sorted(reported),
        "licence": bundle.manifest.get("licence", ""),
        "until": bundle.manifest.get("support_until", ""),
    }


def _asked(release: Release | None) -> Statement | None:
    """Return the current or latest statement about a release that officers sign."""
    return (release.withdrawal or release.statement) if release else None


def _signing(domain: str, release: Release | None) -> dict[str, object]:
    """Return the statement to sign, the present signatures, and the officers and number of signatures missing."""
    known, statement = list_officers(domain), _asked(release)
    signed = {signature.keyid: signature for signature in statement.signatures.all()} if statement else {}
    return {
        "statement": statement,
        "statement_key": str(statement.public_id) if statement else "",
        "signing": {
            "threshold": known.threshold,
            "signed": list(signed.values()),
            "others": sorted(name for keyid, name in known.names.items() if keyid not in signed),
            "missing": max(known.threshold - len({value.officer for value in signed.values()}), 0),
        },
    }


def _facts(bundle: Bundle) -> list[tuple[str, object]]:
    """Return the inspection results that are plain values."""
    return [
        (name.replace("_", " "), value)
        for name, value in bundle.facts.items()
        if isinstance(value, str | int | float) and value not in ("", None) and name != "advice"
    ]
