"""Signing requests besides releases: higher counter floors, and renewals of targets and bins."""

from django.db import transaction
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from devices.models import HardwareModel
from ota.contract.field_names import BIN_FIELD
from ota.errors import MetadataError, ReleaseStateError
from ota.models import Bundle, Release, Statement
from ota.services import online_roles, statements
from ota.trust import documents
from ota.trust.prepared import Documents, PreparedRequest
from ota.trust.repository import Repository, bin_of, delegated_bins
from pki import selectors as ground
from pki.kernel import canonical, clock
from pki.kernel.actor import Actor
from pki.kernel.permissions import Action, require_action
from pki.models import TrustDomain

MOST_BIT_LENGTH = 14


def raise_floor(*, actor: Actor, component: str, hardware: HardwareModel, counter: int) -> Statement:
    """Prepare targets with a counter floor: devices of a hardware model refuse lower counters of a component.

    A floor never goes down, and never above the highest counter that is released: then no device could be updated.

    Args:
        actor: a release officer.
        component: slot on the device.
        hardware: of the devices.
        counter: lowest security counter that may still be installed.

    Raises:
        MetadataError: the floor would go down, or leave nothing to install.
        ReleaseStateError: there is no repository yet.
    """
    require_action(actor, Action.RAISE_FLOOR)
    domain = ground.get_domain(actor.domain)
    with transaction.atomic():
        before = _targets(statements.statement_repository(domain.slug))
        key = str(hardware.class_id)
        present = documents.floors_of(before.signed).get(component, {}).get(key, 0)
        highest = _released(domain, component, hardware)
        released = highest.security_counter if highest else 0
        if not present < counter <= released:
            msg = (
                f"The floor of {component} on {hardware.name} is {present}, and the highest released counter is "
                f"{released}: choose a counter above the floor and at most the highest released counter."
            )
            raise MetadataError(msg)
        number = online_roles.numbers_after(domain=domain, role=Targets.type, published=before.signed.version)
        document = documents.raised_targets(before.signed, {component: {key: counter}}, number, clock.now())
        request = PreparedRequest(
            {Targets.type: document}, {Targets.type: before, **_shown(domain, highest)}, _text(highest)
        )
        summary = f"floor of {component} on {hardware.name}: {counter}"
        return statements.write_statement(actor=actor, kind=Statement.Kind.FLOORS, summary=summary, request=request)


def renew_targets(*, actor: Actor, bit_length: int | None = None) -> Statement:
    """Renew targets and all bins for another year, signed by the officers that the current root lists.

    Needed once a year, after officers changed, and to get more bins as the targets become many.

    Args:
        actor: a release officer.
        bit_length: 2 ** bit_length bins; None for as many as now.

    Raises:
        MetadataError: an unusable number of bins.
        ReleaseStateError: there is no repository yet.
    """
    require_action(actor, Action.RENEW_TARGETS)
    domain = ground.get_domain(actor.domain)
    with transaction.atomic():
        store = online_roles.published_repository(domain.slug)
        root, before = store.root(), store.last_believed()
        if root is None or Targets.type not in before:
            msg = "There is no TUF repository yet. Install root and targets first (`manage.py release root`)."
            raise ReleaseStateError(msg)
        roles = delegated_bins(before[Targets.type].signed)
        bits = bit_length if bit_length is not None else roles.bit_length if roles else 0
        _demand_bits(bits, roles.bit_length if roles else bits)
        request = PreparedRequest(_renewed(domain, root.signed, before, bits), before)
        summary = f"another year for targets and {2**bits} bins"
        return statements.write_statement(actor=actor, kind=Statement.Kind.RENEWAL, summary=summary, request=request)


def _demand_bits(wanted: int, present: int) -> None:
    """Refuse a number of bins under which devices would miss names that they have seen in a snapshot.

    Raises:
        MetadataError: fewer bins, or so many that their names become longer.
    """
    digits = {bits: -(-bits // 4) for bits in (wanted, present)}
    if not 1 <= wanted <= MOST_BIT_LENGTH or wanted < present or digits[wanted] != digits[present]:
        most = min(-(-present // 4) * 4, MOST_BIT_LENGTH)
        msg = (
            f"2^{present} bins can grow to at most 2^{most}, and never shrink: devices refuse a snapshot that lacks "
            "names they know."
        )
        raise MetadataError(msg)


def _renewed(domain: TrustDomain, root: Root, before: Documents, bit_length: int) -> dict[str, Metadata[Targets]]:
    """Return all documents with new versions and dates, the entries in the bins that they belong to now."""
    now, delegations = clock.now(), documents.bin_delegations(root, bit_length)
    roles = delegations.succinct_roles
    entries = [target for value in before.values() for target in value.signed.targets.values()]
    filled: dict[str, dict[str, TargetFile]] = {role: {} for role in (roles.get_roles() if roles else ())}
    for target in entries:
        filled[roles.get_role_for_target(target.path) if roles else ""][target.path] = target
    renewed = {}
    for role in (Targets.type, *filled):
        published = before[role].signed.version if role in before else 0
        number = online_roles.numbers_after(domain=domain, role=role, published=published)
        base = before[role].signed if role in before else Targets(version=1)
        renewed[role] = documents.renewed_document(base, number, now)
        renewed[role].signed.targets = dict(sorted(filled.get(role, {}).items()))
        if role != Targets.type:
            renewed[role].signed.unrecognized_fields = {BIN_FIELD: role}
    renewed[Targets.type].signed.delegations = delegations
    return renewed


def _targets(store: Repository) -> Metadata[Targets]:
    targets = store.targets()
    if targets is None:
        msg = "The current officers have signed no targets. Renew them first (`manage.py release renew`)."
        raise ReleaseStateError(msg)
    return targets


def _released(domain: TrustDomain, component: str, hardware: HardwareModel) -> Bundle | None:
    """Return the released bundle with the highest counter: officers are shown that something is left to install."""
    rows = Bundle.objects.filter(domain=domain, component=component, hardware_models=hardware)
    return rows.filter(release__state=Release.State.PUBLISHED).order_by("-security_counter").first()


def _shown(domain: TrustDomain, bundle: Bundle | None) -> dict[str, Metadata[Targets]]:
    """Return the bin that lists a bundle."""
    store = online_roles.published_repository(domain.slug)
    role = bin_of(_targets(store).signed, bundle.target_path) if bundle else None
    document = store.document(role) if role else None
    return {role: document} if role and document else {}


def _text(bundle: Bundle | None) -> dict[str, str]:
    return {bundle.digest: canonical.dumps(bundle.manifest).decode()} if bundle else {}
