"""Blobs in a bucket, through boto3: conditional writes, multipart, server-side encryption, presigned addresses.

An object's entity tag is no digest (multipart), and a store may answer wrongly: what this server reads for itself is
compared with its SHA-256, and what a device fetches the device compares with what officers signed.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from ota.blobs.staging import CHUNK, Staged, Staging, StoredBlob, receive_parts
from ota.blobs.store import check_digest, is_digest, missing_content
from ota.errors import BlobNotFoundError, BlobStoreError
from pki.kernel import handover
from pki.kernel.errors import DomainError

_logger = logging.getLogger("muster.storage")
#: above one part an object is sent in parts; S3 takes none below 5 MiB but the last, and 10,000 of them
PART = 8 << 20
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS, POOL = 5, 20, 3, 32
_GONE, _EXISTS = {"404", "NoSuchKey", "NotFound"}, {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}


@dataclass(frozen=True, slots=True)
class BucketPrefix:
    """Where blobs are stored.

    Args:
        bucket: its name.
        prefix: before every key, empty or with a slash at its end.
        endpoint: address of the service, empty for Amazon's.
        device_endpoint: the same service as devices reach it, empty for the same address.
        region: of the bucket.
        encryption: empty, ``AES256``, ``aws:kms`` or ``aws:kms:KEY``.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    device_endpoint: str = ""
    region: str = "us-east-1"
    encryption: str = ""


