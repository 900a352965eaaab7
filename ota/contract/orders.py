"""What only a configuration that officers signed may set on a device, beside roots and server address.

* ``time_sources``: where the device's clock is set from, ``host`` or ``host:port`` (the agent itself trusts only
  signed times);
* ``policy_keys``: Ed25519 public keys in hex of those who sign network policies;
* ``secrets``: name to base64, encrypted for the devices by their author; the server cannot read them.

Server and device check them with the same code. What a configuration does not say holds on at no device: each one is
whole.
"""

import base64
import re
from collections.abc import Mapping

from pki.kernel.errors import InvalidError
from pki.kernel.names import SLUG

FIELDS = ("time_sources", "policy_keys", "secrets")
MOST_SOURCES, MOST_KEYS, MOST_SECRETS, LONGEST_SECRET = 8, 8, 32, 8192
_SOURCE = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[1-9][0-9]{0,4})?")
_KEY = re.compile(r"[0-9a-f]{64}")


def check_orders(document: Mapping[str, object]) -> dict[str, object]:
    """Return what a configuration sets of these fields.

    Raises:
        InvalidError: it names the field that is malformed.
    """
    checks = {
        "time_sources": (_sources, f"at most {MOST_SOURCES} `host` or `host:port`, each once, in lower case"),
        "policy_keys": (_keys, f"at most {MOST_KEYS} Ed25519 public keys in hex, each once"),
        "secrets": (_secrets, f"at most {MOST_SECRETS} names with base64 of at most {LONGEST_SECRET} characters"),
    }
    for name, (good, words) in checks.items():
        if name in document and not good(document[name]):
            msg = f"`{name}` must hold {words}."
            raise InvalidError(msg)
    return {name: document[name] for name in FIELDS if name in document}


def _sources(value: object) -> bool:
    return _texts(value, _SOURCE, MOST_SOURCES)


def _keys(value: object) -> bool:
    return _texts(value, _KEY, MOST_KEYS)


def _texts(value: object, pattern: re.Pattern[str], most: int) -> bool:
    if not isinstance(value, list) or len(value) > most:
        return False
    good = all(isinstance(item, str) and pattern.fullmatch(item) for item in value)
    return good and len(set(value)) == len(value)


def _secrets(value: object) -> bool:
    if not isinstance(value, dict) or len(value) > MOST_SECRETS:
        return False
    return all(SLUG.fullmatch(name) and _is_base64(item) for name, item in value.items())


def _is_base64(value: object) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_SECRET:
        return False
    try:
        return base64.b64encode(base64.b64decode(value, validate=True)).decode() == value
    except ValueError:  # no base64, or no ASCII
        return False
