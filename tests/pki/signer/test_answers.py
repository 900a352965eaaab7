"""What the signer answers and cannot be read is the signer's fault, not that of the request that needed it."""

import pytest

from pki.errors import SignerError
from pki.signer import answers

KEY = {"keyid": "ab", "keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00"}}


@pytest.mark.parametrize(
    ("read", "answer"),
    [
        (lambda answer: answers.bytes_of_answer(answer, "csr"), {"csr": "text"}),
        (lambda answer: answers.text_of_answer(answer, "until"), {}),
        (lambda answer: answers.number_of_answer(answer, "number"), {"number": -1}),
        (lambda answer: answers.texts_of_answer(answer, "retired"), {"retired": [1]}),
        (answers.chain_of_answer, {"chain": []}),
        (answers.chain_of_answer, {}),
        (answers.one_each, {"keys": {"ledger": {**KEY, "keyval": 7}}}),
        (lambda answer: answers.generations_of_answer(answer, "held"), {"held": {"ledger": [{}]}}),
        (answers.remembered_head, {"head": {"epoch": 0, "size": 1}}),
    ],
)
def test_an_answer_of_another_form_is_the_signer_s_fault(read, answer):
    with pytest.raises(SignerError, match="same version"):
        read(answer)


def test_a_good_answer_is_read():
    assert answers.generations_of_answer({"held": {"ledger": [KEY]}}, "held") == {"ledger": [KEY]}
    assert answers.chain_of_answer({"chain": [b"a", b"b"]}) == [b"a", b"b"]
