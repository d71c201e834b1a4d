"""An HTTP server on loopback that a slow, rude or hostile client cannot take down.

One request a connection. Everything that a client can stretch is bounded: connections, time to send a
request and to take the answer, bytes of headers and of the body, uploads and decodings at a time. Files
are read once at the start; no part of a request ever names a path.
"""

from __future__ import annotations

import io
import json
import socket
import socketserver
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from threading import BoundedSemaphore, Lock
from typing import Any

from edgecell.errors import ConfigError, DataError
from edgecell.serve.desk import MOST_BYTES, Desk
from edgecell.serve.gate import HEADERS, LOOPBACK, Gate, Refusal

CONNECTIONS = 32
UPLOADS = 4
_CHUNK = 1 << 16
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)

_JSON = "application/json; charset=utf-8"
UPLOAD_TYPE = "application/octet-stream"
"""The content type of an upload. A form of another site cannot send it, and its script must ask first."""


@dataclass(frozen=True)
class Patience:
    """Seconds that a client has: for its headers, for a body, to take an answer, in line for an upload."""

    headers: float = 10.0
    body: float = 30.0
    answer: float = 10.0
    line: float = 20.0


@dataclass(frozen=True)
class Asset:
    """A file of the page, in memory."""

    content_type: str
    data: bytes


class Server(socketserver.ThreadingTCPServer):
    """The page of ``desk`` on ``host``:``port``; port 0 takes a free one.

    ``assets`` are the files by path. ``report`` gets a line about a fault of ours, never one about what
    was asked.

    Raises:
        ConfigError: the address cannot be listened on.
    """

    allow_reuse_address = True
    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def __init__(
        self,
        desk: Desk,
        assets: Mapping[str, Asset],
        *,
        host: str = LOOPBACK,
        port: int = 8000,
        patience: Patience = Patience(),
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        self.desk, self.assets, self.patience, self.report = desk, assets, patience, report
        self.gate = Gate(host, socket.gethostname())
        self.uploads = BoundedSemaphore(UPLOADS)
        self._free = BoundedSemaphore(CONNECTIONS)
        self._open: set[socket.socket] = set()
        self._guard = Lock()
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"cannot listen on {host}, port {port}: {getattr(error, 'strerror', None) or error};"
                " another port with --port, or --port 0 for a free one"
            ) from error

    @property
    def url(self) -> str:
        """The address to open."""
        host, port = str(self.server_address[0]), self.server_address[1]
        if host in ("0.0.0.0", "::"):
            host = self.gate.machine
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own; say "busy" where there are too many."""
        if not self._free.acquire(blocking=False):
            request.settimeout(0.1)
            with suppress(OSError):
                request.sendall(_BUSY)
            socketserver.TCPServer.shutdown_request(self, request)
            return
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, and let another one in."""
        with self._guard:
            ours = request in self._open
            self._open.discard(request)
        super().shutdown_request(request)
        if ours:
            self._free.release()

    def stop(self) -> None:
        """End :meth:`serve_forever`: no new request, running ones are answered."""
        self.shutdown()
        with self._guard:
            for request in self._open:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RD)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no fault; anything else is reported in one line."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            self.report(f"a request failed: {type(error).__name__}: {error}")


