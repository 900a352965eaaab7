"""Somebody with a copy of the whole server: disk, database, environment, and so every key that is online.

The keys are opened as the signer opens them, the certificate of the listener is issued by the stolen CA, and the address
is taken over. What is missing are the officers' keys; they were never here.
"""

import datetime as dt
import json
import shutil
import ssl

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from securesystemslib.signer import CryptoSigner, SSlibKey

from ota.trust import documents
from ota.trust.repository import Repository, delegated_bins
from pki.kernel import canonical, clock
from tests.fleet.agent.adversary import Loopback, _stamp, path_of

PEM, NONE = serialization.Encoding.PEM, serialization.NoEncryption()


class Thief(Loopback):
    """A server that looks like the stolen one, at its address.

    Args:
        stolen: the server's folder.
        folder: for the thief's own copy.
        port: of the device gateway.
    """

    def __init__(self, stolen, folder, port):
        self.copy = folder / "loot"
        shutil.copytree(stolen, self.copy, ignore=shutil.ignore_patterns("offline", "simulator", "*.sock"))
        passphrase = (self.copy / "secrets" / "vault.key").read_text().strip().encode()
        keys = {
            path.name.removesuffix(".key"): serialization.load_pem_private_key(path.read_bytes(), passphrase)
            for path in (self.copy / "keys" / "default").glob("*.key")
        }
        self.ca, self.ca_key = (
            x509.load_der_x509_certificate((self.copy / "keys/default/issuing.der").read_bytes()),
            keys["issuing"],
        )
        self.online = {name: _signer(_newest(keys, name)) for name in ("snapshot", "timestamp", "director", "ledger")}
        super().__init__(port, self._listener(folder))
        self.store = Repository(self.copy / "tuf" / "default")
        self.root, self.targets = self.store.root().signed, self.store.targets()
        self.bins = {role: self.store.document(role) for role in delegated_bins(self.targets.signed).get_roles()}
        for path in (self.copy / "tuf" / "default").glob("*.json"):
            self.routes[f"/v1/metadata/{path.name}"] = path.read_bytes()
        self.victim, self.rows, self.changes, self.number = "", [], {}, clock.unix() + 1000
        self.heard, self.answered = [], []
        self.routes["/v1/director"] = self.routes["/v1/command"] = self._direct
        self.routes["/v1/report"] = self._hear
        self.routes["/v1/log"] = lambda handler, _: handler.whole(b"")
        self.say()
        self.publish()

    def say(self, **answer):
        """Answer polls so from now on."""
        self.routes["/v1/poll"] = cbor2.dumps({"next": 1, **answer})

    def lists(self, made, text, *, by=("snapshot", "timestamp")):
        """List a bundle in its bin, signed by stolen keys."""
        role = delegated_bins(self.targets.signed).get_role_for_target(path_of(made))
        entry = documents.ListedBundle(path_of(made), canonical.dumps(made))
        document = documents.unsigned_bin(
            self.bins[role].signed, [entry], self.bins[role].signed.version + 1, clock.now()
        )
        for name in by:
            document.sign(self.online[name], append=True)
        self.bins[role] = document
        self.routes[f"/v1/metadata/{path_of(made).rsplit('/', 1)[0]}/{entry.digest}.bundle.json"] = entry.document
        self.routes[f"/v1/blob/{made['files'][0]['sha256']}"] = text

    def publish(self, leap=0, at=None):
        """Sign snapshot and timestamp with the stolen keys, the timestamp as if at another time."""
        version = clock.unix() + 10_000 + leap
        while f"/v1/metadata/{version}.snapshot.json" in self.routes:
            version += 1
        versions = {"targets": self.targets.signed.version}
        self.routes[f"/v1/metadata/{self.targets.signed.version}.targets.json"] = documents.to_bytes(self.targets)
        for role, one in self.bins.items():
            versions[role] = one.signed.version
            self.routes[f"/v1/metadata/{one.signed.version}.{role}.json"] = documents.to_bytes(one)
        snapshot = documents.unsigned_snapshot(version, versions, clock.now())
        snapshot.sign(self.online["snapshot"])
        data = documents.to_bytes(snapshot)
        self.routes[f"/v1/metadata/{version}.snapshot.json"] = data
        timestamp = documents.unsigned_timestamp(version, version, at or clock.now())
        timestamp.sign(self.online["timestamp"])
        self.routes["/v1/metadata/timestamp.json"] = documents.to_bytes(timestamp)
        self.newest = {"timestamp": version, "snapshot": version}

    def issue(self, public, names, usage, life=dt.timedelta(days=1)):
        """Issue a certificate by the stolen CA."""
        now = clock.now()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.ca.subject).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1))
        builder = builder.not_valid_after(now + life).add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.ca_key.public_key())
        return builder.add_extension(above, critical=False).sign(self.ca_key, hashes.SHA256())

    def est(self, certificate, authorities):
        """Answer renewals with a certificate."""
        import base64

        for name, listed in (("cacerts", authorities), ("simplereenroll", [certificate])):
            der = pkcs7.serialize_certificates(listed, serialization.Encoding.DER)
            self.routes[f"/.well-known/est/{name}"] = base64.b64encode(der)

    def _listener(self, folder):
        """Return a TLS context with a certificate that devices believe."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self.issue(key.public_key(), [x509.DNSName("localhost")], ExtendedKeyUsageOID.SERVER_AUTH)
        (folder / "server.pem").write_bytes(leaf.public_bytes(PEM) + self.ca.public_bytes(PEM))
        (folder / "server.key").write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, NONE))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        return context

    def _direct(self, handler, body):
        now = clock.now().replace(microsecond=0)
        self.number += 1
        signed = {
            "_type": "director", "spec": 1, "device": self.victim, "nonce": json.loads(body)["nonce"], "issued": _stamp(now),
            "expires": _stamp(now + dt.timedelta(minutes=30)), "version": self.number, "newest": self.newest,
            "assignments": self.rows, **self.changes,
        }  # fmt: skip
        by = self.online["director"]
        signature = {"keyid": by.public_key.keyid, "sig": by.sign(canonical.dumps(signed)).signature}
        handler.whole(canonical.dumps({"signed": signed, "signatures": [signature]}))

    def answers(self, handler, body):
        """Take what a device answers to a command."""
        self.answered.append(body)
        handler.whole(b"")

    def _hear(self, handler, body):
        self.heard.append(cbor2.loads(cbor2.loads(body)["payload"]))
        handler.whole(b"")


def _newest(keys, name):
    """Return the key of the newest generation of an online role."""
    found = [one for one in keys if one == name or one.rsplit("-", 1)[0] == name]
    return keys[max(found, key=lambda one: int(one.rsplit("-", 1)[1]) if "-" in one else 1)]


def _signer(key):
    return CryptoSigner(key, SSlibKey.from_crypto(key.public_key()))
