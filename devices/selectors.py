"""What the devices floor can be asked. Nothing here writes, and nothing looks beyond one domain."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from django.conf import settings
from django.db.models import Model, Q, QuerySet

from devices import query
from devices.models import (
    Device,
    DeviceLog,
    EnrolmentRequest,
    EnrolmentToken,
    Group,
    GroupMember,
    HardwareIdentity,
    HardwareModel,
    Incident,
    PreRegistration,
    Presence,
    Sample,
    Series,
    SourceNetwork,
    Twin,
    VendorAnchor,
)
from devices.series import DAY_MS, unpacked
from pki.kernel import clock
from pki.kernel.errors import InvalidError, NotFoundError
from pki.kernel.public_keys import accept_key, key_identity
from pki.models import Certificate
from pki.services.certificates import Standing, standing

LATE, OVERDUE = 1.5, 3
_Row = TypeVar("_Row", bound=Model)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many devices of a domain are in which condition; every enrolled device is in one presence."""

    devices: int
    online: int
    late: int
    overdue: int
    never: int
    quarantined: int
    open_incidents: int


def device(domain: str, public_id: str | UUID) -> Device:
    """Return a device of a domain by its public id.

    Raises:
        NotFoundError: there is none in this domain.
    """
    return _one(devices(domain).filter(public_id=_uuid(public_id)), "device")


def device_by_name(domain: str, name: str) -> Device:
    """Return a device of a domain by its name.

    Raises:
        NotFoundError: there is none in this domain.
    """
    return _one(devices(domain).filter(name=name), "device")


def devices(domain: str) -> QuerySet[Device]:
    """Return the devices of a domain with hardware model and twin, by name."""
    rows = Device.objects.filter(domain__slug=domain)
    return rows.select_related("hardware_model", "twin", "domain", "parent").order_by("name", "id")


@dataclass(frozen=True, slots=True)
class Filter:
    """The filters of the device list; the same names stand in URLs of the console and of the API."""

    q: str = ""
    state: str = ""
    hardware: str = ""
    quarantined: str = ""
    presence: str = ""
    query: str = ""
    group: str = ""

    def apply(self, domain: str) -> QuerySet[Device]:
        """Return the devices of a domain that match."""
        rows = devices(domain)
        if self.q:
            rows = rows.filter(name__icontains=self.q[:100])
        if self.state:
            rows = rows.filter(state=self.state)
        if self.hardware:
            rows = rows.filter(hardware_model__name=self.hardware)
        if self.quarantined:
            rows = rows.filter(quarantined_at__isnull=self.quarantined != "yes")
        if self.query:
            rows = rows.filter(query.parse(self.query))
        if self.group:
            rows = rows.filter(members_of(group_by_name(domain, self.group)))
        if self.presence:
            rows = rows.filter(id__in=[key for key, word in presences(rows).items() if word == self.presence])
        return rows


def presences(rows: Iterable[Device]) -> dict[int, str]:
    """Return online, late, overdue or never for each device, by its internal id."""
    keys = [row.id for row in rows]
    seen = last_seen(keys)
    now = clock.now()
    return {key: _presence(seen.get(key), now) for key in keys}


def last_seen(keys: Iterable[int]) -> dict[int, datetime]:
    """Return when each of these devices was last heard, for those that ever were."""
    rows = Presence.objects.filter(device_id__in=list(keys))
    return dict(rows.values_list("device_id", "last_seen"))


def counts(domain: str) -> Counts:
    """Return the numbers of the overview page."""
    rows = list(Device.objects.filter(domain__slug=domain).exclude(state=Device.State.RETIRED).only("id"))
    words = list(presences(rows).values())
    return Counts(
        devices=len(rows),
        online=words.count("online"),
        late=words.count("late"),
        overdue=words.count("overdue"),
        never=words.count("never"),
        quarantined=Device.objects.filter(domain__slug=domain, quarantined_at__isnull=False).count(),
        open_incidents=incidents(domain).filter(state=Incident.State.OPEN).count(),
    )


def hardware_models(domain: str) -> QuerySet[HardwareModel]:
    """Return the hardware models of a domain by name."""
    return HardwareModel.objects.filter(domain__slug=domain).order_by("name", "id")


def hardware_model(domain: str, name: str) -> HardwareModel:
    """Return a hardware model by its name.

    Raises:
        NotFoundError: there is none in this domain.
    """
    return _one(hardware_models(domain).filter(name=name), "hardware model")