class S3Blobs(Staging):
    """Blobs in one bucket; see ``store.Blobs``.

    Args:
        folder: for staging, on this machine.
        location: the bucket.
    """

    def __init__(self, folder: Path, location: BucketPrefix) -> None:
        super().__init__(folder)
        self._location = location

    def adopt(self, staged: Staged) -> bool:
        """Keep staged bytes under their digest; return False when they were kept already, by us or by a rival.

        Raises:
            BlobStoreError: the store does not take them; nothing of them stays there.
        """
        with suppress(BlobNotFoundError):
            if self.size(staged.sha256) == staged.size:
                return False
            msg = f"The object {staged.sha256} in the bucket has the wrong size. Remove it, then try again."
            raise BlobStoreError(msg)
        staged.demand_unchanged()
        facts: dict[str, object] = {
            **self._at(staged.sha256),
            "Metadata": {"sha256": staged.sha256},
            **self._encryption(),
        }
        with staged.path.open("rb") as file, _translate_errors(existing_is_well=True) as existed:
            if staged.size <= PART:
                self._client.put_object(**facts, Body=file, ContentLength=staged.size, IfNoneMatch="*")
            else:
                self._in_parts(facts, file)
        return not existed

    def size(self, sha256: str) -> int:
        """Return how many bytes a digest has."""
        with _translate_errors():
            return int(self._client.head_object(**self._at(sha256))["ContentLength"])

    def path(self, sha256: str) -> None:
        """Return None: they are not on this machine."""

    def address(self, sha256: str, seconds: int) -> str:
        """Return a presigned address; made here, without asking the store."""
        asked = {**self._at(sha256), "ResponseContentType": "application/octet-stream"}
        url: str = self._clients[1].generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds)
        return url

    def read(self, sha256: str, start: int, length: int) -> Iterator[bytes]:
        """Yield a part of the bytes in chunks."""
        if not length:
            return
        with _translate_errors():
            answer = self._client.get_object(**self._at(sha256), Range=f"bytes={start}-{start + length - 1}")
            body = answer["Body"]
            if answer["ContentLength"] != length:  # a service that knows no ranges, or an object that was exchanged
                body.close()
                msg = f"The blob store returned {answer['ContentLength']} bytes instead of the {length} requested."
                raise BlobStoreError(msg)
            try:
                yield from body.iter_chunks(CHUNK)
            finally:
                body.close()

    @contextmanager
    def at_hand(self, sha256: str) -> Iterator[Path]:
        """Yield a copy of the whole bytes; it is gone afterwards.

        Raises:
            BlobStoreError: the store gave other bytes than those of the digest.
        """
        with self.staging() as area:
            size = self.size(sha256)
            staged = receive_parts(self.read(sha256, 0, size), area, size)
            if staged.sha256 != sha256:
                msg = f"The blob store returned data that does not match {sha256}. Restore that object from its source."
                raise BlobStoreError(msg)
            yield staged.path

    def remove(self, sha256: str) -> None:
        """Forget bytes that nothing refers to."""
        with _translate_errors():
            self._client.delete_object(**self._at(sha256))

    def listed(self) -> Iterator[StoredBlob]:
        """Yield everything that is kept below the prefix."""
        pages = self._client.get_paginator("list_objects_v2")
        with _translate_errors():
            for page in pages.paginate(Bucket=self._location.bucket, Prefix=self._location.prefix):
                for entry in page.get("Contents", ()):
                    name = str(entry["Key"]).rsplit("/", 1)[-1]
                    if is_digest(name):
                        yield StoredBlob(name, int(entry["Size"]), entry["LastModified"])

    def open(self) -> None:
        """Make the clients, with the credentials that this process may read now."""
        _ = self._clients

    @property
    def _client(self) -> Any:  # untyped: the library makes its clients at run time
        return self._clients[0]

    @cached_property
    def _clients(self) -> tuple[Any, Any]:  # untyped: as above
        """Return who speaks with the service, and who makes addresses as devices reach it."""
        usual, other = self._connect(self._location.endpoint), self._location.device_endpoint
        return usual, self._connect(other) if other else usual

    def _connect(self, endpoint: str) -> Any:  # untyped: as above
        import boto3  # noqa: PLC0415  because it is slow to load, and most set-ups need none
        from botocore.config import Config  # noqa: PLC0415  because see above

        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if endpoint else "auto"},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"max_attempts": ATTEMPTS, "mode": "standard"},
            max_pool_connections=POOL,
            # Some gateways take no checksum trailers; our own digests say more.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        session = boto3.session.Session(botocore_session=_session())  # the library's common one is for one thread
        return session.client("s3", endpoint_url=endpoint or None, region_name=self._location.region, config=config)

    def _in_parts(self, facts: dict[str, object], file: BinaryIO) -> None:
        """Send an object in parts; after any error all parts are removed."""
        at = {name: facts[name] for name in ("Bucket", "Key")}
        upload = {**at, "UploadId": self._client.create_multipart_upload(**facts)["UploadId"]}
        try:
            parts: list[dict[str, object]] = []
            while data := file.read(PART):
                number = len(parts) + 1
                tag = self._client.upload_part(**upload, PartNumber=number, Body=data)["ETag"]
                parts.append({"PartNumber": number, "ETag": tag})
            self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        except BaseException:
            self._abort(upload)
            raise

    def _abort(self, upload: dict[str, object]) -> None:
        """Remove the parts; if even that fails, the first error is the one to report."""
        try:
            with _translate_errors():
                self._client.abort_multipart_upload(**upload)
        except DomainError as error:
            _logger.warning("parts of an upload may be left in the bucket", extra={"cause": error.detail})

    def _encryption(self) -> dict[str, str]:
        kind, _, key = self._location.encryption.removeprefix("aws:").partition(":")
        if not kind:
            return {}
        named = {"SSEKMSKeyId": key} if key else {}
        return {"ServerSideEncryption": "aws:kms" if kind == "kms" else kind, **named}

    def _at(self, sha256: str) -> dict[str, str]:
        return {"Bucket": self._location.bucket, "Key": f"{self._location.prefix}{check_digest(sha256)[:2]}/{sha256}"}


def _session() -> object:
    """Return a session of the library that finds its credentials where it always does, and in those given."""
    from botocore import credentials, session  # noqa: PLC0415  because it is slow to load

    client_session = session.Session()
    given = {**os.environ, **handover.read_secrets(handover.BUCKET)}
    chain = client_session.get_component("credential_provider")
    chain.insert_before("env", credentials.EnvProvider(given))
    chain.insert_before("container-role", credentials.ContainerProvider(given))
    return client_session


@contextmanager
def _translate_errors(*, existing_is_well: bool = False) -> Iterator[list[str]]:
    """Turn the library's errors into ours; yield a list that is filled when the object was there already."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  because it is slow to load

    existing: list[str] = []
    try:
        yield existing
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _GONE:
            raise missing_content() from error
        if not (existing_is_well and code in _EXISTS):
            msg = f"The blob store rejected the request: {code}. Check FLEET_BLOBS, the bucket and its credentials."
            raise BlobStoreError(msg) from error
        existing.append(code)
    except (BotoCoreError, OSError) as error:
        msg = f"The blob store does not answer: {type(error).__name__}. Check FLEET_S3_ENDPOINT and the network."
        raise BlobStoreError(msg) from error
