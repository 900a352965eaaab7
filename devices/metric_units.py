"""How a metric's values are written for people: rounded, with a unit that says what is counted. Pure."""

from collections.abc import Mapping

#: metric -> unit after its number, as documented in ``docs/reference/metrics.md``; shares are written in percent
UNITS: Mapping[str, str] = {
    "requests": "requests per tick",
    "bytes_out": "bytes per tick",
    "bytes_in": "bytes per tick",
    "packets_out": "packets per tick",
    "packets_in": "packets per tick",
    "established_peers": "peers",
    "listening_ports": "ports",
    "heap_free_b": "bytes",
    "temp_c": "°C",
    "battery_share": "%",
    "confidence_mean": "%",
    "srv_bytes_in": "bytes per tick",
    "srv_bytes_out": "bytes per tick",
    "tls_handshakes": "handshakes per tick",
    "tls_resumptions": "resumptions per tick",
    "auth_failures": "failures per tick",
    "http_4xx": "responses per tick",
    "http_5xx": "responses per tick",
    "download_resumes": "resumed downloads per tick",
    "coap_retransmits": "retransmissions per tick",
    "srv_refused": "batches per tick",
    "source_prefixes": "networks per tick",
    "gap_max_s": "s",
    "install_duration_s": "s",
    "install_failures": "failures per tick",
    "clock_skew_s": "s",
}
_PERCENT = 100
_ROUND = 1000


def unit_in_words(metric: str) -> str:
    """Return what is written after a number of a metric; empty for a metric that only the device knows."""
    return UNITS.get(metric, "")


def rounded_number(value: float) -> str:
    """Return a number with four significant digits, or with separators of thousands and no decimals."""
    return f"{value:,.0f}" if abs(value) >= _ROUND else f"{value:,.4g}"


def in_unit(metric: str, value: float) -> float:
    """Return a stored value in the unit that is written after it: a share from 0 to 1 becomes percent."""
    return value * _PERCENT if unit_in_words(metric) == "%" else value


def amount_in_words(metric: str, value: float) -> str:
    """Return a value with its unit, for example "417.7 packets per tick" or "25%"."""
    unit = unit_in_words(metric)
    number = rounded_number(in_unit(metric, value))
    return f"{number}%" if unit == "%" else f"{number} {unit}".rstrip()
