"""Bodies in the making and answers that are fetched in blocks: some for each peer, a fixed number for all.

aiocoap keeps both for minutes and counts neither. A peer that begins more than it may loses what it began first, and is
told so by 4.08 when it goes on with that.
"""

import time
from collections import OrderedDict

#: of one peer, and of all: none is larger than a request or an answer of the device protocol
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
        """Return what is kept under a key.

        Raises:
            KeyError: nothing, or nothing any more.
        """
        since, value = self._held[key]
        if since < time.monotonic() - KEPT_SECONDS:
            raise KeyError(key)
        self[key] = value
        return value

    def __setitem__(self, key: Key, value: object) -> None:
        """Keep something; what is too old or too much goes."""
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
