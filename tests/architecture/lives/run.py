"""Live the lives of ``docs/architecture.md``: ``python -m tests.architecture.lives.run FOLDER``.

One process has the operator server, the device gateway, the worker's jobs and a device, so that one trace sees them
all; the signer is a process of its own, as always, and writes its calls itself. FLEET_DIR and the settings come from
the caller, and the databases exist.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import django
import uvicorn

django.setup()
# Below the line above, because models need it.
from fleet.gateway.http import DeviceListener  # noqa: E402  because of the line above
from fleet.management.serving import listeners, tls  # noqa: E402  because of the line above
from pki.services import signing  # noqa: E402  because of the line above
from pki.signer.client import is_signer_listening as signer_listens  # noqa: E402  because of the line above
from tests.architecture.lives.living import Lives  # noqa: E402  because of the line above
from tests.architecture.lives.stage import Stage, calls  # noqa: E402  because of the line above


def listen(name):
    """Return the listening socket of a server."""
    found = socket.create_server(("127.0.0.1", int(os.environ[f"FLEET_{name}_PORT"])))
    found.setblocking(False)
    return found


def serve_operators(context):
    """Serve console and REST API in this thread, as `listeners.serve_asgi` does in a process of its own."""
    from fleet.asgi import application

    config = uvicorn.Config(
        application, http=listeners.protocol_of(application), lifespan="off", log_config=None, proxy_headers=False,
        ssl_context_factory=lambda _config, _default: context,
    )  # fmt: skip
    config.load()
    asyncio.run(listeners._Server(config).serve(sockets=[listen("OPERATOR")]))


def live(stage):
    """Live in this thread, then end the process's server."""
    try:
        Lives(stage).run()
        (stage.folder / "lives.json").write_text(json.dumps(stage.lives))
    except BaseException:
        traceback.print_exc()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def main(folder):
    """Serve and live, beside a signer."""
    stage = Stage(folder)
    serve = signing.signer_client("serve")
    operator = tls.operator_context(serve, stage.domain, ["localhost"])
    device = tls.device_context(serve, [stage.domain], ["localhost"])
    calls.begin()
    threading.Thread(target=serve_operators, args=(operator,), daemon=True).start()
    threading.Thread(target=live, args=(stage,), daemon=True).start()
    listeners.serve_asgi(DeviceListener(), listen("DEVICE"), device, confined=False, refresh=tls.keep_anchors(device))


def run_signer(folder):
    """Start a signer whose calls are noted; return its process when it listens."""
    with (folder / "signer.log").open("wb") as log:
        command = [sys.executable, "-m", "tests.architecture.lives.signer", str(folder / "signer.json")]
        process = subprocess.Popen(command, stderr=log)
    deadline = time.monotonic() + 60
    while not signer_listens(Path(os.environ["FLEET_DIR"])):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


if __name__ == "__main__":
    place = Path(sys.argv[1])
    signer = run_signer(place)
    try:
        main(place)
    except Exception:
        traceback.print_exc()  # the exit below would hide it
    finally:
        signer.terminate()
        signer.wait(30)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0 if (place / "lives.json").exists() else 1)  # the operator server's thread goes on
