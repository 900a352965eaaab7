"""Configuration in a twin: small JSON maps that operators write and devices apply. Pure."""

import json

from pki.kernel.errors import InvalidError

MOST_BYTES, MOST_DEPTH, MOST_NAMES = 8 * 1024, 4, 64
#: what only a bundle signed offline by two officers may change: else a stolen server would keep the fleet for ever
SIGNED_ONLY = frozenset(
    {"server", "servers", "anchors", "anchor", "cacerts", "tuf_root", "time_server", "time_servers", "ntp"}
    | {"secret", "secrets", "password", "token", "key", "keys", "policy_key", "policy_keys"}
)


def merge_patch(target: object, patch: object) -> object:
    """Return a document after a JSON Merge Patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def check_configuration(config: object) -> None:
    """Refuse a configuration that is too large or too deep, or that names what only a signed bundle may change.

    Raises:
        InvalidError: it says which name.
    """
    if not isinstance(config, dict) or len(config) > MOST_NAMES:
        msg = f"A configuration must be a map of at most {MOST_NAMES} names."
        raise InvalidError(msg)
    if named := sorted(name for name in config if str(name).lower().replace("-", "_") in SIGNED_ONLY):
        msg = f"Only a `config` bundle signed by two officers may change: {', '.join(named)[:200]}."
        raise InvalidError(msg)
    _check_depth(config, 1)
    try:
        size = len(json.dumps(config, allow_nan=False).encode())
    except (TypeError, ValueError) as error:
        msg = "A configuration may hold only maps, lists, strings, finite numbers, true, false and null."
        raise InvalidError(msg) from error
    if size > MOST_BYTES:
        msg = f"A configuration may have at most {MOST_BYTES} bytes (got {size})."
        raise InvalidError(msg)


def _check_depth(value: object, depth: int) -> None:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if depth > MOST_DEPTH or (isinstance(value, dict) and not all(isinstance(name, str) for name in value)):
        msg = f"A configuration may be nested at most {MOST_DEPTH} levels deep, and its names must be strings."
        raise InvalidError(msg)
    for item in inner:
        if isinstance(item, dict | list):
            _check_depth(item, depth + 1)