class _Bounded(io.RawIOBase):
    """Reads a socket until a deadline, however the bytes trickle in."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.connection = connection
        self.within(seconds)

    def within(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)
        return self.connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    """One request, then the connection is closed."""

    server: Server
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self._input = _Bounded(self.connection, self.server.patience.headers)
        self.rfile = io.BufferedReader(self._input, _CHUNK)

    def handle(self) -> None:
        with suppress(ConnectionError, TimeoutError):
            self.close_connection = True
            self.handle_one_request()

    def version_string(self) -> str:
        """No version: it would only tell what to try."""
        return "edgecell"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: what was asked is nobody's business."""

    # ------------------------------------------------------------------------- requests

    def do_GET(self) -> None:
        """The page's files and the facts of the model."""
        if self._refused():
            return
        if self.path == "/api/model":
            self._tell(HTTPStatus.OK, self.server.desk.about())
        elif self.path in self.server.assets:
            asset = self.server.assets[self.path]
            self._send(HTTPStatus.OK, asset.content_type, asset.data)
        elif self.path in _POSTS:
            self._complain(HTTPStatus.METHOD_NOT_ALLOWED, "POST it")
        else:
            self._complain(HTTPStatus.NOT_FOUND, "there is nothing of that name")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """An image to classify, or the self-test."""
        if self._refused():
            return
        if self.path not in _POSTS:
            known = self.path in self.server.assets or self.path == "/api/model"
            status = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND
            self._complain(status, "nothing is sent there")
            return
        length = self._length()
        if isinstance(length, Refusal):
            self._complain(length.status, length.said)
            return
        _POSTS[self.path](self, length)

    def _classify(self, length: int) -> None:
        if length == 0:
            self._complain(HTTPStatus.BAD_REQUEST, "the file is empty")
            return
        if not self.server.uploads.acquire(timeout=self.server.patience.line):
            self._complain(HTTPStatus.SERVICE_UNAVAILABLE, "too many images at once; try again")
            return
        try:
            data = self._body(length)
            if len(data) < length:
                self._complain(
                    HTTPStatus.BAD_REQUEST, "the image was cut off on its way, or came too slowly"
                )
                return
            try:
                found = self.server.desk.classify(data)
            except DataError as error:
                self._complain(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
                return
            except MemoryError:
                self._complain(HTTPStatus.UNPROCESSABLE_ENTITY, "not enough memory for this image")
                return
        finally:
            self.server.uploads.release()
        self._tell(HTTPStatus.OK, found)

    def _test(self, length: int) -> None:
        if length > 0:  # an upload that no place was taken for
            self._complain(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "nothing is sent there")
            return
        found = self.server.desk.test()
        if found is None:
            self._complain(HTTPStatus.NOT_FOUND, "this model has no golden images; a bundle has")
        else:
            self._tell(HTTPStatus.OK, found)

    # --------------------------------------------------------------------------- checks

    def _refused(self) -> bool:
        """Whether the request was refused already, by whom it comes from or by its form."""
        refusal = self.server.gate.refuses(self.path, self.headers)
        if self.request_version not in ("HTTP/1.0", "HTTP/1.1"):
            refusal = Refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1, please")
        if refusal is not None:
            self._complain(refusal.status, refusal.said)
        return refusal is not None

    def _length(self) -> int | Refusal:
        """The length of the body, where it is of a kind and a size that is taken."""
        if self.headers.get_all("Content-Type") != [UPLOAD_TYPE]:
            return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send it as {UPLOAD_TYPE}")
        lengths = self.headers.get_all("Content-Length") or []
        if not lengths or self.headers.get_all("Transfer-Encoding"):
            return Refusal(HTTPStatus.LENGTH_REQUIRED, "the length has to be said beforehand")
        if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdecimal()):
            return Refusal(HTTPStatus.BAD_REQUEST, "that is no length")
        if len(lengths[0]) > 12 or int(lengths[0]) > MOST_BYTES:
            said = f"larger than {MOST_BYTES:,} bytes; shrink the image first"
            return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, said)
        return int(lengths[0])

    def _body(self, length: int) -> bytes:
        """What came of the body in time."""
        self._input.within(self.server.patience.body)
        try:
            return self.rfile.read(length)
        except TimeoutError:
            return b""

    # -------------------------------------------------------------------------- answers

    def _tell(self, status: HTTPStatus, data: dict[str, Any]) -> None:
        self._send(status, _JSON, json.dumps(data, allow_nan=False).encode("ascii"))

    def _complain(self, status: HTTPStatus, said: str) -> None:
        self._tell(status, {"problem": said})
        self._drain()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses by itself, in our form and without repeating what was sent."""
        self.command = getattr(self, "command", None) or ""
        self._complain(HTTPStatus(code), HTTPStatus(code).phrase)

    def _send(self, status: HTTPStatus, content_type: str, data: bytes) -> None:
        if self.request_version == "HTTP/0.9":  # has no status and no headers to say anything in
            return
        self.connection.settimeout(self.server.patience.answer)
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _drain(self) -> None:
        """Read on for a moment: closing on a client that still sends would cut the answer off."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self._input.within(min(2.0, self.server.patience.answer))
            left = 2 * MOST_BYTES
            while left > 0 and (taken := len(self.rfile.read1(_CHUNK))):
                left -= taken


_POSTS: dict[str, Callable[[_Handler, int], None]] = {
    "/api/classify": _Handler._classify,
    "/api/self-test": _Handler._test,
}
