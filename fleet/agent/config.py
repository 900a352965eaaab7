"""Settings that only an offline-signed configuration changes: trust anchors, server address, and those in ``orders``.

A twin, a command or EST ``cacerts`` never change them. A configuration is a bundle: signed by the officers, assigned
by the director, written to the inactive slot, tested, and kept or rolled back.
"""

import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from fleet.agent.coap import CoapTransport, open_connection
from fleet.agent.errors import AnswerError, RefusedError, TransportError
from fleet.agent.slots import Slots
from fleet.agent.state import Settings
from fleet.agent.transport import Transport
from ota.contract import orders
from ota.contract.addresses import is_server
from pki.kernel import canonical, files
from pki.kernel.errors import InvalidError
from pki.kernel.pem import demand_one_block

COMPONENT = "config"
#: read by other software on the device: time sources, policy keys, secrets
KEPT = "orders.json"
#: attempts at a new address, and seconds between them
VISITS, BETWEEN_S = 3, 1.0
DirectorCheck = Callable[[Transport | CoapTransport], None]
MAX_CONFIG = 64 * 1024
MOST_ANCHORS = 8
#: a configuration with an unknown field is refused: the field may change the meaning of the others
FIELDS, MORE = {"schema", "version", "anchors"}, {"wipe", "server", *orders.FIELDS}
_logger = logging.getLogger("muster.agent")


def _document(data: bytes) -> Any:  # untyped: callers check the fields that they read
    return canonical.loads(data, max_bytes=MAX_CONFIG)


def configured_anchors(data: bytes) -> str:
    """Return the trust anchors of a configuration as one PEM text.

    Raises:
        RefusedError: it is not a configuration that this device supports.
    """
    try:
        document = _document(data)
        known, anchors = set(document) - MORE == FIELDS and document["schema"] == 1, document["anchors"]
        orders.check_orders(document)
        known = known and (document.get("server", "") == "" or is_server(document["server"]))
        pem = "".join(anchors[:MOST_ANCHORS])
        same = [_written(anchor) for anchor in anchors] == anchors
    except (InvalidError, KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"self-test: the configuration is malformed: {error}"
        raise RefusedError(msg) from error
    if not known or not same or not 0 < len(anchors) <= MOST_ANCHORS or len(set(anchors)) != len(anchors):
        msg = "self-test: the configuration has an unsupported schema, field or number of trust anchors"
        raise RefusedError(msg)
    return pem


def _written(pem: str) -> str:
    """Return a certificate in canonical PEM, so that all parsers read the same certificate."""
    certificate = x509.load_pem_x509_certificate(demand_one_block(pem, "CERTIFICATE", what="A trust anchor"))
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def configured_server(data: bytes) -> str:
    """Return the server address in a configuration; empty for the factory setting.

    Raises:
        RefusedError: it is not a configuration that this device supports.
    """
    configured_anchors(data)
    document = _document(data)
    return str(document.get("server", ""))


def read_configuration(settings: Settings) -> bytes | None:
    """Return the kept configuration, verified against its signed digest; None for the factory settings.

    A configuration that changed on the disk is not used. The device then returns to its factory anchors and address,
    so that it stays reachable and can receive a new configuration.
    """
    try:
        return _slots(settings).read_kept()
    except RefusedError as error:
        _logger.warning(_UNUSABLE, error, extra={"device": settings.name})
        return None


class Watch:
    """Report once that the kept configuration is no longer usable.

    Args:
        settings: factory settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._known = settings, ""

    def trouble(self) -> str:
        """Return why the kept configuration is not usable; empty if it is usable or already reported."""
        reason = ""
        try:
            _slots(self._settings).read_kept()
        except RefusedError as error:
            reason = _UNUSABLE % error
        told, self._known = reason == self._known, reason
        return "" if told else reason


_UNUSABLE = "the kept configuration is not usable; the device uses its factory settings: %s"


def _slots(settings: Settings) -> Slots:
    return Slots(settings.folder / "slots" / COMPONENT)


def effective_settings(settings: Settings) -> Settings:
    """Return the factory settings, with the server address of the kept configuration if it has one."""
    kept = read_configuration(settings)
    address = configured_server(kept) if kept is not None else ""
    return replace(settings, server=address) if address else settings


def publish_settings(settings: Settings, kept: bytes | None) -> None:
    """Write the settings for other software on the device: atomically, readable by the owner only."""
    if kept is not None:
        document = _document(kept)
        files.write_private(settings.folder / KEPT, canonical.dumps(orders.check_orders(document)))


def orders_wipe(data: bytes, device: str) -> bool:
    """Return whether a configuration orders this device to erase itself; False if it is malformed."""
    try:
        document = _document(data)
        named = document.get("wipe", [])
        return document["schema"] == 1 and isinstance(named, list) and device in named
    except (InvalidError, AttributeError, TypeError, KeyError):
        return False


def trusted_file(settings: Settings) -> Path:
    """Return the PEM file of the trust anchors: of the kept configuration, or of the factory settings."""
    kept = read_configuration(settings)
    if kept is None:
        return settings.anchor
    path, text = settings.folder / "anchors.pem", configured_anchors(kept).encode()
    if _content(path) != text:
        files.write_private(path, text)
    return path


def _content(path: Path) -> bytes | None:
    """Return the content of a file; None if it is missing or a link."""
    try:
        with files.open_plain(path) as file:
            return file.read(MAX_CONFIG)
    except OSError:
        return None


def _is_disbelief(error: Exception) -> bool:
    """Return whether a connection failed because the server's certificate is not trusted."""
    judged = isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLCertVerificationError)
    return judged or "certificate verify failed" in str(error)


