"""Groups, hardware models and gateways that a query names: a query that names an unknown one is refused.

An unknown name that only matched nothing would be dangerous: its negation selects every device. This also covers a
stored query that names what was deleted later.
"""

from collections.abc import Callable, Container, Mapping, Sequence

from django.db.models import Model, Q, QuerySet

from devices.models import Device, Group, HardwareModel
from pki.kernel import intake
from pki.kernel.errors import InvalidError

#: known names that a message lists
MOST_SHOWN = 20


def check_groups(values: Sequence[str], within: Q) -> None:
    """Refuse names of unknown groups, and of groups whose members follow from a query.

    Args:
        values: the names.
        within: the condition that a row belongs to the domain.

    Raises:
        InvalidError: the message names the known groups, or says what to write instead.
    """
    listed = Group.objects.filter(within, query="")
    queries = dict(Group.objects.filter(within, name__in=values).values_list("name", "query"))
    for name in values:
        if queries.get(name):
            shown = intake.shown_name(queries[name], 200)
            msg = f"Group {name!r} selects its devices by a query. Write that query instead of the group: ({shown})."
            raise InvalidError(msg)
    _refuse_unknown("group", values, queries, _known(listed))


def check_hardware(values: Sequence[str], within: Q) -> None:
    """Refuse names of unknown hardware models; arguments and errors as for ``check_groups``."""
    rows = HardwareModel.objects.filter(within)
    _refuse_unknown("hardware model", values, _found(rows, values), _known(rows))


def check_gateways(values: Sequence[str], within: Q) -> None:
    """Refuse names of unknown devices; arguments and errors as for ``check_groups``."""
    found = _found(Device.objects.filter(within), values)
    _refuse_unknown("device", values, found, lambda: "Give the name of the gateway.")


#: field of the query language to the check of its values
REFERENCES: Mapping[str, Callable[[Sequence[str], Q], None]] = {
    "group": check_groups,
    "hardware": check_hardware,
    "gateway": check_gateways,
}


def _found(rows: QuerySet[Model], values: Sequence[str]) -> frozenset[str]:
    return frozenset(rows.order_by().filter(name__in=values).values_list("name", flat=True))


def _known(rows: QuerySet[Model]) -> Callable[[], str]:
    """Return what lists the first names of these rows, for a message."""

    def said() -> str:
        names = list(rows.order_by("name").values_list("name", flat=True)[: MOST_SHOWN + 1])
        more = ", …" if len(names) > MOST_SHOWN else ""
        return f"Known: {', '.join(names[:MOST_SHOWN]) or 'none'}{more}."

    return said


def _refuse_unknown(kind: str, values: Sequence[str], known: Container[str], advice: Callable[[], str]) -> None:
    for name in values:
        if name not in known:
            msg = f"There is no {kind} {intake.shown_name(name[:100])!r}. {advice()}"
            raise InvalidError(msg)
