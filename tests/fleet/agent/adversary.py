"""A server in an attacker's hands: it holds every online key and says over plain HTTP whatever a test wants."""

import hashlib
import http.server
import json
import struct
import threading
import time
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric import ed25519
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root, Targets

from fleet.agent.agreement import SignedAssignment
from fleet.agent.state import Settings, StateFile
from fleet.agent.transport import Transport
from fleet.agent.trust import Trust
from fleet.officer import keys, metadata
from ota.contract.field_names import BIN_FIELD
from ota.trust import documents
from ota.trust.repository import bin_of
from pki.kernel import canonical, clock

DEVICE = "0190b5a0-0000-7000-8000-000000000001"
HARDWARE = "1f0d1c6e-0000-5000-8000-000000000001"
OFFICERS = ("anna", "bruno")


def image(payload=b"\x5a" * 40_000):
    """Return an image that a device's boot would start: an MCUboot header, a payload and the hash over both."""
    head = struct.pack("<IIHHIIBBHII", 0x96F3B83D, 0, 32, 0, len(payload), 0, 1, 0, 0, 0, 0)
    digest = hashlib.sha256(head + payload).digest()
    return head + payload + struct.pack("<HHHH", 0x6907, 40, 0x10, 32) + digest


IMAGE = image()


class Loopback:
    """An HTTP server of few routes; what it answers is a function of (handler, body)."""

    def __init__(self, port=0, tls=None):
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

            do_GET = do_POST = do_HEAD = do_PUT = answer  # noqa: N815  because http.server calls them so

            def whole(self, data, status=200):
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
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
            keys.generate_key(folder, name)
        self.online = {name: _signer() for name in ("snapshot", "timestamp", "director", "ledger")}
        public = {
            name: {"keyid": one.public_key.keyid, **one.public_key.to_dict()} for name, one in self.online.items()
        }
        signers = [folder / "anna.key", folder / "bruno.key"]
        self.first_root = metadata.signed_root(
            [folder / f"{n}.pub.json" for n in ("anna", "bruno", "carla")], public, signers
        )
        self.root_file = folder / "root.json"
        self.root_file.write_bytes(self.first_root)
        self.root = Metadata[Root].from_bytes(self.first_root).signed
        self.row, self.version, self.latest = row(bundle()), 0, None
        self.release([bundle()])
        self.serve(IMAGE)
        self.direct()

    def release(self, bundles, officers=OFFICERS, version=2, **further):
        """Publish targets and bins that some officers have signed, and the bundles in them.

        Args:
            bundles: bundle.json of what is listed.
            officers: who signs the bins; two officers have signed the targets.
            version: of everything.
            further: ``floors`` for the targets, ``withdrawn`` for the bins: path to reason.
        """
        base = Targets(version=1, delegations=documents.bin_delegations(self.root, 1))
        self.targets = documents.raised_targets(base, further.get("floors", {}), version, clock.now())
        self.targets.sign(keys.load_signer(self.folder / "anna.key"), append=True)
        self.targets.sign(keys.load_signer(self.folder / "bruno.key"), append=True)
        self.bins = {role: self._bin(role, bundles, version, further) for role in ("b-0", "b-1")}
        for one in self.bins.values():
            for name in officers:
                one.sign(keys.load_signer(self.folder / f"{name}.key"), append=True)
        for one in bundles:
            text = canonical.dumps(one)
            folder = path_of(one).rsplit("/", 1)[0]
            name = f"/v1/metadata/{folder}/{hashlib.sha256(text).hexdigest()}.bundle.json"
            self.routes[name] = text
        self.publish(version, version)

    def _bin(self, role, bundles, version, further):
        mine = [one for one in bundles if bin_of(self.targets.signed, path_of(one)) == role]
        entries = [documents.ListedBundle(path_of(one), canonical.dumps(one)) for one in mine]
        marked = Targets(version=1, unrecognized_fields={BIN_FIELD: role})
        made = documents.unsigned_bin(marked, entries, version, clock.now())
        for path, reason in further.get("withdrawn", {}).items():
            if path in made.signed.targets:
                made = documents.withdrawal_bin(made.signed, path, reason, version, clock.now())
        return made

    def serve(self, data):
        """Offer the bytes of an image."""
        self.routes[f"/v1/blob/{hashlib.sha256(data).hexdigest()}"] = data

    def publish(self, snapshot_version=1, timestamp_version=1, timestamp_at=None, names=None):
        """Sign and serve snapshot and timestamp with the stolen keys."""
        versions = {"targets": self.targets.signed.version}
        self.routes[f"/v1/metadata/{versions['targets']}.targets.json"] = documents.to_bytes(self.targets)
        for role, one in self.bins.items():
            versions[role] = one.signed.version
            self.routes[f"/v1/metadata/{one.signed.version}.{role}.json"] = documents.to_bytes(one)
        versions = {name: number for name, number in (versions | (names or {})).items() if number}
        snapshot = documents.unsigned_snapshot(snapshot_version, versions, clock.now())
        snapshot.sign(self.online["snapshot"])
        data = documents.to_bytes(snapshot)
        self.routes[f"/v1/metadata/{snapshot_version}.snapshot.json"] = data
        timestamp = documents.unsigned_timestamp(timestamp_version, snapshot_version, timestamp_at or clock.now())
        timestamp.sign(self.online["timestamp"])
        self.routes["/v1/metadata/timestamp.json"] = documents.to_bytes(timestamp)
        self.newest = {"timestamp": timestamp_version, "snapshot": snapshot_version}

    def direct(self, rows=None, signer=None, **changes):
        """Answer as director from now on."""

        def answer(handler, body):
            self.version += 1
            now = clock.now().replace(microsecond=0)
            signed = {
                "_type": "director", "spec": 1, "device": DEVICE, "nonce": json.loads(body)["nonce"],
                "issued": _stamp(now), "expires": _stamp(now + timedelta(minutes=30)), "version": self.version,
                "assignments": [self.row] if rows is None else rows, "newest": self.newest, **changes,
            }  # fmt: skip
            by = signer or self.online["director"]
            signature = {"keyid": by.public_key.keyid, "sig": by.sign(canonical.dumps(signed)).signature}
            handler.whole(canonical.dumps({"signed": signed, "signatures": [signature]}))

        self.routes["/v1/director"] = answer

    def rotate(self):
        """What the owners do after a theft: a root with new online keys, signed by two officers."""
        self.online = {name: _signer() for name in self.online}
        public = {
            name: {"keyid": one.public_key.keyid, **one.public_key.to_dict()} for name, one in self.online.items()
        }
        signers = [self.folder / "anna.key", self.folder / "bruno.key"]
        newest = metadata.next_root(self.first_root, public, signers)
        self.routes["/v1/metadata/2.root.json"] = newest
        self.root = Metadata[Root].from_bytes(newest).signed
        self.version = 0
        self.publish(1, 1)
        self.direct()

    def trust(self, folder):
        """Return a device's view of this server."""
        settings = Settings(folder, self.address, folder, self.root_file, HARDWARE, "victim")
        line = Transport(self.address, None)
        return Trust(settings, StateFile(folder), line), line


