"""The device's lines to its server: the one for every day, and the one on which its certificate is shown."""

from collections.abc import Callable
from pathlib import Path

from fleet.agent import config
from fleet.agent.coap import CoapTransport, line_to
from fleet.agent.errors import TransportError
from fleet.agent.oscore import OscoreTransport
from fleet.agent.state import Settings
from fleet.agent.transport import Transport
from pki.kernel import clock

Line = Transport | CoapTransport


#: after so many attempts in a row every other one goes to the address of the factory
SILENT = 12
#: so long a device stays there before it tries the address again to which officers moved it
ASTRAY_S = 3600


class Lines:
    """Opened when they are needed, and again after they were dropped.

    Args:
        settings: of the device.
        identity: returns certificate chain and key files.

    Attributes:
        astray: whether the device asks at the factory's address, although officers moved it.
    """

    def __init__(self, settings: Settings, identity: Callable[[], tuple[Path, Path]]) -> None:
        self._settings, self._identity = settings, identity
        self._daily: Line | None = None
        self.astray, self._until = False, 0
        self.mirror = Transport(settings.mirror, None) if settings.mirror else None

    def daily(self) -> Line:
        """Return the line of every day: HTTPS, CoAP over DTLS, or CoAP in OSCORE."""
        if self._daily is None:
            self._daily = self._in_oscore() if self._settings.oscore else self.shown()
        return self._daily

    @property
    def over_coap(self) -> bool:
        """Say whether the line of every day is CoAP."""
        return self._now().over_coap

    def shown(self) -> Line:
        """Return a new line on which the certificate is shown; whoever asks for it closes it."""
        settings = self._now()
        return line_to(settings.server, config.trusted(settings), self._identity())

    def first(self) -> Transport:
        """Return a new line for the first certificate; whoever asks for it closes it.

        Raises:
            TransportError: there is no HTTPS address for it.
        """
        settings = self._settings
        if settings.server.startswith("coaps://") and not settings.enrol_at:
            msg = "a token needs HTTPS: name the server's https address for the first certificate (--enrol-at)"
            raise TransportError(msg)
        return Transport(settings.enrol_at or settings.server, config.trusted(settings))

    def silent(self, attempts: int) -> None:
        """Try the factory's address too, when the one to which officers moved this device has gone silent.

        Whoever answers there has to be the server that the device believes; it is asked so at each step, and after an
        hour the device looks again where officers sent it.

        Args:
            attempts: that have failed in a row.
        """
        if self.astray and clock.unix() > self._until:
            self.moved()
        if attempts < SILENT or config.effective(self._settings) == self._settings:
            return
        self.drop()
        self.astray, self._until = attempts % 2 == 0, clock.unix() + ASTRAY_S

    def moved(self) -> None:
        """Go where officers send this device from now on."""
        self.drop()
        self.astray = False

    def _now(self) -> Settings:
        return self._settings if self.astray else config.effective(self._settings)

    def drop(self) -> None:
        """Close the line of every day."""
        if self._daily is not None:
            self._daily.close()
            self._daily = None

    def close(self) -> None:
        """Close all lines."""
        self.drop()
        if self.mirror is not None:
            self.mirror.close()

    def _in_oscore(self) -> OscoreTransport:
        settings = self._now()
        return OscoreTransport(settings.server, self._identity(), settings.folder, self.shown)
