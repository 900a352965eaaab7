"""Create an installation in an empty folder, up to a running server: secrets, databases, key ceremony, listeners."""

import json
from dataclasses import dataclass
from pathlib import Path

from fleet.management.quickstart.processes import Processes, free_port
from fleet.management.quickstart.rest import Rest
from fleet.management.quickstart.voice import Voice
from pki.kernel import files
from pki.kernel.errors import UnavailableError

LISTENERS = ("operator", "device", "status", "coap", "oscore")
#: the registered ports, 5684 and 5683; outside the demo, CoAP listeners start only if a port is configured
COAP = {"FLEET_COAP_PORT": "5684", "FLEET_OSCORE_PORT": "5683"}
OFFICERS = ("anna", "bruno", "carla")


@dataclass(frozen=True, slots=True)
class QuickstartSetUp:
    """The installation of one demo, and its ports.

    Args:
        folder: FLEET_DIR.
        operator_port: console and REST API.
        device_port: devices.
        status_port: CRLs and OCSP.
        coap_port: devices over coaps:// (UDP).
        oscore_port: devices over OSCORE (UDP).
    """

    folder: Path
    operator_port: int
    device_port: int
    status_port: int
    coap_port: int
    oscore_port: int

    @property
    def offline(self) -> Path:
        """Return the folder of the keys that the server never opens."""
        return self.folder / "offline"

    @property
    def anchor(self) -> Path:
        """Return the PEM file of the root certificate."""
        return self.offline / "root-ca" / "root-ca.pem"

    @property
    def tuf_root(self) -> Path:
        """Return the first TUF root, which is installed on each device."""
        return self.offline / "root.json"

    def ports(self) -> dict[str, int]:
        """Return listener -> port."""
        ports = {"operator": self.operator_port, "device": self.device_port}
        return {**ports, "status": self.status_port, "coap": self.coap_port, "oscore": self.oscore_port}

    def environment(self) -> dict[str, str]:
        """Return the environment for the child processes of this demo."""
        return {f"FLEET_{listener.upper()}_PORT": str(port) for listener, port in self.ports().items()}


def choose_folder(folder: Path, wanted: dict[str, int], voice: Voice) -> QuickstartSetUp:
    """Create the folder, and choose the next free port for each port that is in use.

    Args:
        folder: FLEET_DIR.
        wanted: listener -> port, for operator, device, status, coap and oscore, in this order.
        voice: reports the changed ports.
    """
    files.private_folder(folder)
    got: dict[str, int] = {}
    for listener, port in wanted.items():
        got[listener] = free_port(port)
        while got[listener] in list(got.values())[:-1]:
            got[listener] = free_port(got[listener] + 1)
        if got[listener] != port:
            voice.note(f"Port {port} is in use; the {listener} listener uses port {got[listener]}.")
    return QuickstartSetUp(folder, got["operator"], got["device"], got["status"], got["coap"], got["oscore"])


def are_ports_taken(ground: QuickstartSetUp) -> bool:
    """Return whether another program now uses a port of this demo."""
    return any(free_port(port) != port for port in ground.ports().values())


def write_settings(ground: QuickstartSetUp, settings: dict[str, str]) -> None:
    """Save the demo's settings in ``fleet.env``, so that commands in a shell use the same settings."""
    lines = {**ground.environment(), **settings}
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    files.write_private(ground.folder / "fleet.env", text.encode())


def create_databases(processes: Processes, voice: Voice) -> None:
    """Create or update both databases, the static files and the first trust domain."""
    with voice.step("update databases and static files", "python manage.py upgrade"):
        processes.run("manage.py", "upgrade")


def create_officers(ground: QuickstartSetUp, processes: Processes, voice: Voice) -> None:
    """Create the keys of three release officers, offline; keep existing keys."""
    with voice.step(
        "create keys of three release officers (offline)",
        "python -m fleet.officer keygen --out offline --name anna",
    ):
        for name in OFFICERS:
            if not (ground.offline / f"{name}.key").exists():
                processes.run("-m", "fleet.officer", "keygen", "--out", str(ground.offline), "--name", name)


