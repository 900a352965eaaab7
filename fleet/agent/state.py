"""What a device keeps on its disk: settings given at the factory, and facts that only grow."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pki.kernel import files


@dataclass(frozen=True, slots=True)
class Settings:
    """What a device gets at the factory.

    Args:
        folder: its disk.
        server: ``https://host:port`` of the device gateway, or ``coaps://host:port``.
        anchor: PEM file of the root CA; the only one that is trusted.
        tuf_root: first TUF root, shipped with the device.
        hw_class: class id of its hardware model.
        name: its name.
        token: one-time enrolment token; needed until it has a certificate.
        enrol_at: ``https://host:port`` for the first certificate, where ``server`` is ``coaps://``: a token needs TLS.
        audience: lab, canary or production: what it installs is signed for that.
        mirror: untrusted plain HTTP base address for blobs, tried first; empty for none.
        oscore: use CoAP with OSCORE; ``server`` is the address that issues the context.
        tpm: how the TPM is reached that holds the device's key (a TCTI); empty for a key in a file.
    """

    folder: Path
    server: str
    anchor: Path
    tuf_root: Path
    hw_class: str
    name: str
    token: str = ""
    mirror: str = ""
    enrol_at: str = ""
    audience: str = "production"
    tpm: str = ""
    oscore: bool = False

    @property
    def over_coap(self) -> bool:
        """Say whether the device speaks CoAP."""
        return self.oscore or self.server.startswith("coaps://")


class State:
    """Facts in one JSON file, written whole or not at all.

    Args:
        folder: the device's disk.
    """

    def __init__(self, folder: Path) -> None:
        self._path = files.private_folder(folder) / "state.json"
        self._facts: dict[str, object] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def get(self, name: str, default: object = None) -> Any:  # untyped: whoever asks for a fact has written it
        """Return a fact."""
        return self._facts.get(name, default)

    def put(self, **facts: object) -> None:
        """Keep facts."""
        self._facts.update(facts)
        files.write_private(self._path, json.dumps(self._facts, sort_keys=True).encode())

    def following(self, name: str) -> int:
        """Return the next number of a name; it is kept before it is used."""
        number = int(self.get(name, 0)) + 1
        self.put(**{name: number})
        return number
