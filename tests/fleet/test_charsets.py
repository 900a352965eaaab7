"""A body at the operator server is read as UTF-8, whatever charset its media type names."""

import pytest
from django.test import Client

from tests.regressions import regression

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])
ODD = [
    "base64",
    "hex",
    "rot13",
    "bz2",
    "zip",
    "idna",
    "undefined",
    "punycode",
    "utf-7",
    "utf-16",
    "latin-1",
    "no such",
    "",
]
PART = b'--x\r\nContent-Disposition: form-data; name="username"\r\n\r\na\xc3\xbc\r\n--x--\r\n'
BODIES = {
    "multipart/form-data; boundary=x": PART,
    "application/x-www-form-urlencoded": b"username=a%C3%BC",
    "application/json": '{"a": "ü"}'.encode(),
}


def sent(path, kind, charset):
    client = Client(HTTP_HOST="localhost")
    return client.generic("POST", path, BODIES[kind], content_type=f'{kind}; charset="{charset}"', secure=True)


@regression("B8", "charsets other than UTF-8 in the media type of a form, an upload or JSON, as Python knows them")
@pytest.mark.parametrize("charset", ODD)
@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("path", ["/sign-in", "/api/v1/bundles", "/api/v1/session"])
def test_a_body_in_another_charset_is_refused(path, kind, charset):
    answer = sent(path, kind, charset)
    assert answer.status_code == 415
    assert "Send the body in UTF-8." in answer.json()["detail"]


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "utf8", "us-ascii"])
def test_the_names_of_utf_8_are_taken(workshop, charset):
    assert sent("/api/v1/bundles", "application/json", charset).status_code == 401
    assert sent("/sign-in", "application/x-www-form-urlencoded", charset).status_code == 401


def test_ascii_is_read_as_the_part_of_utf_8_that_it_is(rf):
    from fleet.plain_text import PlainTextMiddleware

    kind = "application/x-www-form-urlencoded; charset=us-ascii"
    request = rf.generic("POST", "/sign-in", BODIES[kind.partition(";")[0]], content_type=kind)
    PlainTextMiddleware(lambda _: None)(request)
    assert request.POST["username"] == "aü"
