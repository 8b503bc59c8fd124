"""A web server of pictures: some as they should be, others as an attacker's server would send them."""

import contextlib
import gzip
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from tests.helpers.drawn import png

#: Answers that are written to the connection as they are, by path.
RAW = {
    "/no-http": b"SSH-2.0-OpenSSH_9.9\r\n",
    "/nothing": b"",
    "/cut": b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + png("ring"),
    "/lying-length": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 18 + b"\r\n\r\n" + png("ring"),
    "/huge-length": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n" + png("ring"),
    "/large-head": b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 300_000 + b"\r\n\r\n",
    "/bad-redirect": b"HTTP/1.1 302 Found\r\nLocation: http://[::bad\r\nContent-Length: 0\r\n\r\n",
}
GZIPPED = gzip.compress(bytes(10**7))


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def do_GET(self) -> None:
        host = self.server.host
        host.asked.append((self.path, dict(self.headers)))
        path, _, query = self.path.partition("?")
        if path in RAW:
            self.wfile.write(RAW[path])
        elif path == "/to":
            self._send(302, b"", Location=unquote(query))
        elif path == "/around":
            self._send(302, b"", Location="/around")
        elif path == "/gzip":
            self._send(200, GZIPPED, **{"Content-Encoding": "gzip"})
        elif path == "/large":
            self._send(200, bytes(int(query)))
        elif path == "/held":
            host.may_answer.wait(60)
            self._send(200, png("ring", 5))
        elif path in ("/endless", "/crumbs", "/informed", "/slow"):
            with contextlib.suppress(OSError):
                self._pour(path)
        elif path.endswith(".png"):
            name, _, seed = path[1:-4].partition("-")
            self._send(200, png(name, int(seed or 0)))
        else:
            self._send(404, b"not here")

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        with contextlib.suppress(OSError):  # the service may have left
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Set-Cookie", "seen=1; Path=/")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def _pour(self, path: str) -> None:
        """Send without end, until the service leaves or the test ends."""
        if path == "/informed":
            while not self.server.host.closed.is_set():
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not self.server.host.closed.is_set():
            if path == "/endless":
                self.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            elif path == "/crumbs":
                self.wfile.write(b"1\r\nx\r\n" * 1000)
            else:
                self.wfile.write(b"1\r\nx\r\n")
                self.server.host.closed.wait(0.2)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
        """Write nothing to standard error."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    host: "PictureHost"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that leave."""


class PictureHost:
    """A running server, and what it was asked."""

    def __init__(self, server: _Server, scheme: str) -> None:
        self.scheme, self.port = scheme, server.server_port
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.may_answer, self.closed = threading.Event(), threading.Event()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"


@contextlib.contextmanager
def picture_host(tls: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> Iterator[PictureHost]:
    """Serve pictures such as `/ring-3.png` on a port of its own, as long as the block lasts."""
    family = _Server.address_family
    _Server.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        server = _Server((address, 0), _Handler)
    finally:
        _Server.address_family = family
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    host = server.host = PictureHost(server, "https" if tls else "http")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield host
    finally:
        host.may_answer.set()
        host.closed.set()
        server.shutdown()
        thread.join()
        server.server_close()
