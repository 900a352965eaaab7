"""What only an offline-signed configuration changes on a device: roots, server address, and what ``orders`` names.

A twin, a command or EST ``cacerts`` never change them. A configuration is a bundle like any other: signed by the
officers, named by the director, written beside the present one, tried, and kept or taken back.
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

from fleet.agent.coap import CoapTransport, line_to
from fleet.agent.errors import AnswerError, RefusedError, TransportError
from fleet.agent.slots import Slots
from fleet.agent.state import Settings
from fleet.agent.transport import Transport
from ota.contract import orders
from ota.contract.addresses import is_server
from pki.kernel import canonical, files
from pki.kernel.errors import InvalidError
from pki.kernel.pem import demand_one

COMPONENT = "config"
#: what the device's other software reads: time sources, policy keys, secrets
KEPT = "orders.json"
#: how often a new address is asked, and seconds between
VISITS, BETWEEN_S = 3, 1.0
Believes = Callable[[Transport | CoapTransport], None]
MAX_CONFIG = 64 * 1024
MOST_ANCHORS = 8
#: a field that this device does not know may mean anything, so nothing of such a configuration is believed
FIELDS, MORE = {"schema", "version", "anchors"}, {"wipe", "server", *orders.FIELDS}
_logger = logging.getLogger("muster.agent")


def _document(data: bytes) -> Any:  # untyped: of any shape: those who read it refuse what they do not find
    return canonical.loads(data, max_bytes=MAX_CONFIG)


def anchors(data: bytes) -> str:
    """Return the roots of a configuration as one PEM text.

    Raises:
        RefusedError: it is no configuration that this device understands.
    """
    try:
        document = _document(data)
        known, found = set(document) - MORE == FIELDS and document["schema"] == 1, document["anchors"]
        orders.check(document)
        known = known and (document.get("server", "") == "" or is_server(document["server"]))
        pem = "".join(found[:MOST_ANCHORS])
        same = [_written(one) for one in found] == found
    except (InvalidError, KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"self-test: the configuration is malformed: {error}"
        raise RefusedError(msg) from error
    if not known or not same or not 0 < len(found) <= MOST_ANCHORS or len(set(found)) != len(found):
        msg = "self-test: the configuration's schema, a field or the number of its anchors is unknown to this device"
        raise RefusedError(msg)
    return pem


def _written(pem: str) -> str:
    """Return a certificate as every reader writes it: what two readers see differently is believed by none."""
    certificate = x509.load_pem_x509_certificate(demand_one(pem, "CERTIFICATE", what="An anchor"))
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def server(data: bytes) -> str:
    """Return the address in a configuration; empty for the factory's.

    Raises:
        RefusedError: it is no configuration that this device understands.
    """
    anchors(data)
    document = _document(data)
    return str(document.get("server", ""))


def read(settings: Settings) -> bytes | None:
    """Return the kept configuration, compared with its signed digest at each use; None where the factory's holds.

    A configuration whose bytes changed on the disk is not used: the device goes back to the roots and the address of
    the factory, so that it can still be reached and given a new one.
    """
    try:
        return _slots(settings).read_kept()
    except RefusedError as error:
        _logger.warning(_UNUSABLE, error, extra={"device": settings.name})
        return None


class Watch:
    """Tells once when the kept configuration can no longer be used.

    Args:
        settings: of the factory.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._known = settings, ""

    def trouble(self) -> str:
        """Return why the factory's configuration is used instead of the kept one; nothing if it is not, or was told."""
        found = ""
        try:
            _slots(self._settings).read_kept()
        except RefusedError as error:
            found = _UNUSABLE % error
        told, self._known = found == self._known, found
        return "" if told else found


_UNUSABLE = "the kept configuration is not used, but the factory's: %s"


def _slots(settings: Settings) -> Slots:
    return Slots(settings.folder / "slots" / COMPONENT)


def effective(settings: Settings) -> Settings:
    """Return what holds: the settings of the factory, with the address of the kept configuration if it names one."""
    kept = read(settings)
    address = server(kept) if kept is not None else ""
    return replace(settings, server=address) if address else settings


