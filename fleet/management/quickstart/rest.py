"""A client of the operator REST API: HTTPS, our root as the only trust anchor, a bearer token."""

import http.client
import json
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pki.kernel.errors import ConflictError, DomainError, UnavailableError

_CONFLICT = 409


@dataclass(slots=True)
class Rest:
    """One keep-alive connection to ``/api/v1``.

    Args:
        port: the operator server on loopback.
        anchor: PEM file of the root certificate.
        token: an operator's API token.
    """

    port: int
    anchor: Path
    token: str
    host: str = "localhost"
    _connection: http.client.HTTPSConnection | None = field(default=None, init=False)

    def get(self, path: str) -> Any:  # untyped: the caller knows the type
        """Return the JSON of one resource below ``/api/v1``."""
        return self._call("GET", path, None, {})

    def all(self, path: str) -> Iterator[Any]:  # untyped: the caller knows the type
        """Yield every row of a list, page by page."""
        following: str | None = path
        while following:
            page = self.get(following)
            yield from page["results"]
            following = page.get("next") and page["next"].split("/api/v1", 1)[-1]

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:  # untyped: the caller knows the type
        """Send a POST request; return the JSON of the response."""
        return self._call("POST", path, json.dumps(body or {}).encode(), {"Content-Type": "application/json"})

    def patch(self, path: str, body: Mapping[str, object], headers: Mapping[str, str]) -> object:
        """Send a PATCH request; return the JSON of the response."""
        fields = {"Content-Type": "application/json", **headers}
        return self._call("PATCH", path, json.dumps(body).encode(), fields)

    # untyped: the caller knows the type
    def upload(self, path: str, manifest: bytes, files: Mapping[str, Path]) -> Any:
        """Send a bundle as multipart/form-data: ``manifest`` and one ``files`` part per payload."""
        boundary = uuid.uuid4().hex
        parts = [_part(boundary, "manifest", "bundle.json", manifest)]
        parts += [_part(boundary, "files", name, file.read_bytes()) for name, file in files.items()]
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        return self._call("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})

    def ready(self, seconds: float, alive: Callable[[], None] = lambda: None) -> None:
        """Wait until the server is ready; ``alive`` raises if the server is no longer running.

        Raises:
            UnavailableError: the server was not ready in time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            alive()
            try:
                if self._request("GET", "/readyz", None, {})[0] == http.HTTPStatus.OK:
                    return
            except (OSError, http.client.HTTPException):
                self.close()
            time.sleep(0.2)
        msg = f"The server did not become ready within {seconds:.0f} s; See log/serve.log in its folder."
        raise UnavailableError(msg)

    def _call(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> Any:  # untyped: the caller knows the type
        headers = {**headers, "Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        status, data = self._request(method, f"/api/v1{path}", body, headers)
        answer = json.loads(data) if data else None
        if status < http.HTTPStatus.BAD_REQUEST:
            return answer
        detail = answer.get("detail", str(answer)) if isinstance(answer, dict) else str(answer)
        if status == _CONFLICT:
            raise ConflictError(detail)
        raise DomainError(f"{method} {path} returned {status}: {detail}", status=status, said=detail)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        reused = self._connection is not None
        try:
            return self._once(method, path, body, headers)
        except (OSError, http.client.HTTPException):
            self.close()
            if not reused:
                raise
            # The server closed a persistent connection, for example after a restart: retry once on a new one.
            return self._once(method, path, body, headers)

    def _once(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            context = ssl.create_default_context(cafile=self.anchor)
            self._connection = http.client.HTTPSConnection(self.host, self.port, timeout=60, context=context)
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        return response.status, response.read()


def _part(boundary: str, field_name: str, file_name: str, data: bytes) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field_name}"; filename="{file_name}"\r\n\r\n'
    return head.encode() + data + b"\r\n"
