"""Points of edwards25519 (RFC 8032, 5.1): is an encoded public key canonical, and of prime order?

Verifiers such as OpenSSL accept points of small order, for which everybody can make signatures, and second encodings of
the same point. Neither may identify a person. Public values only, so that nothing here has to be constant-time.
"""

import functools

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
_SIZE = 32
Point = tuple[int, int, int, int]
_NEUTRAL: Point = (0, 1, 1, 0)


@functools.lru_cache(maxsize=512)
def is_strong(encoded: bytes) -> bool:
    """Return whether 32 bytes are the canonical encoding of a point of prime order.

    Args:
        encoded: an Ed25519 public key.
    """
    point = _decode(encoded)
    return point is not None and not _is_neutral(point) and _is_neutral(_times(_ORDER, point))


def _decode(encoded: bytes) -> Point | None:
    """Return the point (RFC 8032, 5.1.3), or None for none and for an encoding that is not the canonical one."""
    number = int.from_bytes(encoded, "little")
    y, sign = number & (2**255 - 1), number >> 255
    if len(encoded) != _SIZE or y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    x = _P - x if x & 1 != sign else x
    return x, y, 1, x * y % _P


def _is_neutral(point: Point) -> bool:
    x, y, z, _ = point
    return x % _P == 0 and (y - z) % _P == 0


def _add(one: Point, other: Point) -> Point:
    """Add two points (RFC 8032, 5.1.4); the formula is complete, so it doubles as well."""
    (x1, y1, z1, t1), (x2, y2, z2, t2) = one, other
    a, b = (y1 - x1) * (y2 - x2) % _P, (y1 + x1) * (y2 + x2) % _P
    c, d = 2 * t1 * t2 * _D % _P, 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(factor: int, point: Point) -> Point:
    times = _NEUTRAL
    while factor:
        if factor & 1:
            times = _add(times, point)
        point, factor = _add(point, point), factor >> 1
    return times
