"""The operator server's ASGI application (Django). Devices have their own listener in ``fleet.gateway``."""

import os
import tempfile
from typing import IO

import django
from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http import HttpResponseBase  # noqa: TID251  because it is the response of a listener

from fleet.bounds import Bounded
from fleet.wire.asgi import Message, Receive

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
django.setup(set_prefix=False)
from fleet.operators import credentials  # noqa: E402  because its models need Django to be set up


class _HeldBody(tempfile.SpooledTemporaryFile[bytes]):
    """A request body that is closed with its last reader: Django closes it only with the response."""

    def __del__(self) -> None:
        self.close()


class OperatorHandler(ASGIHandler):
    """Django's ASGI handler, with support for chunked bodies: Django alone would treat such a body as empty."""

    async def read_body(self, receive: Receive) -> IO[bytes]:
        """Return the body in memory or in a temporary file; nothing is left behind if the body is incomplete."""
        body = _HeldBody(settings.FILE_UPLOAD_MAX_MEMORY_SIZE)
        try:
            await _fill(body, receive)
        except BaseException:
            body.close()
            raise
        body.seek(0)
        return body

    def create_request(
        self, scope: Message, body_file: IO[bytes]
    ) -> tuple[ASGIRequest, None] | tuple[None, HttpResponseBase]:
        """Return the request, with the counted length if the client sent none."""
        names = {name for name, _ in scope["headers"]}
        if b"transfer-encoding" in names:
            length = body_file.seek(0, os.SEEK_END)
            body_file.seek(0)
            fields = [
                header for header in scope["headers"] if header[0] not in {b"transfer-encoding", b"content-length"}
            ]
            scope = {**scope, "headers": [*fields, (b"content-length", str(length).encode())]}
        return super().create_request(scope, body_file)


async def _fill(body: IO[bytes], receive: Receive) -> None:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestAborted
        body.write(message.get("body", b""))
        more = message.get("more_body", False)


application = Bounded(
    OperatorHandler(),
    settings.FLEET_MAX_UPLOAD_MB << 20,
    credentials.person_of_credentials,
    settings.FLEET_STRANGERS_A_MINUTE,
    tuple(settings.FLEET_PROXIES),
)
