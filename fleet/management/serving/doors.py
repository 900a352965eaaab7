"""Run one door in this process: uvicorn over a socket and a TLS context that were made before the fork."""

import asyncio
import contextlib
import hashlib
import logging
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from django.conf import settings
from django.db import connections
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fleet.environment import ROOT
from fleet.gateway.coap import server as coap
from pki.kernel import confine

REFRESH_SECONDS = 2
_logger = logging.getLogger("muster.serve")


class PeerProtocol(HttpToolsProtocol):
    """Show the verified client certificate to the application, computed once a connection."""

    def connection_made(self, transport: Any) -> None:
        """Take the leaf certificate when the handshake is over."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        der = (tls.getpeercert(binary_form=True) if tls else None) or b""
        old = tls is not None and tls.version() == "TLSv1.2"
        self.muster_peer = {
            "certificate": der,
            "fingerprint": hashlib.sha256(der).hexdigest() if der else "",
            "binding": (tls.get_channel_binding("tls-unique") if old else None) or b"",
        }

    def on_message_begin(self) -> None:
        """Put it into the scope of each request."""
        super().on_message_begin()
        extensions: dict[str, dict[object, object]] = {"muster.peer": dict(self.muster_peer.items())}
        self.scope["extensions"] = extensions


class _Server(uvicorn.Server):
    """A server that leaves signals to us and takes a ready TLS context."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def run(
    application: Any,
    listener: socket.socket,
    context: ssl.SSLContext | None,
    *,
    confined: bool,
    refresh: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGTERM.

    Args:
        application: ASGI.
        listener: bound and listening, inherited.
        context: shared by all workers of the door, so that sessions resume across them; None for plain HTTP.
        confined: give up file access first.
        refresh: called every few seconds, for a device door: takes new anchors into the context.
    """
    config = uvicorn.Config(
        application,
        http=PeerProtocol if refresh else "httptools",
        loop="uvloop",
        lifespan="on" if refresh else "off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        backlog=2048,
        limit_concurrency=10_000,
        ssl_context_factory=(lambda _config, _default: context) if context else None,
    )
    config.load()
    if confined:
        confine_door()
    if refresh:
        threading.Thread(target=_repeat, args=(refresh,), daemon=True).start()
    server = _Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    asyncio.Runner(loop_factory=config.get_loop_factory()).run(server.serve(sockets=[listener]))


def run_coap(sockets: coap.Sockets, *, refresh: Callable[[], None]) -> None:
    """Serve coaps:// and coaps+tcp:// in this process until SIGTERM, confined as the device door is.

    Args:
        sockets: with their contexts; one process only, since it owns the associations.
        refresh: called every few seconds: takes new anchors into the contexts.
    """
    confine_door()
    threading.Thread(target=_repeat, args=(refresh,), daemon=True).start()

    async def run_until_stopped() -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await coap.serve(sockets, stopped)

    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(run_until_stopped())


def _repeat(refresh: Callable[[], None]) -> None:
    while True:
        time.sleep(REFRESH_SECONDS)
        try:
            refresh()
        except Exception:
            _logger.exception("new anchors could not be read")
        finally:
            connections.close_all()


def confine_door() -> bool:
    """Keep this process from keys, secrets and the offline folder, for good; say in the log if it cannot be."""
    confine.undumpable()
    folder = settings.FLEET_DIR
    code = [ROOT / name for name in ("fleet", "ota", "devices", "pki")]
    places = ("/usr", "/lib", "/lib64", "/etc", "/opt", "/dev/urandom", "/proc/self")
    system = [Path(place) for place in places]
    python = [Path(sys.prefix), Path(sys.base_prefix)]
    # Not `run`: who may write there could put a false signer in the true one's place. Not the temporary folder:
    # a set-up may lie beneath it.
    written = [folder / name for name in ("db", "journal")]
    offered = [folder / name for name in ("blobs", "tuf", "status")]
    for place in (*written, *offered):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    confined = confine.landlock([*code, *system, *python, *offered], [*written, Path("/dev/null")])
    confine.drop_capabilities()
    if not confined:
        _logger.warning("this kernel has no Landlock: the door is not confined")
    return confined
