"""Which metrics a kind of device may report, and which data must not leave it. Pure.

A schema maps metric names to data classes. It is an allow-list: a name that is not on it is refused, as is
one whose class is ``on_device_only`` (for example health data, even if a firmware update sends it by mistake).
"""

import re
from collections.abc import Iterable, Mapping

from pki.kernel.errors import DeniedError, InvalidError

OPERATIONAL, PERSONAL, ON_DEVICE_ONLY = "operational", "personal", "on_device_only"
#: what the device gateway counts in each tick; a device can neither send nor forge it
TRAFFIC = ("requests", "srv_bytes_in", "srv_bytes_out")
NOTICED = (
    "tls_handshakes",
    "tls_resumptions",
    "auth_failures",
    "http_4xx",
    "http_5xx",
    "download_resumes",
    "coap_retransmits",
)
REFUSED = "srv_refused"
#: networks (/24, /48) that it spoke from; seconds between two contacts, the longest in the tick
SOURCES, GAP = "source_prefixes", "gap_max_s"
#: seconds from an installation's beginning to its end, the longest in the tick; how many failed
INSTALL_TIME, INSTALL_FAILURES = "install_duration_s", "install_failures"
#: seconds by which its clock is ahead of ours, by the newest of its reports
CLOCK_SKEW = "clock_skew_s"
OBSERVED = (*TRAFFIC, *NOTICED, REFUSED, SOURCES, GAP, INSTALL_TIME, INSTALL_FAILURES, CLOCK_SKEW)
CLASSES = (OPERATIONAL, PERSONAL, ON_DEVICE_ONLY)
MOST = 64
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
#: what any device may report while its hardware model names nothing else
USUAL: Mapping[str, str] = dict.fromkeys(
    (
        "bytes_out",
        "bytes_in",
        "packets_out",
        "packets_in",
        "established_peers",
        "listening_ports",
        "heap_free_b",
        "temp_c",
        "battery_share",
        "confidence_mean",
    ),
    OPERATIONAL,
)


def is_name(value: object) -> bool:
    """Return whether a value may name a metric."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def parse_schema(document: object) -> dict[str, str]:
    """Return a schema that an operator gives.

    Raises:
        InvalidError: no map of metric names to data classes.
    """
    if not isinstance(document, dict) or len(document) > MOST:
        msg = f"A telemetry schema must map at most {MOST} metric names to one of: {', '.join(CLASSES)}."
        raise InvalidError(msg)
    for name, kind in document.items():
        if name in OBSERVED:
            msg = f"{name} is counted by the device gateway; a device cannot report it."
            raise InvalidError(msg)
        if not is_name(name) or kind not in CLASSES:
            msg = (
                f"{str(name)[:60]!r}: names may have lower-case letters, digits and _; classes are "
                f"{', '.join(CLASSES)}."
            )
            raise InvalidError(msg)
    return dict(document)


def combining_rule(name: str) -> str:
    """Return what becomes of two values of one tick: their ``sum``, the ``greatest``, or the ``newest``."""
    if name in {GAP, INSTALL_TIME}:
        return "greatest"
    return "newest" if name == CLOCK_SKEW else "sum"


def effective_schema(given: Mapping[str, str]) -> Mapping[str, str]:
    """Return the effective schema: an empty one means the usual metrics."""
    return given or USUAL


def check_metrics(given: Mapping[str, str], names: Iterable[str]) -> None:
    """Refuse metrics that a schema does not allow; an empty schema means the usual metrics.

    Raises:
        DeniedError: a metric must not leave the device.
        InvalidError: a metric is on no list.
    """
    known = effective_schema(given)
    kept = sorted(name for name in names if known.get(name) == ON_DEVICE_ONLY)
    if kept:
        msg = f"{', '.join(kept)[:200]} must not leave the device. The batch was not stored."
        raise DeniedError(msg)
    if unknown := sorted(name for name in names if name not in known):
        msg = f"Unknown metrics: {', '.join(unknown)[:200]}. Known for this hardware: {', '.join(sorted(known))[:400]}."
        raise InvalidError(msg)
