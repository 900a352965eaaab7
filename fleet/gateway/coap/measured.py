"""Options of aiocoap that also store their received length, because RFC 7252, 5.4.3 limits it.

aiocoap keeps the value of a number only, and of text that is no UTF-8 it does not say which option it is.
"""

import warnings

from aiocoap import optiontypes
from aiocoap.numbers.optionnumbers import OptionNumber

#: least and most bytes (RFC 7252, table 4; RFC 7959, table 1)
LENGTHS = {
    OptionNumber.IF_MATCH: (0, 8),
    OptionNumber.URI_HOST: (1, 255),
    OptionNumber.ETAG: (1, 8),
    OptionNumber.URI_PORT: (0, 2),
    OptionNumber.URI_PATH: (0, 255),
    OptionNumber.CONTENT_FORMAT: (0, 2),
    OptionNumber.URI_QUERY: (0, 255),
    OptionNumber.ACCEPT: (0, 2),
    OptionNumber.BLOCK2: (0, 3),
    OptionNumber.BLOCK1: (0, 3),
}
#: critical options that a request may repeat
REPEATABLE = frozenset({OptionNumber.IF_MATCH, OptionNumber.URI_PATH, OptionNumber.URI_QUERY})


class _Measured:
    """Stores the number of bytes of an option."""

    came: int | None = None
    number: OptionNumber

    def decode(self, rawdata: bytes) -> None:
        """Decode the option; an option that is not UTF-8 is named in a note of the error."""
        self.came = len(rawdata)
        try:
            super().decode(rawdata)  # type: ignore[misc]  # the other base has it
        except UnicodeDecodeError as error:
            error.add_note(f"The option {name_of(self.number)} is not UTF-8.")
            raise


class _Uint(_Measured, optiontypes.UintOption):  # type: ignore[misc]  # aiocoap has no types
    pass


class _Format(_Measured, optiontypes.ContentFormatOption):  # type: ignore[misc]  # aiocoap has no types
    pass


class _Block(_Measured, optiontypes.BlockOption):  # type: ignore[misc]  # aiocoap has no types
    pass


class _Text(_Measured, optiontypes.StringOption):  # type: ignore[misc]  # aiocoap has no types
    pass


_KINDS = {
    OptionNumber.URI_HOST: _Text,
    OptionNumber.URI_PORT: _Uint,
    OptionNumber.URI_PATH: _Text,
    OptionNumber.CONTENT_FORMAT: _Format,
    OptionNumber.URI_QUERY: _Text,
    OptionNumber.ACCEPT: _Format,
    OptionNumber.PROXY_URI: _Text,
    OptionNumber.PROXY_SCHEME: _Text,
    OptionNumber.BLOCK2: _Block,
    OptionNumber.BLOCK1: _Block,
}


def measure_options() -> None:
    """Register these classes with aiocoap; they read and write the same bytes as its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # aiocoap warns about classes that write other bytes
        for number, kind in _KINDS.items():
            number.set_format(kind)


def is_option_length(option: optiontypes.OptionType) -> bool:
    """Return whether the length of an option is valid."""
    least, most = LENGTHS.get(option.number, (0, 1 << 16))
    came = getattr(option, "came", None)
    return least <= (len(option.encode()) if came is None else came) <= most


def name_of(number: OptionNumber) -> str:
    """Return the name and the number of an option."""
    known = number in OptionNumber.__members__.values()
    return f"{number.name_printable} ({int(number)})" if known else str(int(number))
