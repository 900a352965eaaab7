"""Require an acknowledgement of a version or security counter below a published one.

Counters apply from publication: an upload alone blocks nothing. The floor that officers signed stays a limit
that no acknowledgement lifts.
"""

from collections.abc import Iterable

from devices.models import HardwareModel
from ota.errors import RefusedBundleError
from ota.formats.judgement import Judgement, report_line
from ota.manifest import Manifest
from ota.manifest.reader import COUNTER_GOES_BACK, VERSION_GOES_BACK
from ota.manifest.versions import looks_older
from ota.models import Bundle
from ota.selectors import predecessors
from ota.services import online_roles
from ota.trust import documents


def with_backsteps(slug: str, manifest: Manifest, hardware: Iterable[HardwareModel], judgement: Judgement) -> Judgement:
    """Return the judgement with the steps back behind earlier published or uploaded bundles.

    Raises:
        RefusedBundleError: it goes back behind a published bundle, and ``acknowledges`` does not say so; or its counter
            is below the floor that officers signed.
    """
    models = list(hardware)
    _demand_above_floor(slug, manifest.component, [str(model.class_id) for model in models], manifest.security_counter)
    keys = [model.pk for model in models]
    before = predecessors.published_before(slug, manifest.id, manifest.component, keys, manifest.digest)
    backsteps = _backsteps(before, manifest.version, manifest.security_counter)
    _demand_acknowledged(backsteps, manifest.acknowledges)
    said = list(backsteps.values())
    newest = predecessors.uploaded_before(slug, manifest.id, manifest.component, keys, manifest.digest)
    if newest and not said and looks_older(manifest.version, newest.version):
        said = [f"version looks older than {newest.version}, which was uploaded before it"]
    if not said:
        return judgement
    statements = [*judgement.statements, *(report_line("order", "muster", text) for text in said)]
    return Judgement({**judgement.facts, "order": said}, statements)


def demand_acknowledged_backsteps(bundle: Bundle) -> list[str]:
    """Return the steps back of a bundle, and what its format cannot express of its version; officers read both.

    Raises:
        RefusedBundleError: it goes back behind a published bundle, and its ``acknowledges`` does not say so; or its
            counter is below the floor that officers signed.
    """
    models, slug = list(bundle.hardware_models.all()), bundle.domain.slug
    _demand_above_floor(slug, bundle.component, [str(model.class_id) for model in models], bundle.security_counter)
    keys = [model.pk for model in models]
    before = predecessors.published_before(slug, bundle.name, bundle.component, keys, bundle.digest)
    backsteps = _backsteps(before, bundle.version, bundle.security_counter)
    _demand_acknowledged(backsteps, bundle.manifest.get("acknowledges", ()))
    note = bundle.facts.get("version_note")
    return [*backsteps.values(), *([note] if note else [])]


def _backsteps(before: Iterable[Bundle], version: str, counter: int) -> dict[str, str]:
    """Return the steps back, by the word that acknowledges each."""
    backsteps: dict[str, str] = {}
    for bundle in before:
        if looks_older(version, bundle.version):
            backsteps.setdefault(VERSION_GOES_BACK, f"version goes back from {bundle.version} to {version}")
        if counter < bundle.security_counter:
            text = f"security counter goes back from {bundle.security_counter} to {counter}"
            backsteps.setdefault(COUNTER_GOES_BACK, text)
    return backsteps


def _demand_acknowledged(backsteps: dict[str, str], acknowledged: Iterable[str]) -> None:
    missing = {word: text for word, text in backsteps.items() if word not in set(acknowledged)}
    if missing:
        texts, words = " and the ".join(missing.values()), " and ".join(map(repr, missing))
        msg = (
            f"Compared with what was published before, the {texts}. If that is intended (an older branch), put {words} "
            "into `acknowledges` of bundle.json. Officers see it before they sign."
        )
        raise RefusedBundleError(msg, acknowledgement=", ".join(missing))


def _demand_above_floor(slug: str, component: str, classes: Iterable[str], counter: int) -> None:
    targets = online_roles.published_repository(slug).targets()
    floors = documents.floors_of(targets.signed).get(component, {}) if targets else {}
    floor = max((floors.get(class_id, 0) for class_id in classes), default=0)
    if counter < floor:
        msg = (
            f"The security counter {counter} is below the floor {floor} that officers signed for {component}: devices "
            "refuse it. Build it with that counter or a higher one."
        )
        raise RefusedBundleError(msg)