def hardware_model_by_id(domain: str, public_id: str | UUID) -> HardwareModel:
    """Return a hardware model by its public id.

    Raises:
        NotFoundError: there is none in this domain.
    """
    return _one(hardware_models(domain).filter(public_id=_uuid(public_id)), "hardware model")


def tokens(domain: str) -> QuerySet[EnrolmentToken]:
    """Return the enrolment tokens of a domain, newest first."""
    rows = EnrolmentToken.objects.filter(domain__slug=domain)
    return rows.select_related("hardware_model", "used_by").order_by("-id")


def token(domain: str, public_id: str | UUID) -> EnrolmentToken:
    """Return an enrolment token by its public id.

    Raises:
        NotFoundError: there is none in this domain.
    """
    return _one(tokens(domain).filter(public_id=_uuid(public_id)), "enrolment token")


def incidents(domain: str) -> QuerySet[Incident]:
    """Return the incidents of a domain, newest first."""
    rows = Incident.objects.filter(domain__slug=domain)
    return rows.select_related("device", "device__hardware_model", "domain").order_by("-id")


def incident(domain: str, public_id: str | UUID) -> Incident:
    """Return an incident by its public id.

    Raises:
        NotFoundError: there is none in this domain.
    """
    return _one(incidents(domain).filter(public_id=_uuid(public_id)), "incident")


def samples(device: Device, metric: str, ticks: int) -> list[tuple[int, float]]:
    """Return the last ``ticks`` ticks of one metric of one device: (tick, value), oldest first."""
    since = clock.unix() // settings.FLEET_DRIFT_TICK_S - ticks
    rows = Sample.objects.filter(device_id=device.pk, metric=metric, tick__gte=since)
    return list(rows.order_by("tick").values_list("tick", "value"))


def series(device: Device, metric: str, since_ms: int, until_ms: int, most: int) -> list[tuple[int, float]]:
    """Return the values of a metric that a device sent as series: (unix milliseconds, value), oldest first.

    Args:
        device: whose.
        metric: its name.
        since_ms: from here on.
        until_ms: up to but not including.
        most: values at most; the newest are left out.
    """
    rows = Series.objects.filter(device_id=device.pk, metric=metric, start__lt=until_ms, start__gte=since_ms - DAY_MS)
    found: list[tuple[int, float]] = []
    for start, step, values in rows.order_by("start", "id").values_list("start", "step_ms", "values").iterator():
        found += [one for one in unpacked(start, step, bytes(values)) if since_ms <= one[0] < until_ms]
        if len(found) >= most:
            break
    return sorted(found)[:most]


def groups(domain: str) -> QuerySet[Group]:
    """Return the groups of a domain by name."""
    return Group.objects.filter(domain__slug=domain).order_by("name", "id")


def group(domain: str, public_id: str | UUID) -> Group:
    """Return a group by its public id.

    Raises:
        NotFoundError: there is none in this domain.
    """
    return _one(groups(domain).filter(public_id=_uuid(public_id)), "group")


def group_by_name(domain: str, name: str) -> Group:
    """Return a group by its name.

    Raises:
        NotFoundError: there is none in this domain.
    """
    return _one(groups(domain).filter(name=name), "group")


def members_of(group: Group) -> Q:
    """Return the condition that a device belongs to a group now."""
    if group.query:
        return query.parse(group.query)
    return Q(pk__in=GroupMember.objects.filter(group=group).values("device_id"))


def devices_by_names(domain: str, names: Iterable[str]) -> list[Device]:
    """Return the devices with these names.

    Raises:
        NotFoundError: one of them does not exist; the sentence says which.
    """
    wanted = list(dict.fromkeys(names))
    found = {one.name: one for one in devices(domain).filter(name__in=wanted)}
    if missing := [name for name in wanted if name not in found]:
        msg = f"There is no device {missing[0][:100]!r}; nothing was changed."
        raise NotFoundError(msg)
    return [found[name] for name in wanted]


def logs(device: Device) -> QuerySet[DeviceLog]:
    """Return the logs that a device has sent, newest first."""
    return DeviceLog.objects.filter(device_id=device.pk).order_by("-id")


def behaviour(device: Device, ticks: int) -> dict[str, list[tuple[int, float]]]:
    """Return what each of the last ``ticks`` ticks has of a device: metric -> (tick, value), oldest first."""
    since, found = clock.unix() // settings.FLEET_DRIFT_TICK_S - ticks, defaultdict(list)
    rows = Sample.objects.filter(device_id=device.pk, tick__gt=since).order_by("metric", "tick")
    for metric, tick, value in rows.values_list("metric", "tick", "value"):
        found[metric].append((tick, value))
    return dict(found)


