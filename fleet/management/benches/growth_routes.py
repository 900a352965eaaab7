"""Requests of the growth benchmark: every route of the operator server, from its URL patterns.

New routes are included automatically. Only examples of path parameters (``_EXAMPLES``) and the filters of a list
(``FILTERS``) are listed here.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db.models import Model
from django.urls import URLPattern, URLResolver, get_resolver

from devices.models import EnrolmentRequest, EnrolmentToken, Group, HardwareModel, Incident, VendorAnchor
from fleet.management.benches.growth_fill import example_device
from fleet.management.benches.growth_scene import GROUP, PERSON, QUERY_GROUP
from fleet.operators.models import ApiToken
from ota.models import Bundle, Command, Release, Rollout, Statement
from pki.models import Authority, Certificate, LedgerEntry, TrustDomain

#: excluded routes and reasons
EXEMPT = {
    "/events/rollouts/<public_id>": "an event stream goes on until its reader leaves",
    "/api/": "whatever is no resource is refused",
    "/api/<rest>": "whatever is no resource is refused",
}
API = "/api/v1"
_GROUP = re.compile(r"\(\?P<(\w+)>([^()]*)\)")
_WORD = re.compile(r"<(?:\w+:)?(\w+)>")
_CHOICE = re.compile(r"[a-z|-]+")


class UnknownExampleError(LookupError):
    """A path parameter has no known example."""


@dataclass(frozen=True, slots=True)
class Route:
    """One request.

    Args:
        name: path and query as written here, with ``<place>`` and ``{place}`` unfilled: the same at each size.
        path: the requested path.
    """

    name: str
    path: str

    @property
    def is_api(self) -> bool:
        """Return whether a program sends it, with a token."""
        return self.name.startswith(API)


#: queries of a list, besides no query. ``{…}`` is filled in from ``_WORDS``
FILTERS: dict[str, tuple[str, ...]] = {
    "/devices": (
        *(f"presence={word}" for word in ("online", "late", "overdue", "never")),
        "state=active", "state=retired", "hardware={hardware}", "quarantined=yes", "quarantined=no", "q={q}", "q=zzz",
        "group={group}", "group={query_group}", "updating=yes", "updating=no", "query={query}",
        "query={query_runs}", "query={query_tag}", "state=active&presence=late&hardware={hardware}",
        "q={q}&presence=never&updating=yes",
    ),
    "/devices/<public_id>": ("metric=requests",),
    "/approvals": ("state=waiting", "state=approved"),
    "/certificates": ("expiring=90", "expiring=7"),
    "/incidents": ("state=open", "state=closed"),
    "/bundles": ("q=growth", "kind=firmware", "release=published"),
    "/rollouts": ("state=live", "state=running", "state=finished"),
    "/rollouts/<public_id>/devices": (
        "group=finished", "group=offered", "group=installing", "group=failed", "group=waiting",
    ),
    "/rollouts/plan": ("release={release}",),
    "/ledger": ("action=certificate.issued", "action=device", "action=rollout", "object={device_id}"),
    f"{API}/devices": (
        *(f"presence={word}" for word in ("online", "late", "overdue", "never")),
        "state=active", "state=retired", "hardware={hardware}", "quarantined=yes", "quarantined=no", "q={q}", "q=zzz",
        "group={group}", "group={query_group}", "query={query}", "query={query_runs}", "query={query_tag}",
        "presence=online&limit=500", "presence=overdue&count=true",
    ),
    f"{API}/devices/<public_id>/behaviour": ("ticks=240",),
    f"{API}/commands": ("device={device}", "state=waiting", "state=done"),
    f"{API}/enrolment-requests": ("state=waiting",),
    f"{API}/incidents": ("state=open", "state=closed", "device={device}"),
    f"{API}/certificates": ("expiring=90", "device={device_id}", "device={device}"),
    f"{API}/ledger": ("action=certificate.issued", "action=rollout.created", "object={device_id}"),
    f"{API}/statements": ("state=prepared", "kind=release"),
    f"{API}/assignments": (
        "device={device}", "status=finished", "status=scheduled", "status=error", "device={device}&status=finished",
        "group=offered", "group=installing", "rollout={old_rollout}", "rollout={old_rollout}&group=finished",
        "rollout={old_rollout}&group=installing", "rollout={rollout}&group=installing",
    ),
    f"{API}/rollouts": ("state=running", "state=finished", "name={rollout}"),
}  # fmt: skip
#: required parameters of some routes
_NEEDED = {f"{API}/devices/<public_id>/telemetry": "metric=temp_c"}


def list_routes(domain: TrustDomain) -> Iterator[Route]:
    """Yield every route except the excluded ones, each also with its filters.

    Raises:
        UnknownExampleError: a path parameter has no known example, or a list of filters has no route.
    """
    known: set[str] = set()
    words: dict[str, object] = {}
    for name in map(named_route, _patterns(get_resolver())):
        known.add(name)
        if name in EXEMPT:
            continue
        path = _path(domain, name)
        words = words or {word: find(domain) for word, find in _WORDS.items()}
        queries = (_NEEDED.get(name, ""), *FILTERS.get(name, ()))
        for query in queries:
            mark = "?" if query else ""
            yield Route(f"{name}{mark}{query}", f"{path}{mark}{query.format(**words)}")
    if strangers := (set(FILTERS) | set(EXEMPT) | set(_NEEDED)) - known:
        msg = f"The URL configuration has no {', '.join(sorted(strangers))}: correct growth_routes.py."
        raise UnknownExampleError(msg)


def _patterns(resolver: URLResolver, before: str = "/") -> Iterator[str]:
    """Yield each pattern with its prefix patterns."""
    for pattern in resolver.url_patterns:
        text = before + str(pattern.pattern).removeprefix("^").removesuffix("$")
        if isinstance(pattern, URLResolver):
            yield from _patterns(pattern, text)
        elif isinstance(pattern, URLPattern):
            yield text


def named_route(pattern: str) -> str:
    """Return a pattern with ``<name>`` for variable parts, and with the first of several listed words."""

    def plain(match: re.Match[str]) -> str:
        name, inner = match.groups()
        return inner.split("|")[0] if "|" in inner and _CHOICE.fullmatch(inner) else f"<{name}>"

    return _WORD.sub(r"<\1>", _GROUP.sub(plain, pattern)).replace("\\.", ".")


def _path(domain: TrustDomain, name: str) -> str:
    """Return a path of a route, with ids from the database."""

    def filled(match: re.Match[str]) -> str:
        before = name[: match.start()].removeprefix(API).strip("/")
        find = _EXAMPLES.get((before, match[1]))
        if find is None:
            msg = (
                f"{name}: no example of {match[1]} is known. Add ({before!r}, {match[1]!r}) to growth_routes._EXAMPLES."
            )
            raise UnknownExampleError(msg)
        return str(find(domain))

    return _WORD.sub(filled, name)


def _newest(model: type[Model], **wanted: object) -> Callable[[TrustDomain], object]:
    """Return a function that finds the public id of the newest row."""

    def find(domain: TrustDomain) -> object:
        rows = model._default_manager.filter(domain=domain, **wanted).order_by("-pk")  # noqa: SLF001  because it is any model
        return rows.values_list("public_id", flat=True)[0]

    return find


def _running(domain: TrustDomain) -> Rollout:
    """Return the running rollout; all devices are part of it."""
    return Rollout.objects.get(domain=domain, name__startswith="growth-to-", state=Rollout.State.RUNNING)


def _oldest(domain: TrustDomain) -> Rollout:
    """Return the oldest rollout: nearly all assignments are newer than its own."""
    return Rollout.objects.filter(domain=domain, name__startswith="growth-to-").order_by("pk")[0]


#: text before a variable part of a path, and the part's name -> function that finds an example
_EXAMPLES: dict[tuple[str, str], Callable[[TrustDomain], object]] = {
    ("api-tokens", "public_id"): lambda _: ApiToken.objects.order_by("-pk")[0].public_id,
    ("approvals", "public_id"): _newest(EnrolmentRequest),
    ("authorities", "key_id"): lambda domain: Authority.objects.filter(domain=domain, kind="issuing")[0].key_id,
    ("bundles", "public_id"): _newest(Bundle),
    ("certificates", "fingerprint"): lambda domain: _certificate(domain).fingerprint,
    ("commands", "public_id"): _newest(Command),
    ("devices", "public_id"): lambda domain: example_device(domain).public_id,
    ("enrolment-requests", "public_id"): _newest(EnrolmentRequest),
    ("enrolment-tokens", "public_id"): _newest(EnrolmentToken),
    ("groups", "public_id"): _newest(Group),
    ("hardware-models", "public_id"): _newest(HardwareModel),
    ("incidents", "public_id"): _newest(Incident),
    ("ledger", "public_id"): lambda domain: _entry(domain).public_id,
    ("ledger/consistency", "old"): lambda domain: LedgerEntry.objects.filter(domain=domain).count() // 2,
    ("people", "username"): lambda _: f"{PERSON}_1",
    ("releases", "public_id"): _newest(Release),
    ("rollouts", "public_id"): lambda domain: _running(domain).public_id,
    ("sign-in/link", "word"): lambda _: "a-word",
    ("statements", "public_id"): _newest(Statement),
    ("tokens", "public_id"): _newest(EnrolmentToken),
    ("vendors", "public_id"): _newest(VendorAnchor),
}
#: placeholder in a filter -> function that finds its value
_WORDS: dict[str, Callable[[TrustDomain], object]] = {
    "device": lambda domain: example_device(domain).name,
    "device_id": lambda domain: example_device(domain).public_id,
    "group": lambda _: GROUP,
    "hardware": lambda domain: example_device(domain).hardware_model.name,
    "q": lambda domain: example_device(domain).name[-4:],
    "query": lambda _: 'site+%3D+"Hall+3"+and+not+quarantined',
    "query_group": lambda _: QUERY_GROUP,
    "query_runs": lambda _: "runs.app+%3D+5.0.0",
    "query_tag": lambda _: "tag+in+(pilot,+canary)",
    "release": lambda domain: Release.objects.filter(domain=domain, state="published").order_by("-pk")[0].public_id,
    "rollout": lambda domain: _running(domain).name,
    "old_rollout": lambda domain: _oldest(domain).name,
}


def _certificate(domain: TrustDomain) -> Certificate:
    return Certificate.objects.filter(domain=domain, subject_key=str(example_device(domain).public_id)).order_by("-pk")[
        0
    ]


def _entry(domain: TrustDomain) -> LedgerEntry:
    """Return an audit-log entry of the example device: neither at the start nor at the end of the tree."""
    return LedgerEntry.objects.filter(object_key=str(example_device(domain).public_id), domain=domain).order_by("pk")[0]
