"""Does a bundle fit the hardware that it is for? Pure rules over what inspection found."""

from ota.fit.exchange import ModelDifference, changes
from ota.fit.gate import ModelCapacity, margin, verdict

__all__ = ["ModelCapacity", "ModelDifference", "changes", "margin", "verdict"]
