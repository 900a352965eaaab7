"""The persistent state of a device: factory settings and stored facts."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pki.kernel import files


@dataclass(frozen=True, slots=True)
class Settings:
    """The factory settings of a device.

    Args:
        folder: its data folder.
        server: ``https://host:port`` of the device gateway, or ``coaps://host:port``.
        anchor: PEM file of the root CA; the only one that is trusted.
        tuf_root: first TUF root, shipped with the device.
        hw_class: class id of its hardware model.
        name: its name.
        token: one-time enrolment token; needed until it has a certificate.
        enrol_at: ``https://host:port`` for the first certificate, where ``server`` is ``coaps://``: a token needs TLS.
        audience: lab, canary or production: bundles must be signed for it.
        mirror: untrusted plain HTTP base address for blobs, tried first; empty for none.
        oscore: use CoAP with OSCORE; ``server`` is the address that issues the context.
        tpm: TCTI of the TPM with the device's key; empty for a key in a file.
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
        """Return whether the device uses CoAP."""
        return self.oscore or self.server.startswith("coaps://")


class StateFile:
    """Facts in one JSON file, written atomically.

    Args:
        folder: the device's disk.
    """

    def __init__(self, folder: Path) -> None:
        self._path = files.private_folder(folder) / "state.json"
        self._facts: dict[str, object] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def get(self, name: str, default: object = None) -> Any:  # untyped: the caller stored the fact
        """Return a fact."""
        return self._facts.get(name, default)

    def put(self, **facts: object) -> None:
        """Store facts."""
        self._facts.update(facts)
        files.write_private(self._path, json.dumps(self._facts, sort_keys=True).encode())

    def following(self, name: str) -> int:
        """Return the next number of a counter; it is stored before use."""
        number = int(self.get(name, 0)) + 1
        self.put(**{name: number})
        return number
