"""Define certificate profiles, and return them as values."""

from datetime import timedelta

from django.db import transaction

from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError, NotFoundError
from pki.kernel.permissions import Action, permitted_rows
from pki.kernel.recent import Recent
from pki.models import Authority, CertificateProfile
from pki.profiles import ALL_KEY_TYPES, DEVICE, LONGEST, CertificateRules
from pki.selectors import get_domain as domain_of
from pki.services import changes, ledger

PROOFS = frozenset({"token", "preregistered", "idevid", "tpm"})
#: field -> least and most
BOUNDS = {
    "validity_days": (1, LONGEST.days),
    "renewal_days": (0, LONGEST.days),
    "jitter_hours": (0, 24 * 90),
    "grace_days": (0, 3650),
}
#: profiles as this process last saw them; a change reaches all workers within a second
_known: Recent[tuple[str, str], CertificateRules | None] = Recent(seconds=1.0)
FIELDS = (*BOUNDS, "key_types", "authority", "proofs", "approval", "server_keygen")


def profile_of(slug: str, name: str) -> CertificateRules:
    """Return a profile of a domain; ``device`` exists without a definition.

    Raises:
        NotFoundError: no profile has that name.
    """
    rules = _known.get((slug, name), lambda: fresh_profile(slug, name))
    if rules is None:
        msg = f"There is no certificate profile named {name[:40]!r}."
        raise NotFoundError(msg)
    return rules


def fresh_profile(slug: str, name: str) -> CertificateRules | None:
    """Return a profile from the database without the cache, or None; for callers that keep it for long."""
    row = CertificateProfile.objects.filter(domain__slug=slug, name=name).first()
    if row is not None:
        return profile_rules(row)
    return DEVICE if name == DEVICE.name else None


def profile_rules(row: CertificateProfile) -> CertificateRules:
    """Return a row as a value for the rules."""
    return CertificateRules(
        row.name,
        DEVICE.usage,
        timedelta(days=row.validity_days),
        renewal=timedelta(days=row.renewal_days),
        jitter=timedelta(hours=row.jitter_hours),
        grace=timedelta(days=row.grace_days),
        key_types=frozenset(row.key_types),
        authority=row.authority,
        proofs=frozenset(row.proofs),
        approval=row.approval,
        server_keygen=row.server_keygen,
    )


def define_profile(*, actor: Actor, name: str, **fields: object) -> CertificateProfile:
    """Create or change a profile.

    Args:
        actor: a security officer.
        name: small letters, digits and hyphens.
        **fields: of ``CertificateProfile``; fields that are not given stay unchanged.

    Raises:
        InvalidError: a field is invalid; the message names it and the accepted values.
    """
    known = permitted_rows(actor, Action.DEFINE_PROFILE, CertificateProfile.objects.all())
    domain = domain_of(actor.domain)
    _check_name(name)
    with transaction.atomic():
        row = known.select_for_update(of=("self",)).filter(name=name).first()
        row = row or CertificateProfile(domain=domain, name=name, key_types=sorted(DEVICE.key_types))
        for field, wanted in fields.items():
            setattr(row, field, _checked(field, wanted, actor.domain))
        if row.renewal_days + row.jitter_hours / 24 >= row.validity_days:
            msg = "`renewal_days` and `jitter_hours` together must be shorter than `validity_days`."
            raise InvalidError(msg)
        row.changed_at = clock.now()
        row.save()
        _known.forget()
        changes.note_changes()
        detail = {
            field: str(getattr(row, field)) for field in (*BOUNDS, "key_types", "authority", "proofs", "approval")
        }
        ledger.record(actor=actor, action="profile.defined", thing=("profile", name), detail=detail, domain=domain)
    return row


def _check_name(name: str) -> None:
    if not 0 < len(name) <= 40 or not all(char.isascii() and (char.isalnum() or char == "-") for char in name):  # noqa: PLR2004  because the column has 40
        msg = "A profile's name must have 1 to 40 letters, digits and hyphens."
        raise InvalidError(msg)


def _checked(field: str, wanted: object, slug: str) -> object:
    if field in BOUNDS:
        least, most = BOUNDS[field]
        if type(wanted) is int and least <= wanted <= most:
            return wanted
        msg = f"`{field}` must be {least} to {most}."
    elif field in {"key_types", "proofs"}:
        allowed = ALL_KEY_TYPES if field == "key_types" else PROOFS
        if isinstance(wanted, list) and set(wanted) <= allowed and (wanted or field == "proofs"):
            return sorted(set(wanted))
        msg = f"`{field}` may list only: {', '.join(sorted(allowed))}."
    elif field in {"approval", "server_keygen"} and isinstance(wanted, bool):
        return wanted
    elif field == "authority" and (not wanted or _issuing(slug, str(wanted))):
        return str(wanted)
    else:
        msg = f"`{field[:40]}` is unknown, or names no active issuing CA."
    raise InvalidError(msg)


def _issuing(slug: str, key_id: str) -> bool:
    rows = Authority.objects.filter(domain__slug=slug, kind=Authority.Kind.ISSUING, state=Authority.State.ACTIVE)
    return rows.filter(key_id=key_id).exists()
