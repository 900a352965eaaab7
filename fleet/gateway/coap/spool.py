"""Incomplete bodies, and answers that are fetched in blocks: limited per peer and in total.

aiocoap keeps both for minutes and counts neither. A peer that begins more than allowed loses its oldest transfer, and
gets 4.08 when it continues that one.
"""

import time
from collections import OrderedDict

#: limits per peer and in total; a value is at most as large as a request or an answer of the device protocol
MOST_OF_ONE, MOST = 16, 1000
#: aiocoap's MAX_TRANSMIT_WAIT (RFC 7252, 4.8.2)
KEPT_SECONDS = 93.0
Key = tuple[tuple[object, ...], ...]


class Spool:
    """Takes the place of aiocoap's own dictionary in its spools.

    The first part of a key is a remote's ``blockwise_key``, whose last part says who the peer is.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[Key, tuple[float, object]] = OrderedDict()
        self._of: dict[object, OrderedDict[Key, None]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, key: Key) -> object:
        """Return the stored value of a key.

        Raises:
            KeyError: there is none, or it was removed.
        """
        since, value = self._held[key]
        if since < time.monotonic() - KEPT_SECONDS:
            raise KeyError(key)
        self[key] = value
        return value

    def __setitem__(self, key: Key, value: object) -> None:
        """Store a value; remove values that are too old or above the limits."""
        self._drop(key)
        own = self._of.setdefault(key[0][-1], OrderedDict())
        own[key] = None
        self._held[key] = time.monotonic(), value
        if len(own) > MOST_OF_ONE:
            self._drop(next(iter(own)))
        limit = time.monotonic() - KEPT_SECONDS
        while len(self._held) > MOST or next(iter(self._held.values()))[0] < limit:
            self._drop(next(iter(self._held)))

    def _drop(self, key: Key) -> None:
        if self._held.pop(key, None) is None:
            return
        own = self._of[key[0][-1]]
        del own[key]
        if not own:
            del self._of[key[0][-1]]
