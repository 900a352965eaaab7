"""Scenario packs: what a kind of fleet measures, what of it may leave the device, and how it looks on the network."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

FOLDER = Path(__file__).resolve().parent


class SeriesPlan(TypedDict):
    """A series that devices send: usual level, noise (sigma of a log-normal factor), values a batch, ms between."""

    level: float
    noise: float
    values: int
    step_ms: int


@dataclass(frozen=True, slots=True)
class Pack:
    """One kind of fleet.

    Args:
        name: of the pack.
        hardware: name of its hardware model.
        vendor: of that model.
        telemetry: metric -> data class, for the server's allow-list.
        metrics: metric -> (level, noise as a share).
        series: metric -> {level, noise, step_ms, values}.
        forbidden: what a faulty firmware would send although it must not leave the device.
        peers: destinations of a device.
        faults: what usually goes wrong in such a place.
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
        """Return one batch as a device of this kind sends it."""
        metrics = {
            name: round(level * source.lognormvariate(0, noise), 3) for name, (level, noise) in self.metrics.items()
        }
        series = {}
        for name, one in self.series.items():
            values = [round(one["level"] * source.lognormvariate(0, one["noise"]), 4) for _ in range(one["values"])]
            at = now_ms - one["step_ms"] * one["values"]
            series[name] = {"at": at, "step": one["step_ms"], "values": values}
        return {"seq": sequence, "metrics": metrics, "peers": self.peers, **({"series": series} if series else {})}

    def leak(self, sequence: int) -> dict[str, object]:
        """Return a batch that a server must refuse: data that must not leave the device."""
        return {"seq": sequence, "metrics": self.forbidden}


def names() -> list[str]:
    """Return the packs that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> Pack:
    """Return a pack.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in names():
        msg = f"There is no scenario pack {name!r}; there are {', '.join(names())}."
        raise ValueError(msg)
    facts = json.loads((FOLDER / f"{name}.json").read_text())
    metrics = {metric: (float(level), float(noise)) for metric, (level, noise) in facts["metrics"].items()}
    return Pack(
        name, facts["hardware"], facts["vendor"], facts["telemetry"], metrics, facts["series"],
        facts.get("forbidden", {}), facts["peers"], tuple(facts["faults"]),
    )  # fmt: skip
