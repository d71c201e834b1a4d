"""What the server of the page gives, to whom, and what it takes."""

from __future__ import annotations

import socket
import struct
import threading
import urllib.error
import urllib.parse
import urllib.request

import pytest

from benchmarks.devices.page_server import PageServer


@pytest.fixture
def served(tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "a.wasm").write_bytes(b"\0asm")
    (tmp_path / "secret.txt").write_text("not for you")
    (tmp_path / "pack" / "link").symlink_to(tmp_path / "secret.txt")
    server = PageServer(
        {"index.html": lambda: b"<p>page", "b.js": lambda: b"1"}, {"lib": tmp_path / "pack"}
    )
    with server.running() as address:
        yield server, address


def status(url: str, data: bytes | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_page_and_its_headers(served):
    _, address = served
    with urllib.request.urlopen(address) as answer:
        assert answer.read() == b"<p>page"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert answer.headers["Content-Type"] == "text/html"
    with urllib.request.urlopen(f"{address}lib/a.wasm?v=1") as answer:
        assert answer.headers["Content-Type"] == "application/wasm"
        assert answer.read() == b"\0asm"
    with urllib.request.urlopen(f"{address}b.js") as answer:
        assert answer.headers["Content-Type"] == "text/javascript"


@pytest.mark.parametrize(
    "path",
    ["nothing", "lib/none", "lib/", "lib/../secret.txt", "lib/%2e%2e/secret.txt", "lib/link"],
)
def test_what_is_not_served(served, path):
    _, address = served
    assert status(address + path) == 404


def test_nothing_without_the_secret(served):
    server, address = served
    bare = address.replace(server.secret, "x" * len(server.secret))
    assert status(bare) == 404
    assert status(address.split(server.secret)[0]) == 404
    assert status(f"{bare}result", b"{}") == 404
    assert server.posted.empty()


def test_posts_are_json(served):
    server, address = served
    assert status(f"{address}result", b'{"a": 1}') == 204
    assert server.posted.get(timeout=1) == ("result", {"a": 1})
    assert status(f"{address}result", b"{") == 404
    assert server.posted.empty()


@pytest.mark.parametrize("length", ["-1", "1_0", "\xb2", "9" * 5000, str(1 << 40)])
def test_a_post_of_no_length_is_refused(served, capfd, length):
    parts = urllib.parse.urlsplit(served[1])
    head = f"POST {parts.path}posts HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port)) as client:
        client.sendall(head.encode("latin-1"))
        assert client.recv(64).startswith(b"HTTP/1.1 400 ")
    assert capfd.readouterr().err == ""


def test_nothing_is_read_of_a_post_without_the_secret(served):
    parts = urllib.parse.urlsplit(served[1])
    head = f"POST /elsewhere/posts HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 30}\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as client:
        client.sendall(head.encode())
        assert client.recv(64).startswith(b"HTTP/1.1 404 ")


def test_a_browser_that_is_closed_while_it_loads_leaves_no_trace(capfd):
    before = set(threading.enumerate())
    server = PageServer({"images": lambda: b"x" * (50 << 20)}, {})  # more than any buffer takes
    with server.running() as address:
        port = int(address.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(f"GET /{server.secret}/images HTTP/1.1\r\n\r\n".encode())
            assert client.recv(12) == b"HTTP/1.1 200"
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
    assert capfd.readouterr().err == ""
