"""A server of the toy in this process, and a client that can be as rude as it likes."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecell.pipeline.opening import open_model
from edgecell.pipeline.serving import desk_of, page
from edgecell.serve.server import UPLOAD_TYPE, Patience, Server


@dataclass
class Client:
    """Asks a server on loopback; ``faults`` are the lines that the server reported."""

    port: int
    faults: list[str] = field(default_factory=list)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body. An upload has its content type unless ``headers`` say another."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Content-Type": UPLOAD_TYPE} if body is not None else {}
        try:
            connection.request(method, path, body, sent | (headers or {}))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def told(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
        """(status, JSON of the answer)."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        status, _, data = self.ask(method, path, body, named)
        return status, json.loads(data)

    def raw(self, data: bytes, *, finish: bool = True) -> bytes:
        """What comes back for these bytes, until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            try:
                connection.sendall(data)
                if finish:
                    connection.shutdown(socket.SHUT_WR)
            except OSError:  # refused, or closed again, before all of it was sent
                pass
            return received(connection)


def received(connection: socket.socket) -> bytes:
    found = bytearray()
    try:
        while part := connection.recv(1 << 16):
            found += part
    except ConnectionError:
        pass
    return bytes(found)


@contextmanager
def serving(model: Path, patience: Patience | None = None) -> Iterator[Client]:
    """A server of ``model`` on a free port, stopped at the end."""
    opened = open_model(model, threads=1)
    faults: list[str] = []
    server = Server(
        desk_of(opened.classifier, opened.bundle),
        page(),
        port=0,
        patience=patience or Patience(),
        report=faults.append,
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield Client(server.server_address[1], faults)
    finally:
        server.stop()
        thread.join()
        server.server_close()
