"""Bodies that real and odd DDI clients send: free text and nulls are taken as hawkBit takes them, never refused."""

import pytest

from fleet.gateway.ddi import bodies
from ota.models import Assignment
from pki.kernel import strict_json
from pki.kernel.errors import InvalidError
from tests.regressions import regression

REPLACED = "\N{REPLACEMENT CHARACTER}"


def read(body):
    return strict_json.read_json(body, max_bytes=1 << 16, max_depth=32, lenient=True)


@regression("B2", "DDI configData: nulls, surrogates, NUL, broken UTF-8, numbers of any size, unknown fields")
@pytest.mark.parametrize(
    ("body", "values", "altered"),
    [
        (b'{"data": {"a": null}}', {"a": ""}, set()),
        (b'{"mode": null, "data": {"a": "b"}}', {"a": "b"}, set()),
        (b'{"data": {"a": "\\ud800"}}', {"a": REPLACED}, {"a"}),
        (b'{"data": {"a": "1\\u0000"}}', {"a": f"1{REPLACED}"}, {"a"}),
        (b'{"data": {"a": "\xff"}}', {"a": REPLACED}, {"a"}),
        (b'{"data": {"a": true, "b": 1e999, "c": 1.5}}', {"a": "true", "b": "1e999", "c": "1.5"}, set()),
        (b'{"data": {"a": "b"}, "id": "", "time": "x", "status": {}, "more": [{}]}', {"a": "b"}, set()),
        (b'{"data": {"a": "%s"}}' % (b"x" * 3000), {"a": "x" * bodies.MAX_TEXT}, {"a"}),
    ],
)
def test_free_text_of_clients_is_cleaned_and_never_refused(body, values, altered):
    said = bodies.config_data(read(body))
    assert (said.values, said.mode, said.altered) == (values, "merge", altered)


def test_attributes_are_removed_by_their_names_alone():
    said = bodies.config_data(read(b'{"mode": "remove", "data": {"a": null, "b": "c"}}'))
    assert (said.mode, set(said.values)) == ("remove", {"a", "b"})


@pytest.mark.parametrize(
    "body", [b'{"data": {"a\\u0000": "b"}}', b'{"data": {"a": ["b"]}}', b'{"data": []}', b'{"mode": "x", "data": {}}']
)
def test_names_and_shapes_are_refused(body):
    with pytest.raises(InvalidError, match=r"data|mode"):
        bodies.config_data(read(body))


@pytest.mark.parametrize(
    "status",
    [
        b'{"execution": "closed", "result": {"finished": "success", "progress": null}, "details": [null, {"a": 1}]}',
        b'{"execution": "closed", "result": null, "details": "\\udfff\\u0000", "code": 9e999}',
        b'{"execution": "closed", "result": {"finished": ["x"]}, "details": {"a": "b"}, "more": 1}',
    ],
)
def test_odd_feedback_is_read_for_its_execution(status):
    assert (
        bodies.parse_feedback(read(b'{"id": 5, "more": {}, "status": %s}' % status)).status
        == Assignment.Status.FINISHED
    )
