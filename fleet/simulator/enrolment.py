"""Enrol simulated devices by EST, a few at a time. Devices that are already enrolled keep their certificates."""

import asyncio
import base64
import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from pki.kernel import files

AT_ONCE = 8


async def enrol_many(
    address: tuple[str, int], anchor: Path, tokens: list[tuple[str, str]], folder: Path, done: Callable[[int], None]
) -> list[Path]:
    """Return a PEM file with certificate and key for each device.

    Args:
        address: host and port of the HTTPS device gateway.
        anchor: PEM file of the only trusted root.
        tokens: names and one-time tokens.
        folder: folder of the PEM files.
        done: called with the number of enrolled devices.

    Raises:
        OSError: the server refused a device; it says which one and why.
    """
    gate, context = asyncio.Semaphore(AT_ONCE), ssl.create_default_context(cafile=str(anchor))
    count = 0

    async def one(name: str, token: str) -> Path:
        nonlocal count
        path = folder / f"{name}.pem"
        async with gate:
            if not path.exists():
                files.write_private(path, await _certificate(address, context, name, token))
            count += 1
            done(count)
        return path

    return list(await asyncio.gather(*(one(*pair) for pair in tokens)))


async def _certificate(address: tuple[str, int], context: ssl.SSLContext, name: str, token: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    body = base64.b64encode(csr.public_bytes(serialization.Encoding.DER))
    login = base64.b64encode(f"{name}:{token}".encode()).decode()
    reader, writer = await asyncio.open_connection(*address, ssl=context)
    head = f"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: {address[0]}\r\nAuthorization: Basic {login}\r\n"
    head += f"Content-Type: application/pkcs10\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    if b" 200 " not in answer[:20]:
        msg = f"{name}: enrolment refused: {answer[:300]!r}"
        raise OSError(msg)
    leaf = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.partition(b"\r\n\r\n")[2]))[0]
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return leaf.public_bytes(pem) + private