def try_configuration(
    settings: Settings, data: bytes, identity: tuple[Path, Path], check_director: DirectorCheck
) -> None:
    """Test a configuration: the server must be trusted under its anchors and answer at its address.

    Args:
        settings: factory settings.
        data: the configuration.
        identity: certificate chain and key files.
        check_director: requests the director's document over a connection; raises unless it is fresh and trusted.

    Raises:
        RefusedError: it is malformed, or the server is not trusted under it.
        TransportError: the server cannot be reached now; try again later.
    """
    trial = settings.folder / "anchors.trial.pem"
    files.write_private(trial, configured_anchors(data).encode())
    now, there = effective_settings(settings).server, configured_server(data) or settings.server
    try:
        if there == now:
            _greet(there, trial, identity)
        else:
            _visit(settings, there, trial, identity, check_director)
    finally:
        trial.unlink(missing_ok=True)


def _greet(address: str, trial: Path, identity: tuple[Path, Path]) -> None:
    """Perform a TLS handshake with the current server under the new trust anchors."""
    transport = None
    try:
        transport = open_connection(address, trial, identity)
        transport.call("GET", "/healthz")
    except AnswerError:
        return  # any answer proves that the handshake succeeded
    except (TransportError, ssl.SSLError) as error:
        if _is_disbelief(error):
            msg = "self-test: the server is not trusted under the new trust anchors"
            raise RefusedError(msg) from error
        raise
    finally:
        if transport is not None:
            transport.close()


def _visit(
    settings: Settings, address: str, trial: Path, identity: tuple[Path, Path], check_director: DirectorCheck
) -> None:
    """Request a fresh director document at a new address: it must be our server, and it must know this device."""
    if settings.tpm and address.startswith("coaps://"):
        msg = "self-test: a coaps:// address needs a key file, and this device's key is in a TPM"
        raise RefusedError(msg)
    transport = None
    try:
        transport = open_connection(address, trial, identity)
        _patiently(check_director, transport)
    except RefusedError as error:
        msg = f"self-test: the answer of {address} is not trusted: {error}"
        raise RefusedError(msg) from error
    except (AnswerError, TransportError, OSError, SSL.Error, x509.ExtensionNotFound) as error:
        msg = f"self-test: {address} does not serve this device: {error}"
        raise RefusedError(msg) from error
    finally:
        if transport is not None:
            transport.close()


def _patiently(check_director: DirectorCheck, transport: Transport | CoapTransport) -> None:
    """Retry a few times: one broken connection must not reject the new address."""
    for _ in range(VISITS - 1):
        try:
            check_director(transport)
        except TransportError:
            transport.close()
            time.sleep(BETWEEN_S)
        else:
            return
    check_director(transport)