def publish(settings: Settings, kept: bytes | None) -> None:
    """Write what the kept configuration sets for the rest of the device: whole or not at all, for its owner only."""
    if kept is not None:
        document = _document(kept)
        files.write_private(settings.folder / KEPT, canonical.dumps(orders.check(document)))


def wipes(data: bytes, device: str) -> bool:
    """Say whether a configuration orders this device to erase itself; malformed ones order nothing."""
    try:
        document = _document(data)
        named = document.get("wipe", [])
        return document["schema"] == 1 and isinstance(named, list) and device in named
    except (InvalidError, AttributeError, TypeError, KeyError):
        return False


def trusted(settings: Settings) -> Path:
    """Return the PEM file of the roots that this device trusts: of its kept configuration, or of the factory."""
    kept = read(settings)
    if kept is None:
        return settings.anchor
    path, text = settings.folder / "anchors.pem", anchors(kept).encode()
    if _content(path) != text:
        files.write_private(path, text)
    return path


def _content(path: Path) -> bytes | None:
    """Return what is in a file; None if it is not there, or a link."""
    try:
        with files.open_plain(path) as file:
            return file.read(MAX_CONFIG)
    except OSError:
        return None


def _is_disbelief(error: Exception) -> bool:
    """Say whether a connection failed because the server's certificate was not believed."""
    judged = isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLCertVerificationError)
    return judged or "certificate verify failed" in str(error)


def check(settings: Settings, data: bytes, identity: tuple[Path, Path], believes: Believes) -> None:
    """Try a configuration: the server must still be believed under its roots, and be ours at its address.

    Args:
        settings: of the factory.
        data: the configuration.
        identity: certificate chain and key files.
        believes: asks over a line for the director's document; raises unless it is fresh and can be trusted.

    Raises:
        RefusedError: it is malformed, or the server is a stranger under it.
        TransportError: the server cannot be reached now; try again later.
    """
    trial = settings.folder / "anchors.trial.pem"
    files.write_private(trial, anchors(data).encode())
    now, there = effective(settings).server, server(data) or settings.server
    try:
        if there == now:
            _greet(there, trial, identity)
        else:
            _visit(settings, there, trial, identity, believes)
    finally:
        trial.unlink(missing_ok=True)


def _greet(address: str, trial: Path, identity: tuple[Path, Path]) -> None:
    """Shake hands with the server that this device has, under the new roots."""
    transport = None
    try:
        transport = line_to(address, trial, identity)
        transport.call("GET", "/healthz")
    except AnswerError:
        return  # an answer came through the handshake, whatever it says
    except (TransportError, ssl.SSLError) as error:
        if _is_disbelief(error):
            msg = "self-test: under the new anchors this server cannot be trusted"
            raise RefusedError(msg) from error
        raise
    finally:
        if transport is not None:
            transport.close()


def _visit(settings: Settings, address: str, trial: Path, identity: tuple[Path, Path], believes: Believes) -> None:
    """Ask at a new address for a fresh word of the director: whoever answers there must be our server, and know us."""
    if settings.tpm and address.startswith("coaps://"):
        msg = "self-test: this device's key is in a TPM; it speaks HTTPS only"
        raise RefusedError(msg)
    transport = None
    try:
        transport = line_to(address, trial, identity)
        _patiently(believes, transport)
    except RefusedError as error:
        msg = f"self-test: at {address} no answer can be trusted: {error}"
        raise RefusedError(msg) from error
    except (AnswerError, TransportError, OSError, SSL.Error, x509.ExtensionNotFound) as error:
        msg = f"self-test: at {address} this device is not served: {error}"
        raise RefusedError(msg) from error
    finally:
        if transport is not None:
            transport.close()


def _patiently(believes: Believes, transport: Transport | CoapTransport) -> None:
    """Ask some times: one connection that breaks is no reason to stay for good."""
    for _ in range(VISITS - 1):
        try:
            believes(transport)
        except TransportError:
            transport.close()
            time.sleep(BETWEEN_S)
        else:
            return
    believes(transport)
