"""The device's connections to its server: the regular one, and the one that presents its certificate."""

from collections.abc import Callable
from pathlib import Path

from fleet.agent import config
from fleet.agent.coap import CoapTransport, open_connection
from fleet.agent.errors import TransportError
from fleet.agent.oscore import OscoreTransport
from fleet.agent.state import Settings
from fleet.agent.transport import Transport
from pki.kernel import clock

ServerConnection = Transport | CoapTransport


#: consecutive failures after which every other attempt uses the factory address
SILENT = 12
#: seconds at the factory address before the device retries the configured address
FACTORY_ADDRESS_S = 3600


class ServerConnections:
    """Connections that open on demand, and reopen after a loss.

    Args:
        settings: settings of the device.
        identity: returns certificate chain and key files.

    Attributes:
        at_factory_address: whether the device uses the factory address instead of the configured one.
    """

    def __init__(self, settings: Settings, identity: Callable[[], tuple[Path, Path]]) -> None:
        self._settings, self._identity = settings, identity
        self._regular: ServerConnection | None = None
        self.at_factory_address, self._until = False, 0
        self.mirror = Transport(settings.mirror, None) if settings.mirror else None

    def regular(self) -> ServerConnection:
        """Return the regular connection: HTTPS, CoAP over DTLS, or CoAP with OSCORE."""
        if self._regular is None:
            self._regular = self._in_oscore() if self._settings.oscore else self.authenticated()
        return self._regular

    @property
    def over_coap(self) -> bool:
        """Return whether the regular connection is CoAP."""
        return self._current_settings().over_coap

    def authenticated(self) -> ServerConnection:
        """Return a new connection that presents the certificate. The caller closes it."""
        settings = self._current_settings()
        return open_connection(settings.server, config.trusted_file(settings), self._identity())

    def for_enrolment(self) -> Transport:
        """Return a new connection for the first certificate. The caller closes it.

        Raises:
            TransportError: no HTTPS address is configured.
        """
        settings = self._settings
        if settings.server.startswith("coaps://") and not settings.enrol_at:
            msg = "enrolment with a token requires HTTPS: set --enrol-at to the server's https:// address"
            raise TransportError(msg)
        return Transport(settings.enrol_at or settings.server, config.trusted_file(settings))

    def try_factory_address(self, attempts: int) -> None:
        """Also try the factory address when the configured address does not answer.

        The server there must be the trusted one, which each step verifies. After an hour the device retries the
        configured address.

        Args:
            attempts: number of consecutive failures.
        """
        if self.at_factory_address and clock.unix() > self._until:
            self.use_configured()
        if attempts < SILENT or config.effective_settings(self._settings) == self._settings:
            return
        self.drop()
        self.at_factory_address, self._until = attempts % 2 == 0, clock.unix() + FACTORY_ADDRESS_S

    def use_configured(self) -> None:
        """Use the server address of the current configuration."""
        self.drop()
        self.at_factory_address = False

    def _current_settings(self) -> Settings:
        return self._settings if self.at_factory_address else config.effective_settings(self._settings)

    def drop(self) -> None:
        """Close the regular connection."""
        if self._regular is not None:
            self._regular.close()
            self._regular = None

    def close(self) -> None:
        """Close all connections."""
        self.drop()
        if self.mirror is not None:
            self.mirror.close()

    def _in_oscore(self) -> OscoreTransport:
        settings = self._current_settings()
        return OscoreTransport(settings.server, self._identity(), settings.folder, self.authenticated)
