"""A relay that cuts a connection once, after so many bytes from the server, and is honest afterwards."""

import socket
import threading
from contextlib import suppress


class Cutter:
    """Relay loopback connections to a port.

    Args:
        port: of the real server.
        after: bytes from the server in one connection after which it is cut, once.
    """

    def __init__(self, port, after):
        self._port, self._after, self.cuts = port, after, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source, sink, counted):
        passed = 0
        with suppress(OSError):
            while data := source.recv(16384):
                passed += len(data)
                if counted and passed > self._after and not self.cuts:
                    self.cuts += 1
                    break
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
