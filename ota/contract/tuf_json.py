"""TUF metadata read strictly: python-tuf's own reader lets the second of two equal keys win."""

from typing import Any

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError, MetadataDeserializer
from tuf.ngclient import FetcherInterface

from pki.kernel import intake, strict_json
from pki.kernel.errors import InvalidError

MAX_METADATA, MOST_DEPTH = 32 << 20, 32
#: a document of any of TUF's four roles
RoleMetadata = Metadata[Root] | Metadata[Timestamp] | Metadata[Snapshot] | Metadata[Targets]


class StrictDeserializer(MetadataDeserializer):
    """For ``Metadata.from_bytes`` and ``from_file``."""

    def deserialize(self, raw_data: bytes) -> Metadata[Any]:  # untyped: of any of TUF's four roles
        """Return the document.

        Raises:
            DeserializationError: no strict JSON, or no TUF metadata.
        """
        value = read_metadata(raw_data)
        try:
            return Metadata.from_dict(value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"The document is not TUF metadata: {error}"
            raise DeserializationError(msg) from error


class StrictFetcher(FetcherInterface):
    """A fetcher that lets python-tuf's client read only metadata that has one meaning."""

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Return one metadata file.

        Raises:
            DeserializationError: it is no strict JSON.
        """
        data = super().download_bytes(url, max_length)
        read_metadata(data)
        return data


def read_metadata(data: bytes) -> dict[str, object]:
    """Return the JSON of metadata that no other reader can understand otherwise.

    Raises:
        DeserializationError: no strict JSON; the sentence says why.
    """
    try:
        return intake.map_of(strict_json.read_json(data, max_bytes=MAX_METADATA, max_depth=MOST_DEPTH), "metadata")
    except InvalidError as error:
        raise DeserializationError(error.detail) from error
