"""Scenario packs: telemetry, data classes, network peers and typical faults of a kind of fleet."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

FOLDER = Path(__file__).resolve().parent


class SeriesPlan(TypedDict):
    """A time series: usual level, noise (sigma of a log-normal factor), values per batch, step in ms."""

    level: float
    noise: float
    values: int
    step_ms: int


@dataclass(frozen=True, slots=True)
class Pack:
    """One kind of fleet.

    Args:
        name: name of the pack.
        hardware: name of its hardware model.
        vendor: vendor of that model.
        telemetry: metric -> data class, for the server's allow-list.
        metrics: metric -> (level, relative noise).
        series: metric -> {level, noise, step_ms, values}.
        forbidden: data that must not leave the device, but that faulty firmware would send.
        peers: network destinations of a device.
        faults: typical faults of the environment.
    """

    name: str
    hardware: str
    vendor: str
    telemetry: dict[str, str]
    metrics: dict[str, tuple[float, float]]
    series: dict[str, SeriesPlan]
    forbidden: dict[str, float]
    peers: list[list[str | int]]
    faults: tuple[str, ...]

    def batch(self, sequence: int, now_ms: int, source: random.Random) -> dict[str, object]:
        """Return one telemetry batch of such a device."""
        metrics = {
            name: round(level * source.lognormvariate(0, noise), 3) for name, (level, noise) in self.metrics.items()
        }
        series = {}
        for name, plan in self.series.items():
            values = [round(plan["level"] * source.lognormvariate(0, plan["noise"]), 4) for _ in range(plan["values"])]
            at = now_ms - plan["step_ms"] * plan["values"]
            series[name] = {"at": at, "step": plan["step_ms"], "values": values}
        return {"seq": sequence, "metrics": metrics, "peers": self.peers, **({"series": series} if series else {})}

    def leak(self, sequence: int) -> dict[str, object]:
        """Return a batch that the server must refuse: it contains data that must not leave the device."""
        return {"seq": sequence, "metrics": self.forbidden}


def pack_names() -> list[str]:
    """Return the names of the packs."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load_pack(name: str) -> Pack:
    """Return a pack.

    Raises:
        ValueError: the pack does not exist.
    """
    if name not in pack_names():
        msg = f"Unknown scenario pack {name!r}. Choose one of {', '.join(pack_names())}."
        raise ValueError(msg)
    facts = json.loads((FOLDER / f"{name}.json").read_text())
    metrics = {metric: (float(level), float(noise)) for metric, (level, noise) in facts["metrics"].items()}
    return Pack(
        name, facts["hardware"], facts["vendor"], facts["telemetry"], metrics, facts["series"],
        facts.get("forbidden", {}), facts["peers"], tuple(facts["faults"]),
    )  # fmt: skip
