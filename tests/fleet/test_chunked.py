"""Bodies in chunks at the operator server: read like any others, by the REST API and the console, JSON and forms."""

import asyncio
import gc
import json

import pytest
from django.http import JsonResponse  # noqa: TID251  because it stands for a view of the console
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from rest_framework.decorators import api_view, authentication_classes, parser_classes, permission_classes
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.response import Response

from tests.regressions import regression


@api_view(["POST", "PATCH"])
@authentication_classes([])
@permission_classes([])
@parser_classes([JSONParser, MultiPartParser])
def rest(request):
    return Response(_facts(request.data, request.FILES))


@csrf_exempt
def form(request):
    return JsonResponse(_facts(request.POST, request.FILES))


def _facts(fields, files):
    texts = {name: value for name, value in fields.items() if name not in files}
    return {"fields": texts, "files": {name: file.read().decode() for name, file in files.items()}}


urlpatterns = [path("rest", rest), path("form", form)]
PARTS = (
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="f.bin"\r\n\r\n' + b"y" * 100_000 + b"\r\n--x--\r\n"
)
BODIES = {
    "json": (b"application/json", b'{"a": "1"}', {"fields": {"a": "1"}, "files": {}}),
    "form": (b"application/x-www-form-urlencoded", b"a=1", {"fields": {"a": "1"}, "files": {}}),
    "parts": (b"multipart/form-data; boundary=x", PARTS, {"fields": {"a": "1"}, "files": {"f": "y" * 100_000}}),
}


def asked(handler, place, method, kind, body, declared):
    size = 1000
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    length = (b"content-length", str(len(body)).encode()) if declared else (b"transfer-encoding", b"chunked")
    scope = {
        "type": "http", "method": method, "path": place, "raw_path": place.encode(), "query_string": b"", "scheme": "https",
        "headers": [(b"host", b"localhost"), (b"content-type", kind), length], "http_version": "1.1",
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "asgi": {"version": "3.0"}, "root_path": "",
    }  # fmt: skip
    said = []

    async def receive():
        if not pieces:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message):
        said.append(message)

    asyncio.run(handler(scope, receive, send))
    return said[0]["status"], json.loads(b"".join(one.get("body", b"") for one in said[1:]))


@regression("B1", "JSON, forms and multipart in chunks, at the REST API and the console")
@pytest.mark.urls("tests.fleet.test_chunked")
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(
    ("place", "method", "body"),
    [("/rest", "PATCH", "json"), ("/rest", "POST", "parts"), ("/form", "POST", "form"), ("/form", "POST", "parts")],
)
def test_a_body_in_chunks_is_the_same_body(place, method, body, declared, settings):
    from fleet.asgi import OperatorHandler

    settings.MIDDLEWARE = []
    kind, sent, expected = BODIES[body]
    assert asked(OperatorHandler(), place, method, kind, sent, declared) == (200, expected)


@regression("B1", "a client that goes after its body has come leaves no open file behind")
@pytest.mark.parametrize("size", [100, 5_000_000])
def test_a_body_that_nobody_answers_is_closed(size):
    from fleet.asgi import OperatorHandler

    async def receive():
        return {"type": "http.request", "body": b"x" * size, "more_body": False}

    body = asyncio.run(OperatorHandler().read_body(receive))
    inner = body._file
    del body
    gc.collect()
    assert inner.closed
