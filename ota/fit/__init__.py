"""Does a bundle fit the hardware that it is for? Pure rules over what inspection found."""

from ota.fit.gate import Profile, Reason, margin, verdict

__all__ = ["Profile", "Reason", "margin", "verdict"]
