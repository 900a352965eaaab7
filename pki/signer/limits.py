"""How often each operation may run: a token bucket for each purpose (no purpose can starve another)."""

import time
from dataclasses import dataclass, field

from pki.kernel.errors import LimitedError

#: operation -> (operations a second in the long run, burst)
RATES: dict[str, tuple[float, int]] = {
    "issue_device": (1000, 5000),
    "door_identity": (0.2, 50),
    "ocsp_identity": (0.2, 50),
    "sign_crl": (300, 3000),
    "create_authority_key": (1, 1000),
    "install_authority": (1, 1000),
    "use_authority": (1, 100),
    "create_online_keys": (1, 1000),
    "prepare_online_keys": (0.2, 50),
    "switch_online_keys": (0.2, 50),
    "retire_online_keys": (0.2, 50),
    "oscore_secret": (1000, 5000),
    "sign_director": (2000, 20000),
    "sign_time": (2000, 20000),
    "sign_snapshot": (5, 200),
    "sign_timestamp": (5, 200),
    "sign_head": (20, 200),
    "sign_restore": (1, 20),
    "public_keys": (200, 2000),
    "authority_keys": (200, 2000),
    "last_head": (20, 200),
    "ping": (200, 2000),
    "refused": (5, 200),
}


@dataclass(slots=True)
class Limits:
    """The buckets of one signer process."""

    _levels: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)

    def take(self, operation: str, domain: str) -> None:
        """Use up one operation of a domain: domains do not starve one another.

        Raises:
            LimitedError: the bucket of this purpose is empty.
        """
        rate, burst = RATES[operation]
        now = time.monotonic()
        level, at = self._levels.get((operation, domain), (float(burst), now))
        level = min(float(burst), level + (now - at) * rate)
        if level < 1:
            msg = f"Too many {operation} operations; the limit is {rate:g} per second."
            raise LimitedError(msg, retry_after=round((1 - level) / rate, 3))
        self._levels[operation, domain] = (level - 1, now)
