"""TLS contexts of the listeners for devices: created by the parent before it forks, and renewed periodically."""

import ssl

from django.conf import settings
from django.db import connections
from OpenSSL import SSL

from fleet.management.serving import tls
from pki import selectors
from pki.signer.client import Signer


class TlsContexts:
    """The contexts for the next forked listener process.

    A new context has a new certificate, a new key and new ticket keys: a stolen old key cannot decrypt new sessions.

    Args:
        names: host names and addresses of this server.
    """

    device: ssl.SSLContext
    coap: SSL.Context
    coap_stream: ssl.SSLContext

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self.make()

    def make(self) -> None:
        """Create new contexts for the current trust domains and trust anchors.

        Raises:
            UnavailableError: the signer does not answer; the existing contexts stay.
        """
        domains = selectors.list_domains()
        signer = Signer(settings.FLEET_DIR, "serve")
        try:
            device = tls.device_context(signer, domains, self._names)
            if settings.FLEET_COAP_PORT:
                self.coap = tls.coap_context(signer, domains, self._names)
                self.coap_stream = tls.coap_stream_context(signer, domains, self._names)
            self.device = device
        finally:
            signer.close()
            connections.close_all()
