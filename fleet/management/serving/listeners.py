"""Run one listener in this process: uvicorn with a socket and a TLS context that were created before the fork."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
import uvloop
from django.conf import settings
from django.db import connections

from fleet.environment import ROOT
from fleet.gateway.admission import AdmissionGate
from fleet.gateway.coap import server as coap
from fleet.gateway.http import DeviceListener
from fleet.wire import limits
from fleet.wire.connections import Connections
from fleet.wire.http1 import make_protocol
from pki.kernel import confine, scheduling

if TYPE_CHECKING:
    from fleet.wire.asgi import Receive, Scope, Send

REFRESH_SECONDS = 2
#: how long a database thread can block the event loop; Python's default of five milliseconds adds up
SWITCH_SECONDS = 0.0005
#: thresholds of garbage collection (objects, then generations); nearly all objects are freed by reference counts
COLLECTED_AFTER = (700, 10, 200)
_logger = logging.getLogger("muster.serve")


class _Server(uvicorn.Server):
    """A uvicorn server without signal handlers and with a given TLS context."""

    draining = False

    async def on_tick(self, counter: int) -> bool:
        """Stop accepting when another process has taken over; exit when the last connection ends."""
        if self.draining:
            gates = [server for server in self.servers if isinstance(server, AdmissionGate)]
            for gate in gates:
                gate.retire()
            for connection in list(self.server_state.connections):
                connection.shutdown()  # closes idle connections at once, and others after their response
            if not self.server_state.connections and all(gate.quiet for gate in gates):
                self.should_exit = True
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do not install signal handlers."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections through the gate if there is a TLS context; otherwise use uvicorn's own code."""
        context = self.config.ssl
        if context is None or not sockets:
            await super().startup(sockets)
            return
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(1)
        protocol_class = self.config.http_protocol_class

        def protocol() -> asyncio.Protocol:
            return protocol_class(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg]  # as uvicorn calls it

        self.servers = [AdmissionGate(sock, protocol, context) for sock in sockets]  # type: ignore[misc]  # it has the interface of a server
        self.started = True


def serve_asgi(
    application: "Callable[[Scope, Receive, Send], Awaitable[None]]",
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
        context: shared by all workers of the listener, so that sessions resume across them; None for plain HTTP.
        confined: whether to give up file access first.
        refresh: called every few seconds, for a device gateway; loads new trust anchors into the context.
    """
    config = uvicorn.Config(
        application,
        http=protocol_of(application),
        loop="uvloop",
        lifespan="on" if refresh else "off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the socket gives the peer's address; `client_cert_header.py` trusts listed proxies
        ws="none",
        timeout_keep_alive=int(limits.IDLE_SECONDS),
        timeout_graceful_shutdown=5,
        backlog=2048,
        ssl_context_factory=(lambda _config, _default: context) if context else None,
    )
    config.load()
    _prepare(refresh, confined=confined)
    server = _Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    signal.signal(signal.SIGUSR1, lambda *_: setattr(server, "draining", True))
    asyncio.Runner(loop_factory=config.get_loop_factory()).run(server.serve(sockets=[listener]))


def protocol_of(application: "Callable[[Scope, Receive, Send], Awaitable[None]]") -> type[asyncio.Protocol]:
    """Return the protocol class of a listener: one for devices, one for listeners without client certificates."""
    if isinstance(application, DeviceListener):
        return application.protocol
    return make_protocol(Connections(by_network=not settings.FLEET_PROXIES))


def _prepare(refresh: Callable[[], None] | None, *, confined: bool) -> None:
    sys.setswitchinterval(SWITCH_SECONDS)
    # Objects loaded so far stay for the process's lifetime: a collection that scans them all blocks the loop for 0.2 s.
    gc.collect()
    gc.freeze()
    if confined:
        scheduling.ask_for_short_turns()
        gc.set_threshold(*COLLECTED_AFTER)
        confine_listener()
    if refresh:
        threading.Thread(target=_repeat, args=(refresh,), daemon=True).start()


def run_coap(sockets: coap.Sockets, *, refresh: Callable[[], None]) -> None:
    """Serve coaps:// and coaps+tcp:// in this process until SIGTERM, sandboxed like the device gateway.

    Args:
        sockets: with their contexts; one process only, since it owns the DTLS associations.
        refresh: called every few seconds; loads new trust anchors into the contexts.
    """
    _prepare(refresh, confined=True)

    async def run_until_stopped() -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await coap.serve_coap(sockets, stopped)

    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(run_until_stopped())


def _repeat(refresh: Callable[[], None]) -> None:
    while True:
        time.sleep(REFRESH_SECONDS)
        try:
            refresh()
        except Exception:
            _logger.exception("new trust anchors could not be read")
        finally:
            connections.close_all()


def confine_listener() -> bool:
    """Block access to keys, secrets and the offline folder permanently; log a warning if that is not possible."""
    confine.forbid_dumps()
    folder = settings.FLEET_DIR
    code = [ROOT / name for name in ("fleet", "ota", "devices", "pki")]
    places = ("/usr", "/lib", "/lib64", "/etc", "/opt", "/dev/urandom", "/proc/self")
    system = [Path(path) for path in places]
    python = [Path(sys.prefix), Path(sys.base_prefix)]
    # Not `run`: with write access there, a process could replace the signer's socket. Not the temporary folder:
    # an installation may be inside it.
    written = [folder / name for name in ("db", "journal")]
    offered = [folder / name for name in ("blobs", "tuf", "status")]
    for path in (*written, *offered):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    confined = confine.landlock([*code, *system, *python, *offered], [*written, Path("/dev/null")])
    confine.drop_capabilities()
    if not confined:
        _logger.warning("this kernel has no Landlock: the listener is not sandboxed")
    return confined
