"""Behaviour of simulated devices: normal noise per hardware model and device, and one kind of misbehaviour."""

import random
from dataclasses import dataclass, field

#: hardware model -> typical values of its metrics
LEVELS: dict[str, dict[str, float]] = {
    "vib-node": {
        "bytes_out": 42_000,
        "bytes_in": 6_000,
        "packets_out": 60,
        "established_peers": 3,
        "heap_free_b": 96_000,
        "temp_c": 41,
    },
    "soil-probe": {
        "bytes_out": 9_000,
        "bytes_in": 2_500,
        "packets_out": 18,
        "established_peers": 2,
        "heap_free_b": 38_000,
        "temp_c": 19,
    },
    "cam-node": {
        "bytes_out": 310_000,
        "bytes_in": 14_000,
        "packets_out": 280,
        "established_peers": 4,
        "heap_free_b": 240_000,
        "temp_c": 52,
    },
}
NOISE = {
    "bytes_out": 0.12,
    "bytes_in": 0.12,
    "packets_out": 0.08,
    "established_peers": 0.0,
    "heap_free_b": 0.02,
    "temp_c": 0.01,
}
PEERS: dict[str, list[tuple[str, int, str]]] = {
    "vib-node": [("tcp", 8444, "lan"), ("udp", 123, "lan"), ("tcp", 502, "lan")],
    "soil-probe": [("tcp", 8444, "lan"), ("udp", 5683, "lan")],
    "cam-node": [("tcp", 8444, "lan"), ("udp", 123, "lan"), ("tcp", 554, "lan"), ("udp", 5353, "multicast")],
}
STRANGE = ("tcp", 4444, "wan")
FAULT_FACTOR = 20


@dataclass(slots=True)
class SimulatedBehaviour:
    """One device's telemetry.

    Args:
        hardware: name of its hardware model.
        randomness: random source of this device.
    """

    hardware: str
    randomness: random.Random
    _own: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self._own = {name: self.randomness.lognormvariate(0, 0.25) for name in NOISE}

    def metrics(self, *, misbehaving: bool) -> dict[str, float]:
        """Return the values of one tick."""
        levels = LEVELS[self.hardware]
        values = {}
        for name, level in levels.items():
            own = self._own[name] if name not in {"temp_c", "established_peers"} else 1.0
            values[name] = level * own * self.randomness.lognormvariate(0, NOISE[name])
        if misbehaving:
            for name in ("bytes_out", "packets_out"):
                values[name] *= FAULT_FACTOR
        return {name: round(value, 1) for name, value in values.items()}

    def peers(self, *, misbehaving: bool) -> list[tuple[str, int, str]]:
        """Return the destinations of one tick."""
        usual = PEERS[self.hardware]
        return [*usual, STRANGE] if misbehaving else usual
