"""How a metric's values are written for people: rounded, with a unit, rates per minute or hour. Pure.

Devices and listeners count per tick; a person reads a rate without knowing how long a tick is.
"""

from collections.abc import Mapping
from typing import NamedTuple

MINUTE, HOUR = 60, 3600


class MetricUnit(NamedTuple):
    """How one metric is written.

    Args:
        label: how a sentence about it begins, for example "Sending" or "Temperature:".
        unit: what follows the number.
        rate_s: seconds of a rate, which is counted per tick; 0 for a level.
    """

    label: str
    unit: str
    rate_s: int = 0


#: as documented in ``docs/reference/metrics.md``; shares are written in percent
UNITS: Mapping[str, MetricUnit] = {
    "requests": MetricUnit("Making", "requests/min", MINUTE),
    "bytes_out": MetricUnit("Sending", "bytes/min", MINUTE),
    "bytes_in": MetricUnit("Receiving", "bytes/min", MINUTE),
    "packets_out": MetricUnit("Sending", "packets/min", MINUTE),
    "packets_in": MetricUnit("Receiving", "packets/min", MINUTE),
    "established_peers": MetricUnit("Connections:", "peers"),
    "listening_ports": MetricUnit("Listening on", "ports"),
    "heap_free_b": MetricUnit("Free heap:", "bytes"),
    "temp_c": MetricUnit("Temperature:", "°C"),
    "battery_share": MetricUnit("Battery:", "%"),
    "confidence_mean": MetricUnit("Model confidence:", "%"),
    "srv_bytes_in": MetricUnit("Received by the server:", "bytes/min", MINUTE),
    "srv_bytes_out": MetricUnit("Sent by the server:", "bytes/min", MINUTE),
    "tls_handshakes": MetricUnit("TLS handshakes:", "handshakes/h", HOUR),
    "tls_resumptions": MetricUnit("TLS resumptions:", "resumptions/h", HOUR),
    "auth_failures": MetricUnit("Authentication failures:", "failures/h", HOUR),
    "http_4xx": MetricUnit("Client errors (4xx):", "responses/h", HOUR),
    "http_5xx": MetricUnit("Server errors (5xx):", "responses/h", HOUR),
    "download_resumes": MetricUnit("Resumed downloads:", "downloads/h", HOUR),
    "coap_retransmits": MetricUnit("CoAP retransmissions:", "messages/h", HOUR),
    "srv_refused": MetricUnit("Rejected telemetry:", "batches/h", HOUR),
    "source_prefixes": MetricUnit("Source networks:", "networks"),
    "gap_max_s": MetricUnit("Longest silence:", "s"),
    "install_duration_s": MetricUnit("Installation time:", "s"),
    "install_failures": MetricUnit("Failed installations:", "failures/h", HOUR),
    "clock_skew_s": MetricUnit("Clock skew:", "s"),
}
_PERCENT = 100
_WHOLE = 100


def unit_in_words(metric: str) -> str:
    """Return what is written after a number of a metric; empty for a metric that only the device knows."""
    return UNITS[metric].unit if metric in UNITS else ""


def rounded_number(value: float) -> str:
    """Return a number with three significant digits, or from 100 on with separators and no decimals."""
    return f"{value:,.0f}" if abs(value) >= _WHOLE else f"{value:.3g}"


def in_unit(metric: str, value: float, tick_s: float) -> float:
    """Return a stored value in the unit that is written after it.

    Args:
        metric: its name.
        value: as stored: rates per tick, shares from 0 to 1.
        tick_s: seconds of a tick.
    """
    known = UNITS.get(metric)
    if known is None:
        return value
    if known.unit == "%":
        return value * _PERCENT
    return value * known.rate_s / tick_s if known.rate_s else value


def amount_in_words(metric: str, value: float, tick_s: float) -> str:
    """Return a stored value with its unit, for example "83.5 packets/min" or "25%"; arguments as for ``in_unit``."""
    unit = unit_in_words(metric)
    number = rounded_number(in_unit(metric, value, tick_s))
    return f"{number}%" if unit == "%" else f"{number} {unit}".rstrip()


def deviation_in_words(metric: str, observed: float, expected: float, tick_s: float) -> str:
    """Return a sentence part on a value that deviates, for example "Sending 374 packets/min (baseline 21.3)"."""
    label = UNITS[metric].label if metric in UNITS else f"{metric}:"
    amount = amount_in_words(metric, observed, tick_s)
    return f"{label} {amount} (baseline {rounded_number(in_unit(metric, expected, tick_s))})"
