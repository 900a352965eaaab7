"""Reports in the shape of AWS Device Defender, long and short names mixed, as batches of our own. Pure."""

import ipaddress
from collections.abc import Mapping

from pki.kernel.errors import InvalidError

MOST_CONNECTIONS = 64
_STATS = {
    "bytes_in": ("bytes_in", "bi"),
    "bytes_out": ("bytes_out", "bo"),
    "packets_in": ("packets_in", "pi"),
    "packets_out": ("packets_out", "po"),
}


def is_report(body: Mapping[str, object]) -> bool:
    """Return whether a body is such a report."""
    return "header" in body or "hed" in body


def convert_batch(body: Mapping[str, object]) -> dict[str, object]:
    """Return the body of one of our batches.

    Counts travel as they are: they are changes since the last report. Custom metrics keep their names, of which only a
    single number is taken.

    Raises:
        InvalidError: a part is missing or malformed.
    """
    header = _map(_either(body, "header", "hed"), "header")
    number = _either(header, "report_id", "rid")
    metrics, custom = _either(body, "metrics", "met"), _either(body, "custom_metrics", "cmet")
    if metrics is None and custom is None:
        msg = "A report must have `metrics` or `custom_metrics`."
        raise InvalidError(msg)
    standard = _map({} if metrics is None else metrics, "metrics")
    own = _map({} if custom is None else custom, "custom_metrics")
    found = {**_traffic(standard), **_listening(standard), **_custom(own)}
    established, peers = _connections(standard)
    return {"seq": number, "metrics": {**found, **established}, "peers": peers}


def _traffic(metrics: Mapping[str, object]) -> dict[str, object]:
    stats = _map(_either(metrics, "network_stats", "ns") or {}, "network_stats")
    given = {name: _either(stats, *words) for name, words in _STATS.items()}
    return {name: _count(value, name) for name, value in given.items() if value is not None}


def _listening(metrics: Mapping[str, object]) -> dict[str, object]:
    totals = []
    for words in (("listening_tcp_ports", "tp"), ("listening_udp_ports", "up")):
        ports = _either(metrics, *words)
        if ports is not None:
            totals.append(_count(_either(_map(ports, words[0]), "total", "t") or 0, words[0]))
    return {"listening_ports": sum(totals)} if totals else {}


def _connections(metrics: Mapping[str, object]) -> tuple[dict[str, object], list[list[object]]]:
    outer = _either(metrics, "tcp_connections", "tc")
    if outer is None:
        return {}, []
    inner = _map(_either(_map(outer, "tcp_connections"), "established_connections", "ec"), "established_connections")
    listed = _either(inner, "connections", "cs") or []
    if not isinstance(listed, list) or len(listed) > MOST_CONNECTIONS:
        msg = f"A report may list at most {MOST_CONNECTIONS} connections."
        raise InvalidError(msg)
    total = _either(inner, "total", "t")
    peers = [_peer(_either(_map(item, "connection"), "remote_addr", "rad")) for item in listed]
    return {"established_peers": _count(len(listed) if total is None else total, "total")}, peers


def _peer(remote: object) -> list[object]:
    """Return protocol, port and class of ``address:port``."""
    host, _, port = str(remote).rpartition(":")
    try:
        address, number = ipaddress.ip_address(host.strip("[]")), int(port)
    except ValueError as error:
        msg = "remote_addr must be an address and a port, such as 192.0.2.1:443."
        raise InvalidError(msg) from error
    local = address.is_private or address.is_link_local or address.is_loopback
    return ["tcp", number, "multicast" if address.is_multicast else "lan" if local else "wan"]


def _custom(metrics: Mapping[str, object]) -> dict[str, object]:
    found = {}
    for name, value in metrics.items():
        first = value[0] if isinstance(value, list) and len(value) == 1 else None
        if not isinstance(first, dict) or set(first) != {"number"}:
            msg = f"{str(name)[:60]!r}: a custom metric must be a single number."
            raise InvalidError(msg)
        found[str(name)] = first["number"]
    return found


def _either(body: Mapping[str, object], long: str, short: str) -> object:
    return body.get(long, body.get(short))


def _map(value: object, name: str) -> dict[str, object]:
    if not isinstance(value, dict):
        msg = f"{name} must be a map."
        raise InvalidError(msg)
    return value


def _count(value: object, name: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        msg = f"{name} must be a number of 0 or more."
        raise InvalidError(msg)
    return value