def source_networks(device: Device) -> QuerySet[SourceNetwork]:
    """Return the networks that a device was heard from, the latest first."""
    return SourceNetwork.objects.filter(device_id=device.pk).order_by("-last_tick", "-id")


def metric_names(device: Device, ticks: int) -> list[str]:
    """Return the metrics that a device has samples of in the last ``ticks`` ticks, by name."""
    since = clock.unix() // settings.FLEET_DRIFT_TICK_S - ticks
    rows = Sample.objects.filter(device_id=device.pk, tick__gte=since)
    return sorted(rows.values_list("metric", flat=True).distinct())


def barred(fingerprints: Iterable[str]) -> set[str]:
    """Return which of these device certificates may not stay connected: revoked, over, or of a device out of service.

    One that has expired within its grace may stay: the door lets it renew and nothing else. What this server did not
    issue to a device may stay as well: it opens first enrolment only, and each request decides.
    """
    found = set()
    wanted = list(fingerprints)
    for start in range(0, len(wanted), 500):
        rows = Certificate.objects.select_related("authority", "domain").filter(
            fingerprint__in=wanted[start : start + 500], profile=Certificate.Profile.DEVICE
        )
        held = list(rows)
        active = Device.objects.filter(public_id__in=[one.subject_key for one in held], state=Device.State.ACTIVE)
        serving = {(one.key, one.domain_id) for one in active.only("public_id", "domain_id")}
        now = clock.now()
        for one in held:
            over = standing(one, now) in {Standing.REVOKED, Standing.EXPIRED}
            if over or (one.subject_key, one.domain_id) not in serving:
                found.add(one.fingerprint)
    return found


def _presence(seen: datetime | None, now: datetime) -> str:
    if seen is None:
        return "never"
    interval = timedelta(seconds=max(settings.FLEET_POLL_S, 5))
    if now - seen <= interval * LATE:
        return "online"
    return "late" if now - seen <= interval * OVERDUE else "overdue"


def _uuid(value: str | UUID) -> UUID:
    try:
        return value if isinstance(value, UUID) else UUID(value)
    except ValueError as error:
        msg = "This is not a UUID."
        raise InvalidError(msg) from error


def _one(rows: QuerySet[_Row], kind: str) -> _Row:
    found = rows.first()
    if found is None:
        msg = f"There is no such {kind}."
        raise NotFoundError(msg)
    return found


def vendor_anchors(slug: str) -> list[bytes]:
    """Return the CA certificates (DER) of vendors whose device identities a domain trusts for enrolment."""
    rows = VendorAnchor.objects.filter(domain__slug=slug, kind="idevid", withdrawn_at__isnull=True)
    return [bytes(der) for der in rows.order_by("id").values_list("der", flat=True)]


def vendor_identities() -> set[str]:
    """Return the identities (SHA-256 of the SubjectPublicKeyInfo) of the keys of all vendors' CAs, of every domain."""
    found = set()
    for der in VendorAnchor.objects.values_list("der", flat=True):
        try:
            found.add(key_identity(accept_key(x509.load_der_x509_certificate(bytes(der)).public_key())))
        except (ValueError, TypeError, UnsupportedAlgorithm, InvalidError):
            continue  # a key that is not accepted here cannot be one that is
    return found


def vendors(slug: str) -> QuerySet[VendorAnchor]:
    """Return the vendors that a domain trusts or has trusted, newest first."""
    return VendorAnchor.objects.filter(domain__slug=slug).select_related("hardware_model").order_by("-id")


def expected(slug: str) -> QuerySet[PreRegistration]:
    """Return the devices that a domain expects, newest first."""
    rows = PreRegistration.objects.filter(domain__slug=slug)
    return rows.select_related("hardware_model", "used_by").order_by("-id")


def enrolment_requests(slug: str) -> QuerySet[EnrolmentRequest]:
    """Return the enrolments that waited or wait for a person, newest first."""
    return EnrolmentRequest.objects.filter(domain__slug=slug).select_related("hardware_model").order_by("-id")


def identities(device: Device) -> list[HardwareIdentity]:
    """Return the identities in hardware that a device has proved."""
    return list(HardwareIdentity.objects.filter(device=device).order_by("id"))


def witnesses(slug: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield device name and ledger head (epoch, size, root) as devices say that they were shown it."""
    rows = Twin.objects.filter(device__domain__slug=slug, reported__head__isnull=False)
    yield from rows.values_list("device__name", "reported__head").iterator(chunk_size=1000)
