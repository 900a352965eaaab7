"""Read the fields of the signer's answers: a malformed answer is the signer's fault, never the caller's."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

from pki.errors import SignerError
from pki.kernel import intake
from pki.kernel.errors import InvalidError
from pki.kernel.public_keys import TufKey
from pki.ledger.heads import RememberedHead
from pki.signer import fields

#: characters of a time, a key id or a signature in an answer
_MOST_TEXT = 10_000
Answer = Mapping[str, object]
_Given = ParamSpec("_Given")
_Read = TypeVar("_Read")


def _blaming_the_signer(read: Callable[_Given, _Read]) -> Callable[_Given, _Read]:
    @wraps(read)
    def reading(*args: _Given.args, **kwargs: _Given.kwargs) -> _Read:
        try:
            return read(*args, **kwargs)
        except (InvalidError, KeyError, IndexError) as error:
            msg = "The signer's answer cannot be read. Run the signer and the server in the same version."
            raise SignerError(msg) from error

    return reading


@_blaming_the_signer
def bytes_of_answer(answer: Answer, name: str) -> bytes:
    """Return a byte string."""
    return fields.bytes_field(answer, name)


@_blaming_the_signer
def text_of_answer(answer: Answer, name: str) -> str:
    """Return a printable text."""
    return fields.text_of_request(answer, name, _MOST_TEXT)


@_blaming_the_signer
def number_of_answer(answer: Answer, name: str) -> int:
    """Return a whole number from 0."""
    return fields.integer_field(answer, name, 0, intake.MOST)


@_blaming_the_signer
def texts_of_answer(answer: Answer, name: str) -> list[str]:
    """Return a list of texts."""
    return [intake.read_text(item, name) for item in intake.list_of(answer[name], name)]


@_blaming_the_signer
def chain_of_answer(answer: Answer) -> list[bytes]:
    """Return the CA certificates (DER) above an identity, the issuer first; there is at least one."""
    chain = [fields.bytes_field({"chain": item}, "chain") for item in intake.list_of(answer["chain"], "chain")]
    return [chain[0], *chain[1:]]


@_blaming_the_signer
def one_each(answer: Answer) -> dict[str, TufKey]:
    """Return the public half of each online key by name."""
    return {name: _key(item) for name, item in intake.map_of(answer["keys"], "keys").items()}


@_blaming_the_signer
def generations_of_answer(answer: Answer, place: str) -> dict[str, list[TufKey]]:
    """Return the public halves of the generations of each online key by name."""
    named = intake.map_of(answer[place], place).items()
    return {name: [_key(item) for item in intake.list_of(listed, place)] for name, listed in named}


@_blaming_the_signer
def remembered_head(answer: Answer) -> RememberedHead:
    """Return the newest ledger head that the signer has signed."""
    head = intake.map_of(answer["head"], "head")
    return RememberedHead(
        epoch=intake.check_integer(head["epoch"], "epoch"),
        size=intake.check_integer(head["size"], "size"),
        root=intake.read_text(head["root"], "root"),
        unsigned_restores=intake.check_integer(head["unsigned_restores"], "unsigned_restores"),
    )


def _key(value: object) -> TufKey:
    key = intake.map_of(value, "key")
    public = {name: intake.read_text(item, name) for name, item in intake.map_of(key["keyval"], "keyval").items()}
    keyid, keytype, scheme = (intake.read_text(key[name], name) for name in ("keyid", "keytype", "scheme"))
    return TufKey(keyid=keyid, keytype=keytype, scheme=scheme, keyval=public)
