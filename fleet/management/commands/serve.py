"""``manage.py serve``: run signer, job worker, device gateway, CRL/OCSP responder and operator server."""

import argparse
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from functools import partial
from typing import TypedDict, Unpack

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from fleet.asgi import application
from fleet.gateway.coap.server import Sockets
from fleet.gateway.http import DeviceListener
from fleet.gateway.status import StatusListener
from fleet.management.serving import listeners, tls
from fleet.management.serving.contexts import TlsContexts
from fleet.management.serving.supervisor import (
    Renewal,
    Supervisor,
    await_signer,
    bind_udp,
    fork_server,
    listen_tcp,
    signer_running,
    spawn_program,
)
from ota import blobs
from ota.selectors import signed
from pki import selectors
from pki.kernel import actor as actors
from pki.kernel.errors import DomainError
from pki.models import TrustDomain
from pki.services import restore_check, signing
from pki.signer.client import is_signer_listening

Plain = tuple[tuple[socket.socket, str], ...]


class ServeOptions(TypedDict):
    """Options of the command."""

    bench_plain: list[str]


class Command(BaseCommand):
    """Run the server until it is stopped."""

    help = "Run the whole server: signer, job worker, device gateway, CRL/OCSP responder, operator server."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options for benchmarks."""
        parser.add_argument(
            "--bench-plain", metavar="PORT:FINGERPRINT", action="append", default=[], help=argparse.SUPPRESS
        )

    def handle(self, *_args: object, **options: Unpack[ServeOptions]) -> None:
        """Check the settings, bind the sockets, create the TLS contexts, then supervise the processes."""
        if settings.FLEET_OSCORE_PORT and not settings.FLEET_COAP_PORT:
            msg = "FLEET_OSCORE_PORT needs FLEET_COAP_PORT: one process serves both."
            raise CommandError(msg)
        try:
            plain = _plain(settings.FLEET_HOST, options["bench_plain"])
            restore_check.require_current()
            supervisor = self._prepare(plain)
        except DomainError as error:
            raise CommandError(error.detail) from error
        for name, url in supervisor.urls.items():
            self.stdout.write(f"{name}: {url}")
        supervisor.raise_limits()
        supervisor.run()

    def _prepare(self, plain: Plain) -> Supervisor:
        folder, host = settings.FLEET_DIR, settings.FLEET_HOST
        domains = selectors.list_domains()
        if not domains or not selectors.list_authorities(actor=actors.system_actor(domains[0].slug, "serve")):
            msg = (
                "There is no issuing CA yet. Run `manage.py quickstart`, or follow the steps of `manage.py ca --help`."
            )
            raise CommandError(msg)
        signed.hold_roots(domain.slug for domain in domains)
        by_hand = settings.FLEET_VAULT_KEY == "ask"
        if by_hand and not is_signer_listening(folder):
            msg = "FLEET_VAULT_KEY=ask: start `python -m pki.signer` first and type the passphrase."
            raise CommandError(msg)
        names = list(dict.fromkeys([*settings.FLEET_HOST_NAMES, "localhost", "127.0.0.1"]))
        stop_signer = signer_running(folder)
        contexts = TlsContexts(names)
        stop_signer()
        device = listen_tcp(host, settings.FLEET_DEVICE_PORT)
        status = listen_tcp(host, settings.FLEET_STATUS_PORT)
        operator = listen_tcp(host, settings.FLEET_OPERATOR_PORT)
        urls = _urls(names[0])
        supervisor = Supervisor(folder, urls, contexts.make)
        if not by_hand:  # otherwise a person has typed its passphrase, and it keeps running
            supervisor.add("signer", lambda: spawn_program("-m", "pki.signer"))
        supervisor.add("worker", lambda: spawn_program("manage.py", "work"))
        for number in range(settings.FLEET_DEVICE_WORKERS):
            start = partial(fork_server, lambda: _device(device, contexts.device))
            supervisor.add(f"device-door-{number + 1}", start, Renewal.ROLLING)
        if settings.FLEET_COAP_PORT:
            self._add_coap(supervisor, host, contexts, plain)
        supervisor.add("status-door", lambda: fork_server(lambda: _status(status), bucket=False))
        supervisor.add(
            "operator-door", lambda: fork_server(lambda: _operator(operator, domains[0], names)), Renewal.ROLLING
        )
        return supervisor

    @staticmethod
    def _add_coap(supervisor: Supervisor, host: str, contexts: TlsContexts, plain: Plain) -> None:
        port = settings.FLEET_COAP_PORT
        datagrams, stream = bind_udp(host, port), listen_tcp(host, port)
        oscore = bind_udp(host, settings.FLEET_OSCORE_PORT) if settings.FLEET_OSCORE_PORT else None

        def serve() -> None:
            _coap(Sockets(datagrams, contexts.coap, stream, contexts.coap_stream, oscore, plain))

        supervisor.add("coap-door", lambda: fork_server(serve), Renewal.RESTART)


def _plain(host: str, bench: Sequence[str]) -> Plain:
    """Return the plain sockets for benchmarks; they are allowed on loopback only."""
    if bench and not ipaddress.ip_address(host).is_loopback:
        msg = "--bench-plain serves without encryption and authentication, so it requires loopback. Remove the option."
        raise CommandError(msg)
    named = [text.partition(":") for text in bench]
    return tuple((bind_udp(host, int(port)), fingerprint) for port, _, fingerprint in named)


def _urls(name: str) -> dict[str, str]:
    urls = {
        "operator server": f"https://{name}:{settings.FLEET_OPERATOR_PORT}/",
        "device gateway": f"https://{name}:{settings.FLEET_DEVICE_PORT}/",
        "CRL/OCSP responder": f"{settings.FLEET_STATUS_URL}/",
    }
    if settings.FLEET_COAP_PORT:
        urls["CoAP gateway"] = f"coaps://{name}:{settings.FLEET_COAP_PORT}/ (and coaps+tcp)"
    if settings.FLEET_OSCORE_PORT:
        urls["OSCORE gateway"] = f"coap://{name}:{settings.FLEET_OSCORE_PORT}/"
    return urls


def _device(listener: socket.socket, context: ssl.SSLContext) -> None:
    signing.signer_client("door")  # reads the role's secret before the sandbox hides the folder of secrets
    blobs.blob_store().open()  # the sandboxed process may not be able to read the credentials
    listeners.serve_asgi(DeviceListener(), listener, context, confined=True, refresh=tls.keep_anchors(context))


def _coap(sockets: Sockets) -> None:
    signing.signer_client("door")
    blobs.blob_store().open()
    listeners.run_coap(sockets, refresh=tls.keep_coap_anchors(sockets))


def _status(listener: socket.socket) -> None:
    await_signer(settings.FLEET_DIR)
    signing.signer_client("status")
    listeners.serve_asgi(StatusListener(), listener, None, confined=True)


def _operator(listener: socket.socket, domain: TrustDomain, host_names: list[str]) -> None:
    # Created here and not before the fork, so that no device gateway process has this listener's key in its memory.
    await_signer(settings.FLEET_DIR)
    context = tls.operator_context(signing.signer_client("serve"), domain, host_names)
    blobs.blob_store().open()
    listeners.serve_asgi(application, listener, context, confined=False)
