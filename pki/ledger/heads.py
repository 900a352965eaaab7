"""Heads of a ledger as values: what the signer signs, the journal publishes, and the signer remembers."""

from typing import NotRequired, TypedDict


class Head(TypedDict):
    """A head: epoch, number of entries, and the root of their tree in hex."""

    epoch: int
    size: int
    root: str


class PublishedHead(Head):
    """A head of one trust domain as ``journal/heads.jsonl`` holds it; the signature is there unless somebody cut it."""

    domain: str
    keyid: NotRequired[str]
    sig: NotRequired[str]


class RememberedHead(Head):
    """The newest head that the signer has signed, and the epoch up to which restores were made unsigned."""

    unsigned_restores: int
