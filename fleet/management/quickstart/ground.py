"""From an empty folder to a running server: secrets, databases, key ceremony, doors."""

import json
from dataclasses import dataclass
from pathlib import Path

from fleet.management.quickstart.processes import Processes, free_port
from fleet.management.quickstart.rest import Rest
from fleet.management.quickstart.voice import Voice
from pki.kernel import files
from pki.kernel.errors import UnavailableError

DOORS = ("operator", "device", "status", "coap", "oscore")
#: by their registered ports, 5684 and 5683; a real set-up opens them by name only
COAP = {"FLEET_COAP_PORT": "5684", "FLEET_OSCORE_PORT": "5683"}
OFFICERS = ("anna", "bruno", "carla")


@dataclass(frozen=True, slots=True)
class Ground:
    """Where one story stands and how to reach it.

    Args:
        folder: FLEET_DIR.
        operator_port: console and REST API.
        device_port: devices.
        status_port: revocation lists and OCSP.
        coap_port: devices by coaps://, on UDP.
        oscore_port: devices by OSCORE, on UDP.
    """

    folder: Path
    operator_port: int
    device_port: int
    status_port: int
    coap_port: int
    oscore_port: int

    @property
    def offline(self) -> Path:
        """Return the folder of keys that the server never opens."""
        return self.folder / "offline"

    @property
    def anchor(self) -> Path:
        """Return the PEM file of the root certificate."""
        return self.offline / "root-ca" / "root-ca.pem"

    @property
    def tuf_root(self) -> Path:
        """Return the first TUF root, which ships inside each device."""
        return self.offline / "root.json"

    def ports(self) -> dict[str, int]:
        """Return door -> port."""
        ports = {"operator": self.operator_port, "device": self.device_port}
        return {**ports, "status": self.status_port, "coap": self.coap_port, "oscore": self.oscore_port}

    def environment(self) -> dict[str, str]:
        """Return what the children of this story get to know."""
        return {f"FLEET_{door.upper()}_PORT": str(port) for door, port in self.ports().items()}


def choose(folder: Path, wanted: dict[str, int], voice: Voice) -> Ground:
    """Make the folder, take the next free ports when the wanted ones are taken, and say so.

    Args:
        folder: FLEET_DIR.
        wanted: door -> port, for operator, device, status, coap and oscore, in this order.
        voice: says what differs.
    """
    files.private_folder(folder)
    got: dict[str, int] = {}
    for door, port in wanted.items():
        got[door] = free_port(port)
        while got[door] in list(got.values())[:-1]:
            got[door] = free_port(got[door] + 1)
        if got[door] != port:
            voice.note(f"Port {port} is taken; the {door} door listens on {got[door]}.")
    return Ground(folder, got["operator"], got["device"], got["status"], got["coap"], got["oscore"])


def taken(ground: Ground) -> bool:
    """Say whether a port of this story belongs to somebody else by now."""
    return any(free_port(port) != port for port in ground.ports().values())


def write_settings(ground: Ground, settings: dict[str, str]) -> None:
    """Keep the story's settings in ``fleet.env``, so that commands typed by hand see the same."""
    lines = {**ground.environment(), **settings}
    text = "".join(f"{name}={value}\n" for name, value in lines.items())
    files.write_private(ground.folder / "fleet.env", text.encode())


def databases(processes: Processes, voice: Voice) -> None:
    """Make or update both databases, the static files and the first trust domain."""
    with voice.step("databases and static files are up to date", "python manage.py upgrade"):
        processes.run("manage.py", "upgrade")


def officers(ground: Ground, processes: Processes, voice: Voice) -> None:
    """Make the keys of three release officers, offline; keep those that are there."""
    with voice.step(
        "three release officers have keys (offline)",
        "python -m fleet.officer keygen --out offline --name anna",
    ):
        for name in OFFICERS:
            if not (ground.offline / f"{name}.key").exists():
                processes.run("-m", "fleet.officer", "keygen", "--out", str(ground.offline), "--name", name)


def authority(ground: Ground, processes: Processes, voice: Voice) -> None:
    """Make the offline root and let it certify the issuing CA, whose key only the signer holds."""
    root, csr, issued = ground.anchor.parent, ground.offline / "issuing.csr", ground.offline / "issuing.pem"
    with voice.step(
        "the root CA exists (its key stays offline)",
        "python -m fleet.officer ca-root --out offline/root-ca --name 'Muster Root'",
    ):
        if not ground.anchor.exists():
            processes.run("-m", "fleet.officer", "ca-root", "--out", str(root), "--name", "Muster Root")
    with voice.step(
        "the root has certified the issuing CA",
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


def trust(ground: Ground, processes: Processes, voice: Voice) -> None:
    """Make the TUF root and the first targets, each signed by two of the three officers."""
    online, targets = ground.offline / "online.json", ground.offline / "targets.json"
    keys = [argument for name in OFFICERS[:2] for argument in ("--key", str(ground.offline / f"{name}.key"))]
    publics = [argument for name in OFFICERS for argument in ("--officer", str(ground.offline / f"{name}.pub.json"))]
    with voice.step(
        "TUF root and targets are signed by two of three officers",
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


def serve(ground: Ground, processes: Processes, voice: Voice) -> Rest:
    """Start the server, make the first operator and a token for this story; wait until it is ready."""
    token_file = ground.folder / "secrets" / "quickstart-token"
    if not token_file.exists():
        roles = [
            argument
            for role in ("operator", "security-officer", "release-officer", "admin")
            for argument in ("--role", role)
        ]
        with voice.step("the first operator exists", "python manage.py operator create admin --role admin …"):
            _first_operator(processes, roles)
        made = json.loads(processes.run("manage.py", "operator", "--json", "token", "admin", "--name", "quickstart"))
        files.write_private(token_file, made["secret"].encode())
    with voice.step("signer, worker, device door and operator door are up", "python manage.py serve"):
        processes.start("serve", "manage.py", "serve")
        rest = Rest(ground.operator_port, ground.anchor, token_file.read_text())
        rest.ready(60, processes.check)
    return rest


def set_up_url(ground: Ground, processes: Processes) -> str:
    """Return the one-time address that opens the set-up of the account `admin`; the console's own once it is set up."""
    facts = json.loads(processes.run("manage.py", "operator", "--json", "login-link", "--first", "admin"))
    return f"https://localhost:{ground.operator_port}{facts.get('path', '/')}"


def _first_operator(processes: Processes, roles: list[str]) -> None:
    """Make the operator ``admin``, unless an earlier run was stopped right after it did."""
    try:
        processes.run("manage.py", "operator", "create", "admin", *roles)
    except UnavailableError as error:
        if "already" not in error.detail:
            raise
