"""A web server on 127.0.0.1 for one page: it hands out files and takes what the page posts.

Every path begins with a secret, so that no other user of the machine reads the images. Cross-origin
isolation is on (COOP and COEP): it gives the page threads, and a clock of 5 µs instead of 100.
"""

from __future__ import annotations

import json
import mimetypes
import queue
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_TYPES = {".js": "text/javascript", ".wasm": "application/wasm", ".html": "text/html"}
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LONGEST_POST = 1 << 30

Content = Callable[[], bytes]


class PageServer:
    """What is served, and what came back: pairs (path, JSON) in ``posted``."""

    def __init__(self, made: Mapping[str, Content], folders: Mapping[str, Path]) -> None:
        """``made``: path → its bytes, made when asked for. ``folders``: first part of a path → folder."""
        self.posted: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.secret = secrets.token_urlsafe(24)
        self._made = made
        self._folders = {name: folder.resolve() for name, folder in folders.items()}

    def find(self, url: str) -> tuple[str, bytes] | None:
        """Content type and bytes of a path with the secret in front; None where there is nothing."""
        path = self.inside(url)
        if path is None:
            return None
        kind = _TYPES.get(Path(path).suffix) or mimetypes.guess_type(path)[0]
        kind = kind or "application/octet-stream"
        if path in self._made:
            return kind, self._made[path]()
        first, _, rest = path.partition("/")
        if first not in self._folders:
            return None
        file = (self._folders[first] / rest).resolve()
        if not file.is_relative_to(self._folders[first]) or not file.is_file():
            return None
        return kind, file.read_bytes()

    def take(self, url: str, body: bytes) -> bool:
        """Keep a post; False where the path is another's or the body no JSON."""
        path = self.inside(url)
        if path is None:
            return False
        try:
            self.posted.put((path, json.loads(body)))
        except ValueError:
            return False
        return True

    def inside(self, url: str) -> str | None:
        """The path behind the secret; None where the secret is another."""
        if not url.startswith("/"):
            return None
        _, secret, *rest = url.split("?")[0].split("/", 2)
        if not rest or not secrets.compare_digest(secret.encode(), self.secret.encode()):
            return None
        return rest[0] or "index.html"

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve on a free port of 127.0.0.1; gives the page's address."""
        server = _Server(("127.0.0.1", 0), partial(_Handler, self))
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{self.secret}/"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that is closed while it loads something is no error of ours to show."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, page: PageServer, *arguments: Any) -> None:
        self._page = page
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """A file."""
        found = self._page.find(self.path)
        if found is None:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"")
        else:
            self._answer(HTTPStatus.OK, *found)

    def do_POST(self) -> None:
        """What the page has to say; nothing is read of who does not know the secret."""
        if self._page.inside(self.path) is None:
            self.close_connection = True
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"")
            return
        length = self.headers.get("Content-Length", "")
        decimal = length.isascii() and length.isdecimal()
        if not decimal or len(length) > 12 or int(length) > _LONGEST_POST:
            self.close_connection = True
            self._answer(HTTPStatus.BAD_REQUEST, "text/plain", b"")
            return
        body = self.rfile.read(int(length))
        taken = self._page.take(self.path, body)
        self._answer(HTTPStatus.NO_CONTENT if taken else HTTPStatus.NOT_FOUND, "text/plain", b"")

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != HTTPStatus.NO_CONTENT:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: the page's progress is what is shown."""
