"""A device that speaks OSCORE over a plain socket: aiocoap's client half of a context, and nothing else of it."""

import itertools
import secrets
import socket

import aiocoap
from aiocoap import Message
from aiocoap.numbers import codes, types

from fleet.agent.oscore import Context as ClientContext


class Device:
    """Messages of one device, one at a time; each is a datagram that can be sent again."""

    def __init__(self, port, context, host="127.0.0.1"):
        self.context = context
        self.address = (host, port)
        self.mids = itertools.count(secrets.randbelow(60_000))
        self.open()

    def open(self):
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.connect(self.address)
        self.socket.settimeout(5)

    def close(self):
        self.socket.close()

    def reopen(self):
        """Speak from another port from now on."""
        self.close()
        self.open()

    def message(self, method, path, payload=b"", **options):
        made = Message(code=method, payload=payload)
        made.opt.uri_path = path.strip("/").split("/")
        for name, value in options.items():
            setattr(made.opt, name, value)
        return made

    def protect(self, message):
        """Return a datagram, its token and what opens the answer."""
        outer, request_id = self.context.protect(message)
        outer.mtype, outer.mid, outer.token = types.CON, next(self.mids) & 0xFFFF, secrets.token_bytes(4)
        return outer.encode(), outer.token, request_id

    def send(self, datagram):
        self.socket.send(datagram)

    def hear(self):
        self.raw = self.socket.recv(2048)
        return Message.decode(self.raw)

    def opened(self, outer, request_id):
        if outer.opt.oscore is None:
            return outer
        return self.context.unprotect(outer, request_id)[0]

    def answer(self, token, request_id):
        """Return the next answer to a request, and its outer message; acknowledge what wants to be."""
        while True:
            outer = self.hear()
            if outer.mtype is types.CON:
                self.send(Message(code=codes.EMPTY, _mtype=types.ACK, _mid=outer.mid).encode())
            if outer.token == token and outer.code.is_response():
                return self.opened(outer, request_id), outer

    def ask(self, path, method=aiocoap.GET, payload=b"", **options):
        """Return the answer; a challenge is met."""
        for _ in range(2):
            datagram, token, request_id = self.protect(self.message(method, path, payload, **options))
            self.send(datagram)
            inner, _ = self.answer(token, request_id)
            if inner.code != codes.UNAUTHORIZED or inner.opt.echo is None:
                return inner
            options["echo"] = inner.opt.echo
        return inner


__all__ = ["ClientContext", "Device"]
