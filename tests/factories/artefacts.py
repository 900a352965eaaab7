"""Signed artefacts of every format, made with the formats' own tools, and a signing PKI with good and bad leaves."""

import base64
import contextlib
import datetime as dt
import hashlib
import io
import json
import random
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from imgtool.main import imgtool

from ota.formats.judgement import TrustAnchor
from pki.kernel import clock
from tests.factories import models
from tests.peers.programs import require
from tests.peers.swupdate import archive, make_swu

PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
BIN = Path(sys.executable).parent
DAY = dt.timedelta(days=1)
CODE, CLIENT = ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.CLIENT_AUTH


def listed(format_, image):
    """Return what the bundle lists beside the signature, for formats that sign a folder."""
    return (("a.bin", hashlib.sha256(image).hexdigest()),) if format_.startswith("oms") else ()


def noise(size, seed):
    """Return repeatable bytes, half random and half repeating."""
    source = random.Random(seed)
    return source.randbytes(size // 2) + (source.randbytes(64) * (size // 128 + 1))[: size - size // 2]


def make_zeros(path, size):
    """Write a file of zeros that takes no space."""
    with path.open("wb") as file:
        file.truncate(size)


def public(key):
    """Return a public key in PEM."""
    return key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def private(key, form=PKCS8):
    """Return a private key in PEM."""
    return key.private_bytes(PEM, form, serialization.NoEncryption())


class Pki:
    """A root, a signing CA and a device CA below it, and leaves of every kind; files ``NAME.pem`` and ``NAME.key``."""

    def __init__(self, folder):
        self.folder, self.made = folder, {}
        folder.mkdir(parents=True, exist_ok=True)
        now = clock.now()
        old = now - 1500 * DAY
        self.issue("root", ca=True, since=old, until=now + 3650 * DAY)
        self.issue("signing-ca", "root", ca=True, length=0, since=old)
        self.issue("device-ca", "root", ca=True, length=0, since=old)
        self.issue("signer", "signing-ca", usage=[CODE])
        self.issue("expired", "signing-ca", usage=[CODE], since=now - 400 * DAY, until=now - 30 * DAY)
        self.issue("future", "signing-ca", usage=[CODE], since=now + 300 * DAY)
        self.issue("revoked", "signing-ca", usage=[CODE])
        self.issue("nodigsig", "signing-ca", usage=[CODE], digital=False)
        self.issue("noeku", "signing-ca")
        self.issue("device", "device-ca", usage=[CLIENT])
        self.issue("devsign", "device-ca", usage=[CODE])

    def issue(self, name, by=None, **wish):
        """Make a certificate."""
        key, now = ec.generate_private_key(ec.SECP256R1()), clock.now()
        issuer_key, issuer = self.made[by] if by else (key, None)
        ca = wish.get("ca", False)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
        builder = builder.issuer_name(issuer.subject if issuer else subject).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(wish.get("since", now - DAY)).not_valid_after(
            wish.get("until", now + 700 * DAY)
        )
        builder = builder.add_extension(x509.BasicConstraints(ca, wish.get("length")), critical=True)
        digital = wish.get("digital", True) and not ca
        flags = [digital, False, not digital and not ca, False, False, ca, ca, False, False]
        builder = builder.add_extension(x509.KeyUsage(*flags), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        builder = builder.add_extension(above, critical=False)
        if wish.get("usage"):
            builder = builder.add_extension(x509.ExtendedKeyUsage(wish["usage"]), critical=False)
        certificate = builder.sign(issuer_key, hashes.SHA256())
        self.made[name] = (key, certificate)
        (self.folder / f"{name}.pem").write_bytes(certificate.public_bytes(PEM))
        (self.folder / f"{name}.key").write_bytes(private(key))

    def pem(self, name):
        """Return a certificate in PEM."""
        return (self.folder / f"{name}.pem").read_text()

    def crl(self, *revoked, age=0.5, life=30):
        """Return the signing CA's CRL in PEM."""
        key, certificate = self.made["signing-ca"]
        now = clock.now()
        builder = x509.CertificateRevocationListBuilder().issuer_name(certificate.subject)
        builder = builder.last_update(now - age * DAY).next_update(now - age * DAY + life * DAY)
        for name in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(self.made[name][1].serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(now - DAY).build())
        return builder.sign(key, hashes.SHA256()).public_bytes(PEM).decode()


class Makers:
    """One maker a format; each returns (image, detached signature or None)."""

    def __init__(self, folder):
        self.folder = folder
        self.pki = Pki(folder / "pki")
        self.key = ec.generate_private_key(ec.SECP256R1())
        (folder / "key.pem").write_bytes(private(self.key))
        (folder / "sec1.pem").write_bytes(private(self.key, serialization.PrivateFormat.TraditionalOpenSSL))
        self._count = 0

    def place(self, suffix):
        """Return a new file name."""
        self._count += 1
        return self.folder / f"file{self._count}{suffix}"

    def anchors(self, format_, crl=""):
        """Return who vouches for a format."""
        if format_ in {"swu", "rauc", "generic-cms", "oms-cert"}:
            return (TrustAnchor("signing-ca", self.pki.pem("signing-ca"), crl),)
        return (TrustAnchor("key", public(self.key)),)

    def make(self, format_):
        """Return a good artefact and its signature."""
        return getattr(self, format_.replace("-", "_"))()

    def mcuboot(self):
        """Return an image signed by imgtool."""
        flat, signed = self.place(".flat"), self.place(".bin")
        flat.write_bytes(noise(20_000, 1))
        command = ["sign", "--key", str(self.folder / "key.pem"), "--version", "2.3.4", "--security-counter", "5"]
        command += ["--header-size", "0x20", "--pad-header", "--align", "4", "--slot-size", "0x20000"]
        imgtool.main([*command, str(flat), str(signed)], standalone_mode=False)
        return signed.read_bytes(), None

    def esp(self, image=None, key="key.pem"):
        """Return an ESP app image signed by espsecure."""
        plain, signed = self.place(".bin"), self.place(".bin")
        plain.write_bytes(image or esp_image())
        command = [
            BIN / "espsecure",
            "sign-data",
            "--version",
            "2",
            "--keyfile",
            self.folder / key,
            "--output",
            signed,
            plain,
        ]
        subprocess.run(command, check=True, capture_output=True)
        return signed.read_bytes(), None

    def tflite(self):
        """Return a small model and its detached JWS."""
        data = models.dense()
        return data, self.jws(data)

    def oms(self, files=None):
        """Return a small model and the signature of its folder, by a key."""
        return self._folder(files, ["sign", "key", "--private_key", self.folder / "key.pem"])

    def oms_cert(self, signer="signer", ca="signing-ca", files=None):
        """Return a small model and the signature of its folder, by a certificate."""
        pki = self.pki.folder
        command = ["sign", "certificate", "--private_key", pki / f"{signer}.key"]
        command += ["--signing_certificate", pki / f"{signer}.pem", "--certificate_chain", pki / f"{ca}.pem"]
        return self._folder(files, command)

    def _folder(self, files, command):
        folder, out = self.place(".folder"), self.place(".sig")
        files = files or {"a.bin": models.dense()}
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        command = [BIN / "model_signing", *command, "--signature", out, folder]
        subprocess.run(command, check=True, capture_output=True)
        return files["a.bin"], out.read_bytes()

    def onnx(self):
        """Return a small ONNX model and its detached JWS."""
        data = models.matmul()
        return data, self.jws(data)

    def swu(self, signer="signer"):
        """Return a SWUpdate archive."""
        files = (self.pki.folder / f"{signer}.pem", self.pki.folder / f"{signer}.key")
        return make_swu(self.folder, "2.3.4", "/run/x", noise(30_000, 4), files), None

    def rauc(self, signer="signer", ca="signing-ca", extra=None, **facts):
        """Return a verity bundle made by rauc."""
        work = self.place("")
        work.mkdir()
        (work / "rootfs.img").write_bytes(noise(256 * 1024, 5))
        values = {"compatible": "node", "version": "2.3.4", "format": "verity"} | facts
        manifest = f"[update]\ncompatible={values['compatible']}\nversion={values['version']}\n"
        manifest += f"[bundle]\nformat={values['format']}\n[image.rootfs]\nfilename=rootfs.img\n"
        (work / "manifest.raucm").write_text(manifest)
        if extra:
            extra(work)
        out, pki = self.place(".raucb"), self.pki.folder
        command = [require("rauc"), f"--cert={pki / f'{signer}.pem'}", f"--key={pki / f'{signer}.key'}"]
        subprocess.run(
            [*command, f"--intermediate={pki / f'{ca}.pem'}", "bundle", work, out], check=True, capture_output=True
        )
        return out.read_bytes(), None

    def mender(self, name="rel-2.3.4", device="node", payload=None, key="sec1.pem"):
        """Return an artifact made by mender-artifact."""
        file, out = self.place(".bin"), self.place(".mender")
        file.write_bytes(payload if payload is not None else noise(100_000, 6))
        command = [require("mender-artifact"), "write", "module-image", "-T", "single-file", "-n", name, "-t", device]
        command += ["-o", out, "-f", file, *(["-k", self.folder / key] if key else [])]
        subprocess.run(command, check=True, capture_output=True)
        return out.read_bytes(), None

    def generic(self):
        """Return a file and its detached JWS."""
        data = noise(30_000, 8)
        return data, self.jws(data)

    def generic_cms(self, signer="signer"):
        """Return a file and its detached CMS."""
        data = noise(30_000, 9)
        return data, self.cms(data, signer)

    def cms(self, data, signer="signer", *, embedded=False):
        """Return a detached CMS, or one that holds what it signs."""
        content, out, pki = self.place(".bin"), self.place(".p7s"), self.pki.folder
        content.write_bytes(data)
        command = [
            "openssl",
            "cms",
            "-sign",
            "-binary",
            "-nosmimecap",
            "-md",
            "sha256",
            "-outform",
            "DER",
            "-in",
            content,
        ]
        command += ["-out", out, "-signer", pki / f"{signer}.pem", "-inkey", pki / f"{signer}.key"]
        command += ["-nodetach"] if embedded else []
        subprocess.run(command, check=True, capture_output=True)
        return out.read_bytes()

    def jws(self, data, header=None, raw=None, key=None):
        """Return a detached JWS in compact form."""
        head = _b64(json.dumps(header or {"alg": "ES256"}, separators=(",", ":")).encode())
        signed = f"{head}.{_b64(data)}".encode()
        if raw is None:
            r, s = utils.decode_dss_signature((key or self.key).sign(signed, ec.ECDSA(hashes.SHA256())))
            raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return f"{head}..{_b64(raw)}".encode()


def esp_image(version="2.3.4", counter=5, payload=None):
    """Return an ESP app image that nobody has signed: one segment that begins with an app description."""
    texts = [
        one.encode().ljust(size, b"\0") for one, size in ((version, 32), ("demo", 32), ("", 16), ("", 16), ("5.4", 32))
    ]
    description = struct.pack("<II8s", 0xABCD5432, counter, bytes(8)) + b"".join(texts) + bytes(32) + bytes(80)
    segment = description + (payload or noise(60_000, 3))
    segment += bytes(-len(segment) % 4)
    head = struct.pack("<BBBBIB3sHBHH4sB", 0xE9, 1, 2, 0x20, 0x40080000, 0xEE, bytes(3), 5, 0, 0, 0xFFFF, bytes(4), 1)
    body = head + struct.pack("<II", 0x3F400020, len(segment)) + segment
    checksum = 0xEF
    for byte in segment:
        checksum ^= byte
    body += bytes(-(len(body) + 1) % 16) + bytes([checksum])
    return body + hashlib.sha256(body).digest()


def tar(entries, *, compress=False):
    """Return a tar archive of (name, data) or (name, data, link target)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if compress else "w", format=tarfile.GNU_FORMAT) as made:
        for name, data, *link in entries:
            member = tarfile.TarInfo(name)
            if link:
                member.type, member.linkname = tarfile.SYMTYPE, link[0]
                made.addfile(member)
            else:
                member.size = len(data)
                made.addfile(member, io.BytesIO(data))
    return out.getvalue()


def untar(data):
    """Return (name, data) of each member."""
    with tarfile.open(fileobj=io.BytesIO(data)) as found:
        return [(member.name, found.extractfile(member).read()) for member in found]


def remade(artifact, key, change):
    """Return a Mender artifact whose members were changed by a function, signed anew."""
    members = change(dict(untar(artifact)))
    listed = {name: data for name, data in members.items() if name in {"version", "header.tar.gz"}}
    with contextlib.suppress(tarfile.TarError, OSError, AttributeError, KeyError):  # what cannot be read is not listed
        for name, data in untar(members["data/0000.tar.gz"]):
            listed[f"data/0000/{name}"] = data
    members.setdefault("manifest", b"")
    members["manifest"] = "".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in listed.items()
    ).encode()
    r, s = utils.decode_dss_signature(key.sign(members["manifest"], ec.ECDSA(hashes.SHA256())))
    members["manifest.sig"] = base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    return tar(list(members.items()))


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


__all__ = ["Makers", "Pki", "archive", "esp_image", "listed", "noise", "remade", "tar", "untar"]
