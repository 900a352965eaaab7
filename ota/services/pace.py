"""How much one transaction of a long step does: as much as keeps it short, whatever the machine is busy with."""

from dataclasses import dataclass

#: a transaction of the step should take so many seconds, and never does fewer devices than this
WISHED_SECONDS, LEAST = 0.03, 20


@dataclass(slots=True)
class Pace:
    """The number of devices of the next transaction.

    Args:
        most: of one transaction.
        devices: of the next one; the first is small, since it reads what no other has read yet.
    """

    most: int
    devices: int = 50

    def took(self, seconds: float) -> None:
        """Learn from how long the last transaction took."""
        if seconds > WISHED_SECONDS:
            self.devices = max(int(self.devices * max(WISHED_SECONDS / seconds, 0.25)), LEAST)
        else:
            self.devices = min(int(self.devices * 1.5), self.most)
