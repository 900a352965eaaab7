"""Does a bundle fit the hardware that it is for? Pure rules over what inspection found."""

from ota.fit.exchange import Change, changes
from ota.fit.gate import Profile, margin, verdict

__all__ = ["Change", "Profile", "changes", "margin", "verdict"]
