"""Read the configuration: FLEET_* from the environment, then from ``FLEET_DIR/fleet.env``.

Secrets of the environment arrive by descriptor (``pki.kernel.handover``).

``docs/reference/settings.md`` lists every name; a test compares that table with ``DEFAULTS``.
"""

import os
import secrets
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pki.kernel import files, handover

ROOT = Path(__file__).resolve().parent.parent

DEFAULTS: dict[str, str] = {
    "FLEET_DIR": str(ROOT / "var"),
    "FLEET_HOST": "127.0.0.1",
    "FLEET_HOST_NAMES": "localhost",
    "FLEET_OPERATOR_PORT": "8443",
    "FLEET_DEVICE_PORT": "8444",
    "FLEET_DEVICE_WORKERS": "1",
    "FLEET_COAP_PORT": "0",
    "FLEET_COAP_CCM_8": "1",
    "FLEET_CONNECTIONS_A_DEVICE": "32",
    "FLEET_REQUESTS_A_DEVICE": "50",
    "FLEET_STRANGERS_A_MINUTE": "600",
    "FLEET_OSCORE_PORT": "0",
    "FLEET_PROXIES": "",
    "FLEET_PROXY_FORM": "rfc9440",
    "FLEET_STATUS_PORT": "8445",
    "FLEET_STATUS_URL": "",
    "FLEET_VAULT_KEY": "file",
    "FLEET_KEY_BACKEND": "file",
    "FLEET_PKCS11_MODULE": "",
    "FLEET_PKCS11_TOKEN": "",
    "FLEET_PKCS11_PIN_FILE": "",
    "FLEET_POLL_S": "300",
    "FLEET_DRIFT_TICK_S": "3600",
    "FLEET_DRIFT_LEARN_TICKS": "48",
    "FLEET_GUARD_AUTOMATIC": "invariant",
    "FLEET_KEEP_FINE_DAYS": "7",
    "FLEET_KEEP_PERSONAL_DAYS": "14",
    "FLEET_KEEP_TELEMETRY_DAYS": "90",
    "FLEET_MAX_UPLOAD_MB": "256",
    "FLEET_BLOBS": "",
    "FLEET_BLOBS_DIRECT": "1",
    "FLEET_BLOBS_ADDRESS_S": "120",
    "FLEET_S3_ENDPOINT": "",
    "FLEET_S3_DEVICE_ENDPOINT": "",
    "FLEET_S3_REGION": "us-east-1",
    "FLEET_S3_ENCRYPTION": "",
    "FLEET_METRICS_TOKEN_FILE": "",
    "FLEET_LOG_LEVEL": "INFO",
    "DATABASE_URL": "",
    "TELEMETRY_DATABASE_URL": "",
}


def fleet_folder() -> Path:
    """Return FLEET_DIR, which contains all files of this installation."""
    return Path(os.environ.get("FLEET_DIR") or DEFAULTS["FLEET_DIR"]).resolve()


def read_settings() -> dict[str, str]:
    """Return every setting: the environment takes precedence over ``fleet.env``, and that over the defaults."""
    values = dict(DEFAULTS)
    values.update(settings_file(fleet_folder() / "fleet.env"))
    given = {**os.environ, **handover.read_secrets(handover.DATABASE)}
    values.update({name: given[name] for name in DEFAULTS if name in given})
    values["FLEET_DIR"] = str(fleet_folder())
    return values


def signer_settings() -> dict[str, str]:
    """Return the settings that the signer reads from its environment: it uses neither Django nor ``fleet.env``."""
    values = read_settings()
    names = [name for name in values if name.startswith(("FLEET_VAULT_", "FLEET_KEY_", "FLEET_PKCS11_"))]
    return {name: values[name] for name in ("FLEET_DIR", *names) if values[name]}


def read_secret(name: str) -> str:
    """Return a secret of this installation, created at its first use, readable by its owner only.

    A process whose sandbox blocks ``secrets/`` gets a secret of its own, which lasts as long as the process.
    """
    try:
        return files.secret_once(fleet_folder() / "secrets" / name, lambda: secrets.token_urlsafe(48))
    except PermissionError:
        return secrets.token_urlsafe(48)


def describe_database(url: str, fallback: Path, *, durable: bool) -> dict[str, object]:
    """Return Django's description of one database.

    Args:
        url: ``postgres://user:password@host:port/name?host=/socket`` or empty for SQLite.
        fallback: the SQLite file.
        durable: wait for the disk at each commit; false only for data that may lose its last seconds.
    """
    if not url:
        fallback.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        synchronous = "FULL" if durable else "NORMAL"
        # Temporary tables stay in memory: a sandboxed listener cannot write where SQLite would put them.
        pragmas = f"PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA temp_store=MEMORY;"
        options = {"init_command": pragmas, "transaction_mode": "IMMEDIATE", "timeout": 20}
        # Persistent connections: opening one, with its pragmas, costs more than most requests.
        return {
            "ENGINE": "fleet.sqlite",
            "NAME": str(fallback),
            "OPTIONS": options,
            "CONN_MAX_AGE": None,
            # The same value as Django's own backend; pytest-django would derive the file name from this path.
            "TEST": {"NAME": ":memory:"},
        }
    parts = urlsplit(url)
    query = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or "") or handover.read_secrets(handover.DATABASE).get("PGPASSWORD", ""),
        "HOST": unquote(query.get("host", parts.hostname or "")),
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 600,
    }


def telemetry_url(values: dict[str, str]) -> str:
    """Return the URL of the second database: its own, or the first one's name + ``_telemetry``."""
    url = values["TELEMETRY_DATABASE_URL"]
    if url or not values["DATABASE_URL"]:
        return url
    parts = urlsplit(values["DATABASE_URL"])
    return parts._replace(path=f"{parts.path}_telemetry").geturl()


def settings_file(path: Path) -> dict[str, str]:
    """Return the settings in a ``fleet.env`` file; empty if there is no file."""
    if not path.is_file():
        return {}
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name: value for name, value in pairs if name in DEFAULTS}