def create_root_ca(ground: QuickstartSetUp, processes: Processes, voice: Voice) -> None:
    """Create the offline root CA and have it certify the issuing CA, whose key only the signer holds."""
    root, csr, issued = ground.anchor.parent, ground.offline / "issuing.csr", ground.offline / "issuing.pem"
    with voice.step(
        "create the root CA (its key stays offline)",
        "python -m fleet.officer ca-root --out offline/root-ca --name 'Muster Root'",
    ):
        if not ground.anchor.exists():
            processes.run("-m", "fleet.officer", "ca-root", "--out", str(root), "--name", "Muster Root")
    with voice.step(
        "certify the issuing CA with the root CA",
        "python manage.py ca csr … && python -m fleet.officer ca-issue … && python manage.py ca import …",
    ):
        if not (ground.offline / "ca-imported").exists():
            processes.run("manage.py", "ca", "csr", "--name", "Muster Issuing CA 1", "--out", str(csr))
            if not issued.exists():
                processes.run(
                    "-m",
                    "fleet.officer",
                    "ca-issue",
                    "--root",
                    str(root),
                    "--csr",
                    str(csr),
                    "--out",
                    str(issued),
                    "--yes",
                )
            processes.run("manage.py", "ca", "import", "--certificate", str(issued), "--root", str(ground.anchor))
            files.write_private(ground.offline / "ca-imported", b"yes")


def create_trust(ground: QuickstartSetUp, processes: Processes, voice: Voice) -> None:
    """Create the TUF root and the first targets, each signed by two of the three officers."""
    online, targets = ground.offline / "online.json", ground.offline / "targets.json"
    keys = [argument for name in OFFICERS[:2] for argument in ("--key", str(ground.offline / f"{name}.key"))]
    publics = [argument for name in OFFICERS for argument in ("--officer", str(ground.offline / f"{name}.pub.json"))]
    with voice.step(
        "sign TUF root and targets with two of three officers' keys",
        "python -m fleet.officer tuf-root … && python manage.py release root …",
    ):
        if (ground.offline / "tuf-installed").exists():
            return
        files.write_private(online, processes.run("manage.py", "release", "online-keys").encode())
        if not ground.tuf_root.exists():
            processes.run(
                "-m",
                "fleet.officer",
                "tuf-root",
                "--yes",
                *publics,
                "--online",
                str(online),
                "--out",
                str(ground.tuf_root),
                *keys,
            )
        if not targets.exists():
            names = ("--root", str(ground.tuf_root), "--out", str(targets))
            processes.run("-m", "fleet.officer", "tuf-targets", "--yes", *keys, *names)
        processes.run("manage.py", "release", "root", "--root", str(ground.tuf_root), "--targets", str(targets))
        files.write_private(ground.offline / "tuf-installed", b"yes")


def start_server(ground: QuickstartSetUp, processes: Processes, voice: Voice) -> Rest:
    """Start the server, create the first operator and an API token for this demo; wait until the server is ready."""
    token_file = ground.folder / "secrets" / "quickstart-token"
    if not token_file.exists():
        roles = [
            argument
            for role in ("operator", "security-officer", "release-officer", "admin")
            for argument in ("--role", role)
        ]
        with voice.step("create the first operator", "python manage.py operator create admin --role admin …"):
            _first_operator(processes, roles)
        token = json.loads(processes.run("manage.py", "operator", "--json", "token", "admin", "--name", "quickstart"))
        files.write_private(token_file, token["secret"].encode())
    with voice.step("start signer, worker, device gateway and operator server", "python manage.py serve"):
        processes.start("serve", "manage.py", "serve")
        rest = Rest(ground.operator_port, ground.anchor, token_file.read_text())
        rest.ready(60, processes.check)
    return rest


def set_up_url(ground: QuickstartSetUp, processes: Processes) -> str:
    """Return the one-time link for the set-up of the account `admin`; the console's URL if it is set up already."""
    facts = json.loads(processes.run("manage.py", "operator", "--json", "login-link", "--first", "admin"))
    return f"https://localhost:{ground.operator_port}{facts.get('path', '/')}"


def _first_operator(processes: Processes, roles: list[str]) -> None:
    """Create the operator ``admin``, unless an interrupted earlier run has created it."""
    try:
        processes.run("manage.py", "operator", "create", "admin", *roles)
    except UnavailableError as error:
        if "already" not in error.detail:
            raise
