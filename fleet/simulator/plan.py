"""The plan of a simulated fleet: read from one JSON file and checked before the start."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pki.kernel import strict_json
from pki.kernel.errors import InvalidError

MAX_PLAN = 16 << 20


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One simulated device.

    Args:
        name: name of the device.
        token: one-time enrolment token.
        hardware: name of its hardware model, which determines its telemetry.
        hw_class: class id of the hardware model.
        images: component -> factory image file, with its facts in ``FILE.json``.
        mirror: untrusted blob address, ``tampered`` for the hostile one of this simulator, or empty.
    """

    name: str
    token: str
    hardware: str
    hw_class: str
    images: dict[str, str]
    mirror: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """The misbehaving device and its trigger: a running version and a number of telemetry ticks."""

    device: str
    after_ticks: int
    component: str
    when_version: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole fleet."""

    server: str
    anchor: Path
    tuf_root: Path
    folder: Path
    seed: int
    poll_s: float
    telemetry_s: float
    devices: tuple[DevicePlan, ...]
    fault: Fault | None


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        ValueError: a field is missing or unknown; the error names it.
    """
    try:
        # untyped: missing, unknown and mistyped fields are refused below.
        raw: Any = strict_json.read_json(path.read_bytes(), max_bytes=MAX_PLAN)
        fault = Fault(**raw["fault"]) if raw.get("fault") else None
        devices = tuple(DevicePlan(**device) for device in raw["devices"])
        return Plan(
            raw["server"],
            Path(raw["anchor"]),
            Path(raw["tuf_root"]),
            Path(raw["folder"]),
            int(raw["seed"]),
            float(raw["poll_s"]),
            float(raw["telemetry_s"]),
            devices,
            fault,
        )
    except (KeyError, TypeError, InvalidError) as error:
        msg = f"{path} is not a valid fleet plan: {error}"
        raise ValueError(msg) from error