def bundle(data=IMAGE, **changes):
    """Return a bundle.json."""
    return {
        "schema": 1, "id": "app", "version": "1.0.0", "kind": "firmware", "format": "mcuboot", "component": "app",
        "security_counter": 3, "audience": ["production"],
        "hw": [{"vendor_id": HARDWARE, "class_id": HARDWARE, "name": "board"}],
        "files": [
            {"path": "app.bin", "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "role": "image"}
        ],
        **changes,
    }  # fmt: skip


def path_of(one):
    """Return the target path of a bundle."""
    return f"{one['component']}/{one['id']}/{one['version']}/bundle.json"


def row(one, **changes):
    """Return the director's row that assigns a bundle."""
    file = one["files"][0]
    return {
        "action": 7, "kind": "update", "component": one["component"], "target": path_of(one), "length": file["size"],
        "sha256": file["sha256"], "hw": HARDWARE, "counter": one["security_counter"], "version": one["version"],
        **changes,
    }  # fmt: skip


def assignment(data=IMAGE):
    """Return an assignment of some bytes."""
    digest = hashlib.sha256(data).hexdigest()
    return SignedAssignment(7, "rollout", "app", "app/app/1.0.0/bundle.json", len(data), digest, 3, "1.0.0")


def _signer():
    key = ed25519.Ed25519PrivateKey.generate()
    return CryptoSigner(key, SSlibKey.from_crypto(key.public_key()))


def _stamp(at):
    return str(at).replace("+00:00", "Z").replace(" ", "T")
