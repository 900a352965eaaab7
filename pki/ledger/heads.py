"""Heads of an audit log as values: the signer signs and stores them, the journal publishes them."""

from typing import NotRequired, TypedDict


class TreeHead(TypedDict):
    """A tree head (RFC 6962, 3.5): epoch, number of entries, and the root of their tree in hex."""

    epoch: int
    size: int
    root: str


class PublishedHead(TreeHead):
    """A head of one trust domain as ``journal/heads.jsonl`` holds it; the signature is there unless it was removed."""

    domain: str
    keyid: NotRequired[str]
    sig: NotRequired[str]


class RememberedHead(TreeHead):
    """The newest head that the signer has signed, and the epoch up to which restores were made unsigned."""

    unsigned_restores: int
