"""Does a bundle fit the hardware that it is for? Pure rules over what inspection found."""

from ota.fit.exchange import ModelDifference, port_changes
from ota.fit.gate import ModelCapacity, arena_margin, fit_verdict

__all__ = ["ModelCapacity", "ModelDifference", "arena_margin", "fit_verdict", "port_changes"]
