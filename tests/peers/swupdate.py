"""Debian's SWUpdate as a device in one folder: no boot loader, the payload goes to a plain file."""

import hashlib
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.peers.programs import require

CONFIG = """
globals : {{ verbose = true; loglevel = 5; syslog = false; bootloader = "none"; public-key-file = "{ca}"; }};
identify : (
  {{ name = "sw_version"; value = "{version}"; }},
  {{ name = "hw_boardname"; value = "board"; }},
  {{ name = "hw_revision"; value = "1.0"; }} );
suricatta : {{
  tenant = "DEFAULT"; id = "{name}"; url = "{url}";
  polldelay = 2; retry = 5; retrywait = 1; enable = true;
  cafile = "{anchor}"; sslkey = "{key}"; sslcert = "{chain}";
}};
"""
#: it has installed and told the server so
INSTALLED = r"Update successful, executing post-update actions"
OUTCOMES = [
    ("badsig", r"Authentication of all signatures failed|Signature verification failed"),
    ("resumefail", r"Requested range was not delivered"),
    ("badhash", r"HASH mismatch|Checksum does not match|Hash not set"),
    ("installed", r"SWUPDATE successful !"),
    ("badjson", r"Got malformed JSON"),
    ("badimage", r"Image invalid or corrupted"),
    ("feedbackrefused", r"Error while reporting installation progress"),
    ("denied", r"HTTP error code (401|403)"),
    ("tlsfail", r"\((35|51|56|58|60|77)\)"),
    ("confirmed", r"Got state=[0-9] from command line"),
    ("idle", r"effective URL resolved to"),
]


@dataclass
class Swupdate:
    """One device.

    Args:
        folder: all of its state.
        name: controller id.
        chain, key: of its certificate.
        anchor: the server's root.
        ca: who may sign images, as the device believes.
    """

    folder: Path
    name: str
    chain: Path
    key: Path
    anchor: Path
    ca: Path

    def run(self, url, seconds, *arguments, version="1.0.0", until=None):
        """Run for some seconds at most; return the outcome and the log.

        Args:
            url: of the server.
            seconds: at most.
            arguments: for its client of hawkBit's protocol.
            version: that it reports.
            until: a pattern of its log, or a question that is true when enough has happened; None: for all seconds.
        """
        program = require("swupdate")
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        config = self.folder / "swupdate.cfg"
        values = {"ca": self.ca, "version": version, "name": self.name, "url": url}
        values |= {"anchor": self.anchor, "key": self.key, "chain": self.chain}
        config.write_text(CONFIG.format(**values))
        inner = " ".join(["-i", self.name, *arguments])
        command = [program, "-f", config, "-H", "board:1.0", "-k", self.ca, "-u", inner]
        log = self.folder / "client.log"
        with log.open("wb") as output:
            child = subprocess.Popen(
                command,
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "TMPDIR": str(self.folder / "tmp")},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                _wait(child, seconds, log, until)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGTERM)
                try:
                    child.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
        text = log.read_text(errors="replace")
        for word, pattern in OUTCOMES:
            if re.search(pattern, text):
                return word, text
        return "unreachable", text


def _wait(child, seconds, log, until):
    """Wait for the end of a program, or until enough has happened; both for some seconds at most."""
    deadline = time.monotonic() + seconds
    enough = until if callable(until) else lambda: re.search(until, log.read_text(errors="replace"))
    while until and time.monotonic() < deadline:
        if child.poll() is not None or enough():
            break
        time.sleep(0.2)
    child.wait(timeout=0.1 if until else seconds)


def make_swu(folder, version, target, payload, signer):
    """Return a CMS-signed archive that writes ``payload`` to ``target``.

    Args:
        folder: for temporary files.
        version: of the software.
        target: absolute path on the device.
        payload: bytes.
        signer: certificate and key files.
    """
    digest = hashlib.sha256(payload).hexdigest()
    description = f"""software =
{{
    version = "{version}";
    description = "test image";
    hardware-compatibility: [ "1.0" ];
    files: (
        {{ filename = "payload.bin"; path = "{target}"; type = "rawfile"; sha256 = "{digest}"; }}
    );
}}
""".encode()
    plain, signature = folder / "sw-description", folder / "sw-description.sig"
    plain.write_bytes(description)
    certificate, key = signer
    command = ["openssl", "cms", "-sign", "-in", plain, "-out", signature, "-signer", certificate, "-inkey", key]
    subprocess.run([*command, "-outform", "DER", "-nosmimecap", "-binary"], check=True, capture_output=True)
    members = [("sw-description", description), ("sw-description.sig", signature.read_bytes())]
    return archive([*members, ("payload.bin", payload)])


def archive(members, magic=b"070702"):
    """Return a cpio archive with checksums (``crc``, 070702), or without (``newc``, 070701)."""
    out = bytearray()
    for inode, (name, data) in enumerate([*members, ("TRAILER!!!", b"")], 1):
        checksum = sum(data) & 0xFFFF_FFFF if name != "TRAILER!!!" and magic == b"070702" else 0
        fields = [inode, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name.encode()) + 1, checksum]
        out += magic + b"".join(b"%08X" % value for value in fields) + name.encode() + b"\0"
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)
