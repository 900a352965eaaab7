"""A server in an attacker's hands: it holds every online key and says over plain HTTP whatever a test wants."""

import hashlib
import http.server
import json
import threading
import time
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric import ed25519
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Targets

from fleet.agent.state import Settings, State
from fleet.agent.transport import Transport
from fleet.agent.trust import Assignment, Trust
from fleet.officer import keys, metadata
from ota.trust import documents
from pki.kernel import canonical, clock

DEVICE = "0190b5a0-0000-7000-8000-000000000001"
HARDWARE = "1f0d1c6e-0000-5000-8000-000000000001"
IMAGE = b"\x5a" * 40_000


class Loopback:
    """An HTTP server of few routes; what it answers is a function of (handler, body)."""

    def __init__(self):
        self.routes, self.asked = {}, []
        routes, asked = self.routes, self.asked

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked.append((self.path, dict(self.headers)))
                route = routes.get(self.path)
                if route is None:
                    self.send_error(404)
                elif isinstance(route, bytes):
                    self.whole(route)
                else:
                    route(self, body)

            do_GET = do_POST = answer  # noqa: N815  because http.server calls them so

            def whole(self, data, status=200):
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def drip(handler, _body, rate=20.0, length=100_000):
    """Send 20 bytes a second, for as long as anybody listens."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x" * 2)
            handler.wfile.flush()
            time.sleep(2 / rate)
    except OSError:
        pass


class Adversary(Loopback):
    """Holds snapshot, timestamp and director keys; the officers' keys only where a test signs as people do."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        for name in ("anna", "bruno", "carla"):
            keys.generate(folder, name)
        self.online = {name: _signer() for name in ("snapshot", "timestamp", "director", "ledger")}
        public = {
            name: {"keyid": one.public_key.keyid, **one.public_key.to_dict()} for name, one in self.online.items()
        }
        signers = [folder / "anna.key", folder / "bruno.key"]
        self.first_root = metadata.root([folder / f"{n}.pub.json" for n in ("anna", "bruno", "carla")], public, signers)
        self.root_file = folder / "root.json"
        self.root_file.write_bytes(self.first_root)
        self.release(entry(), ("anna", "bruno"))
        self.row = {
            "action": 7, "kind": "rollout", "component": "app", "target": "app/app/1.0.0/app.bin",
            "length": len(IMAGE), "sha256": hashlib.sha256(IMAGE).hexdigest(), "hw": HARDWARE, "counter": 3,
            "version": "1.0.0",
        }  # fmt: skip
        self.version = 0
        self.direct()

    def release(self, listed, officers, version=2):
        """Publish targets that some officers have signed."""
        self.targets = documents.targets(Targets(version=1), [listed], version, clock.now())
        for name in officers:
            self.targets.sign(keys.signer(self.folder / f"{name}.key"), append=True)
        self.publish(version, version)

    def publish(self, snapshot_version=1, timestamp_version=1, timestamp_at=None, names=None):
        """Sign and serve snapshot and timestamp with the stolen keys."""
        targets = self.targets.signed.version
        self.routes[f"/v1/metadata/{targets}.targets.json"] = documents.to_bytes(self.targets)
        snapshot = documents.snapshot(snapshot_version, names or targets, clock.now())
        snapshot.sign(self.online["snapshot"])
        data = documents.to_bytes(snapshot)
        self.routes[f"/v1/metadata/{snapshot_version}.snapshot.json"] = data
        timestamp = documents.timestamp(timestamp_version, snapshot_version, data, timestamp_at or clock.now())
        timestamp.sign(self.online["timestamp"])
        self.routes["/v1/metadata/timestamp.json"] = documents.to_bytes(timestamp)

    def direct(self, rows=None, signer=None, **changes):
        """Answer as director from now on."""

        def answer(handler, body):
            self.version += 1
            now = clock.now().replace(microsecond=0)
            signed = {
                "_type": "director", "spec": 1, "device": DEVICE, "nonce": json.loads(body)["nonce"],
                "issued": _stamp(now), "expires": _stamp(now + timedelta(minutes=30)), "version": self.version,
                "assignments": [self.row] if rows is None else rows, **changes,
            }  # fmt: skip
            by = signer or self.online["director"]
            signature = {"keyid": by.public_key.keyid, "sig": by.sign(canonical.dumps(signed)).signature}
            handler.whole(canonical.dumps({"signed": signed, "signatures": [signature]}))

        self.routes["/v1/director"] = answer

    def trust(self, folder):
        """Return a device's view of this server."""
        settings = Settings(folder, self.address, folder, self.root_file, HARDWARE, "victim")
        line = Transport(self.address, None)
        return Trust(settings, State(folder), line), line


def entry(**changes):
    """Return what the officers signed."""
    custom = {"hw": [HARDWARE], "component": "app", "counter": 3, "kind": "firmware", "audience": ["production"]}
    return documents.Entry(
        "app/app/1.0.0/app.bin", len(IMAGE), hashlib.sha256(IMAGE).hexdigest(), custom | changes
    )  # fmt: skip


def assignment(data=IMAGE):
    """Return an assignment of some bytes."""
    digest = hashlib.sha256(data).hexdigest()
    return Assignment(7, "rollout", "app", "app/app/1.0.0/app.bin", len(data), digest, 3, "1.0.0")


def _signer():
    key = ed25519.Ed25519PrivateKey.generate()
    return CryptoSigner(key, SSlibKey.from_crypto(key.public_key()))


def _stamp(at):
    return str(at).replace("+00:00", "Z").replace(" ", "T")
