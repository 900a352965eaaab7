"""A client of the operator REST API: HTTPS, our root as the only trust anchor, a bearer token."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

from pki.kernel.errors import ConflictError, DomainError, UnavailableError

#: seconds to connect, and seconds between two reads
TIMEOUT = 60.0
#: A server that restarts may drop a kept connection under a request. Reading is repeated once, writing never.
_RETRIES = urllib3.Retry(total=1, connect=0, redirect=0, other=0, respect_retry_after_header=False)


@dataclass(slots=True)
class Rest:
    """One keep-alive connection to ``/api/v1``.

    Args:
        port: the operator server on loopback.
        anchor: PEM file of the root certificate.
        token: an operator's API token.

    Raises:
        UnavailableError: no answer, or not the server that ``anchor`` certifies.
        ConflictError, DomainError: the server refused the request; the context has its ``status``.
    """

    port: int
    anchor: Path
    token: str
    host: str = "localhost"
    _pool: urllib3.HTTPSConnectionPool = field(init=False)

    def __post_init__(self) -> None:
        """Prepare the connection; the first request opens it."""
        self._pool = urllib3.HTTPSConnectionPool(
            self.host, self.port, timeout=TIMEOUT, retries=_RETRIES, ca_certs=str(self.anchor)
        )

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
        parts = [("manifest", ("bundle.json", manifest))]
        parts += [("files", (name, file.read_bytes())) for name, file in files.items()]
        body, content_type = urllib3.encode_multipart_formdata(parts)
        return self._call("POST", path, body, {"Content-Type": content_type})

    def ready(self, seconds: float, alive: Callable[[], None] = lambda: None) -> None:
        """Wait until the server is ready; ``alive`` raises if the server is no longer running.

        Raises:
            UnavailableError: the server was not ready in time.
        """
        deadline, why = time.monotonic() + seconds, "it answers, but is not ready"
        while time.monotonic() < deadline:
            alive()
            try:
                if self._request("GET", "/readyz", None, {})[0] == HTTPStatus.OK:
                    return
            except UnavailableError as error:
                why = error.detail
            time.sleep(0.2)
        msg = f"The server did not become ready within {seconds:.0f} s ({why}). See log/serve.log in its folder."
        raise UnavailableError(msg)

    def _call(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> Any:  # untyped: the caller knows the type
        headers = {**headers, "Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        status, data = self._request(method, f"/api/v1{path}", body, headers)
        answer = json.loads(data) if data else None
        if status < HTTPStatus.BAD_REQUEST:
            return answer
        detail = answer.get("detail", str(answer)) if isinstance(answer, dict) else str(answer)
        if status == HTTPStatus.CONFLICT:
            raise ConflictError(detail)
        raise DomainError(f"{method} {path} returned {status}: {detail}", status=status, said=detail)

    def close(self) -> None:
        """Close the connection; no request may follow."""
        self._pool.close()

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            answer = self._pool.urlopen(method, path, body, headers, redirect=False)
        except HTTPError as error:
            raise UnavailableError(self._no_answer(error)) from error
        return answer.status, answer.data

    def _no_answer(self, error: HTTPError) -> str:
        cause = error.reason if isinstance(error, MaxRetryError) else error
        where = f"https://{self.host}:{self.port}"
        if isinstance(cause, SSLError):
            return f"{where} is not a server with a certificate of {self.anchor}: {cause}. Check who uses this port."
        return f"{where} does not answer: {cause}. Check that the server runs."
