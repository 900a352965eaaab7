"""What only an offline-signed configuration changes on a device: the roots that it trusts.

A twin, a command or EST ``cacerts`` never change them. A configuration is a bundle like any other: signed by the
officers, named by the director, written beside the present one, tried, and kept or taken back.
"""

import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from fleet.agent.coap import line_to
from fleet.agent.errors import AnswerError, RefusedError, TransportError
from fleet.agent.slots import Slots
from fleet.agent.state import Settings
from pki.kernel import canonical, files
from pki.kernel.errors import InvalidError

COMPONENT = "config"
MAX_CONFIG = 64 * 1024
MOST_ANCHORS = 8
#: ``wipe`` may be there too; a field that this device does not know may mean anything, so nothing of it is believed
FIELDS = {"schema", "version", "anchors"}


def anchors(data: bytes) -> str:
    """Return the roots of a configuration as one PEM text.

    Raises:
        RefusedError: it is no configuration that this device understands.
    """
    try:
        document: Any = canonical.loads(data, max_bytes=MAX_CONFIG)
        known, found = set(document) - {"wipe"} == FIELDS and document["schema"] == 1, document["anchors"]
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
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def wipes(data: bytes, device: str) -> bool:
    """Say whether a configuration orders this device to erase itself; malformed ones order nothing."""
    try:
        document: Any = canonical.loads(data, max_bytes=MAX_CONFIG)
        named = document.get("wipe", [])
        return document["schema"] == 1 and isinstance(named, list) and device in named
    except (InvalidError, AttributeError, TypeError, KeyError):
        return False


def trusted(settings: Settings) -> Path:
    """Return the PEM file of the roots that this device trusts: of its kept configuration, or of the factory."""
    kept = Slots(settings.folder / "slots" / COMPONENT).read_kept()
    if kept is None:
        return settings.anchor
    path, text = settings.folder / "anchors.pem", anchors(kept).encode()
    if not path.exists() or path.read_bytes() != text:
        files.write_private(path, text)
    return path


def _is_disbelief(error: Exception) -> bool:
    """Say whether a connection failed because the server's certificate was not believed."""
    judged = isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLCertVerificationError)
    return judged or "certificate verify failed" in str(error)


def check(settings: Settings, data: bytes, identity: tuple[Path, Path]) -> None:
    """Try a configuration: the server must still be believed under its roots, else the device would lose it.

    Raises:
        RefusedError: it is malformed, or the server is a stranger under it.
        TransportError: the server cannot be reached now; try again later.
    """
    trial = settings.folder / "anchors.trial.pem"
    files.write_private(trial, anchors(data).encode())
    transport = None
    try:
        transport = line_to(settings.server, trial, identity)
        transport.call("GET", "/healthz")
    except AnswerError:
        return  # an answer came through the handshake, whatever it says
    except (TransportError, ssl.SSLError) as error:
        if _is_disbelief(error):
            msg = "self-test: under the new anchors this server is not to be believed"
            raise RefusedError(msg) from error
        raise
    finally:
        if transport is not None:
            transport.close()
        trial.unlink(missing_ok=True)
