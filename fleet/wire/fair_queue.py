"""A fair queue: networks take turns, and the network with the most items is evicted first."""

from collections import OrderedDict
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Waiting items by network. Every operation takes constant time, for any number of networks.

    Items of many networks are served in order of arrival. Many items of a few networks delay only each other.
    """

    def __init__(self) -> None:
        # Networks in the order of their turns; of each the items, oldest first.
        self._waiting: OrderedDict[str, OrderedDict[Item, None]] = OrderedDict()
        # Networks by the number of items that each holds, so that the one with most is found without a search.
        self._by_size: dict[int, OrderedDict[str, None]] = {}
        self._most = self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, network: str, item: Item) -> None:
        """Add an item to the queue of its network."""
        held = self._waiting.setdefault(network, OrderedDict())
        held[item] = None
        self._count += 1
        self._resize(network, len(held) - 1, len(held))

    def take(self) -> Item | None:
        """Return the oldest item of the next network, or None if the queue is empty."""
        if not self._count:
            return None
        network = next(iter(self._waiting))
        self._waiting.move_to_end(network)
        item = next(iter(self._waiting[network]))
        self.remove(network, item)
        return item

    def remove(self, network: str, item: Item) -> bool:
        """Remove an item. Return whether it was in the queue."""
        held = self._waiting.get(network)
        if held is None or item not in held:
            return False
        del held[item]
        self._count -= 1
        self._resize(network, len(held) + 1, len(held))
        if not held:
            del self._waiting[network]
        return True

    def make_room(self, *, newest: bool) -> Item | None:
        """Remove the newest or oldest item of the network with the most items; among equals, of the last to reach it.

        Args:
            newest: True to refuse the last arrival; False to drop the item that waited longest.
        """
        if not self._count:
            return None
        network = next(reversed(self._by_size[self._most]))
        held = self._waiting[network]
        item = next(reversed(held)) if newest else next(iter(held))
        self.remove(network, item)
        return item

    def _resize(self, network: str, old: int, new: int) -> None:
        if old:
            same = self._by_size[old]
            del same[network]
            if not same:
                del self._by_size[old]
        if new:
            self._by_size.setdefault(new, OrderedDict())[network] = None
        # Sizes change by one, so that the largest one does too.
        if new > self._most or (old == self._most and old not in self._by_size):
            self._most = new
