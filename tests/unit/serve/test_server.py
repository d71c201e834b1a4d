"""The server answers as predict does, and stays up whatever is sent to it."""

from __future__ import annotations

import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import toys
from asked import make_bundle, make_run, save_pictures
from PIL import Image
from served import Client, received, serving

from edgecell.errors import ConfigError
from edgecell.pipeline import predicting
from edgecell.pipeline.opening import open_model
from edgecell.pipeline.serving import make_server
from edgecell.progress import Silent
from edgecell.serve import desk, server
from edgecell.serve.gate import HEADERS
from edgecell.serve.server import UPLOAD_TYPE, Patience

QUICK = Patience(headers=1.0, body=1.0, answer=1.0, line=0.3)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return save_pictures(tmp_path_factory.mktemp("pictures"), 12)


@pytest.fixture(scope="module")
def client(bundle: Path):
    with serving(bundle, QUICK) as client:
        yield client
        assert client.faults == []


@pytest.fixture(scope="module")
def upload(pictures: list[Path]) -> bytes:
    return pictures[0].read_bytes()


def alive(client: Client, upload: bytes) -> bool:
    return client.told("POST", "/api/classify", upload)[0] == 200


def test_answers_are_those_of_predict(client, bundle, pictures):
    classifier = open_model(bundle).classifier
    rows: list[predicting.Row] = []
    predicting.predict_files(classifier, pictures, None, Silent(), rows.append)
    for path, row in zip(pictures, rows, strict=True):
        status, told = client.told("POST", "/api/classify", path.read_bytes())
        assert status == 200
        assert (told.pop("width"), told.pop("height")) == Image.open(path).size
        assert all(value >= 0 for value in told.pop("milliseconds").values())
        assert told == row.answer.to_json(4)
    assert len({tuple(row.answer.said) for row in rows}) >= 4


def test_a_phone_s_photograph_is_turned_upright(client, pictures, tmp_path):
    """Through the same decoder as files: EXIF orientation and JPEG included."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = (230, 150, 150)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    data = (tmp_path / "turned.jpg").read_bytes()
    _, told = client.told("POST", "/api/classify", data)
    assert told["width"] == 64
    _, plain = client.told("POST", "/api/classify", _jpeg(pixels))
    assert told["top"] != plain["top"]


def _jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def test_the_model_introduces_itself(client):
    status, told = client.told("GET", "/api/model")
    assert status == 200 and told["labels"] == list(toys.CLASSES)
    assert "Not for clinical use" in told["notice"] and told["self_test"] is True
    assert told["limits"] == {"bytes": desk.MOST_BYTES, "pixels": desk.MOST_PIXELS}


def test_the_page_and_every_answer_have_the_headers(client, upload):
    for method, path, body in (
        ("GET", "/", None),
        ("GET", "/app.js", None),
        ("GET", "/nowhere", None),
        ("POST", "/api/classify", upload),
        ("POST", "/api/classify", b"no image"),
        ("BREW", "/", None),
    ):
        _, headers, _ = client.ask(method, path, body)
        assert {name: headers[name] for name in HEADERS} == HEADERS, path
        assert headers["Server"] == "edgecell" and headers["Connection"] == "close"
        assert "Access-Control-Allow-Origin" not in headers


def test_head_has_no_body(client):
    status, headers, data = client.ask("HEAD", "/")
    assert status == 200 and data == b"" and int(headers["Content-Length"]) > 500


def test_the_page_names_nothing_of_another_place(client):
    for path in ("/", "/app.js", "/style.css", "/serve.css"):
        status, _, data = client.ask("GET", path)
        assert status == 200 and b"://" not in data.replace(b"http://www.w3.org", b"")


# ------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {"Host": "evil.example"}, 421),
        ("POST", "/api/classify", {"Host": "evil.example"}, 421),
        ("POST", "/api/classify", {"Origin": "http://evil.example"}, 403),
        ("POST", "/api/classify", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("GET", "/api/model", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/api/classify", {"Content-Type": "text/plain"}, 415),
        ("POST", "/api/classify", {"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ("POST", "/api/self-test", {"Content-Type": "text/plain"}, 415),
        ("GET", "/api/classify", {}, 405),
        ("POST", "/", {}, 405),
        ("POST", "/elsewhere", {}, 404),
        ("OPTIONS", "/api/classify", {"Origin": "http://evil.example"}, 501),
        ("PUT", "/api/classify", {}, 501),
        ("DELETE", "/", {}, 501),
    ],
)
def test_refusals(client, upload, method, path, headers, status):
    body = upload if method in ("POST", "PUT") else None
    assert client.ask(method, path, body, headers)[0] == status


@pytest.mark.parametrize(
    "path",
    [
        *("/../../etc/passwd", "/..%2f..%2fetc/passwd", "/serve.css/../gate.py", "//etc/passwd"),
        *("/assets/index.html", "/index.html", "/app.js?x=1", "/app.js%00", "/APP.JS", "*"),
        *("http://127.0.0.1/app.js", "/.", "/%2e%2e/desk.py", "/api/", "/api/model/"),
    ],
)
def test_no_path_reaches_the_disk(client, path):
    status, _, data = client.ask("GET", path)
    assert status == 404 and json.loads(data) == {"problem": "there is nothing of that name"}


def test_what_was_sent_is_not_repeated(client):
    marker = "<script>alert(1)</script>"
    for request, begins in (
        (f"GET /{marker} HTTP/1.1\r\nHost: {marker}\r\n\r\n", b"HTTP/1.1 4"),
        (f"{marker} / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 501 "),
        (f"GET / {marker}\r\n\r\n", b""),  # no HTTP: it may be left without a word
    ):
        data = client.raw(request.encode())
        assert data.startswith(begins) and marker.encode() not in data


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no image at all", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "image"),
        (b"GIF89a" + bytes(20), "image"),
    ],
)
def test_what_is_no_image(client, data, said):
    status, told = client.told("POST", "/api/classify", data)
    assert status == 422 and said in told["problem"]
    assert "/" not in told["problem"]  # no path of this machine


def test_a_format_that_no_data_set_has_is_not_opened(client):
    """PPM is an image that Pillow knows, and decode_file takes: the server's list is shorter."""
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PPM")
    assert client.told("POST", "/api/classify", stream.getvalue())[0] == 422
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "BMP")
    assert client.told("POST", "/api/classify", stream.getvalue())[0] == 200


def test_a_decompression_bomb_is_refused_before_it_is_decoded(client):
    stream = io.BytesIO()
    Image.new("1", (40_000, 2_000)).save(stream, "PNG")
    assert len(stream.getvalue()) < 100_000
    status, told = client.told("POST", "/api/classify", stream.getvalue())
    assert status == 422 and "40000×2000 pixels" in told["problem"]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("Content-Length: 99999999", 413),
        ("Content-Length: 999999999999999999999999", 413),
        ("Content-Length: -1", 400),
        ("Content-Length: 1_0", 400),
        ("Content-Length: ٣", 400),
        ("Content-Length: 0", 400),
        ("Content-Length: 5\r\nContent-Length: 6", 400),
        ("", 411),
        ("Transfer-Encoding: chunked", 411),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 411),
        ("Content-Length: 50", 400),  # and five come
    ],
)
def test_lengths(client, lines, status):
    head = "POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + UPLOAD_TYPE
    data = client.raw(
        f"{head}\r\n{lines}\r\n\r\n12345".replace("\r\n\r\n\r\n", "\r\n\r\n").encode()
    )
    assert data.startswith(f"HTTP/1.1 {status} ".encode()), data[:80]


def test_a_large_upload_is_told_why_it_is_refused(client):
    """The answer comes through although the client is still sending."""
    status, _, data = client.ask("POST", "/api/classify", bytes(desk.MOST_BYTES + 1))
    assert status == 413 and b"32,000,000" in data


GARBAGE = [
    b"",
    b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS greeting
    b"GET /\r\n",
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x00\xff" * 1000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    b"GET / HTTP/1.1\nHost: localhost\n\nGET / HTTP/1.1\nHost: localhost\n\n",
]


@pytest.mark.parametrize("data", GARBAGE, ids=lambda d: repr(d[:24]))
def test_garbage_is_survived(client, upload, data):
    answer = client.raw(data)
    assert answer.count(b"HTTP/1.1 ") <= 1  # one request a connection, whatever is sent behind it
    assert alive(client, upload)


# ----------------------------------------------------------------------- slow and many


def test_a_client_that_trickles_is_dropped(client, upload):
    """A byte now and then resets no clock: the whole request has its time."""
    address = ("127.0.0.1", client.port)
    with socket.create_connection(address) as connection, pytest.raises(ConnectionError):
        while True:
            connection.sendall(b"G")
            time.sleep(0.2)
    assert alive(client, upload)


def test_a_body_that_does_not_come_is_not_waited_for(client, upload):
    head = f"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: {UPLOAD_TYPE}\r\n"
    answer = client.raw(f"{head}Content-Length: 5000\r\n\r\nabc".encode(), finish=False)
    assert answer.startswith(b"HTTP/1.1 400 ") and b"too slowly" in answer
    assert alive(client, upload)


def test_connections_are_bounded_and_free_again(client, upload):
    held = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(server.CONNECTIONS)]
    try:
        time.sleep(0.3)
        assert client.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 503 ")
    finally:
        for connection in held:
            connection.close()
    _until(lambda: client.ask("GET", "/")[0] == 200)
    assert alive(client, upload)


def test_uploads_are_bounded(client, upload):
    """Four that send nothing hold the places; the fifth is told so. Then they are free again."""
    head = f"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: {UPLOAD_TYPE}\r\n"
    held = []
    for _ in range(server.UPLOADS):
        connection = socket.create_connection(("127.0.0.1", client.port), timeout=20)
        connection.sendall(f"{head}Content-Length: 5000\r\n\r\n".encode())
        held.append(connection)
    time.sleep(0.3)
    status, told = client.told("POST", "/api/classify", upload)
    assert status == 503 and "too many" in told["problem"]
    for connection in held:
        assert received(connection).startswith(b"HTTP/1.1 400 ")
        connection.close()
    _until(lambda: alive(client, upload))


def test_many_at_once_get_each_their_own_answer(client, pictures):
    expected = {p: client.told("POST", "/api/classify", p.read_bytes())[1]["top"] for p in pictures}
    wrong = []

    def ask(path: Path) -> None:
        for _ in range(3):
            status, told = client.told("POST", "/api/classify", path.read_bytes())
            while status == 503:
                status, told = client.told("POST", "/api/classify", path.read_bytes())
            if told["top"] != expected[path]:
                wrong.append(path)

    threads = [threading.Thread(target=ask, args=(path,)) for path in pictures]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def _until(condition) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# --------------------------------------------------------------------------- self-test


def test_the_self_test_passes(client):
    status, told = client.told("POST", "/api/self-test", b"")
    assert status == 200 and told["passed"] is True
    assert told["lines"] == ["PASS decode, resize, scale, inference: 32 images"]


def test_nothing_is_taken_with_it(client, monkeypatch):
    """It would be read beside the four uploads that there is room for."""
    read = []
    monkeypatch.setattr(server._Handler, "_body", lambda self, length: read.append(length))
    status, told = client.told("POST", "/api/self-test", bytes(1000))
    assert (status, told, read) == (413, {"problem": "nothing is sent there"}, [])


def test_an_empty_file_is_called_empty(client):
    assert client.told("POST", "/api/classify", b"") == (400, {"problem": "the file is empty"})


def test_a_model_without_golden_images_has_none(tmp_path, upload):
    with serving(make_run(tmp_path, toys.converted("int8"), passed=None)) as client:
        assert client.told("GET", "/api/model")[1]["self_test"] is False
        assert client.told("POST", "/api/self-test", b"")[0] == 404
        assert "has not passed verify" in client.told("GET", "/api/model")[1]["warning"]
        assert alive(client, upload)


def test_an_altered_golden_file_is_named(bundle, tmp_path):
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / "golden" / "03.png").write_bytes(b"x")
    with serving(copy) as client:
        _, told = client.told("POST", "/api/self-test", b"")
    assert told["passed"] is False and "golden/03.png was altered" in told["lines"][0]


# ------------------------------------------------------------------------- start, stop


def test_a_port_that_is_taken(client, bundle):
    with pytest.raises(ConfigError, match="--port 0 for a free one"):
        make_server(bundle, host="127.0.0.1", port=client.port, threads=1, progress=Silent())


def test_listening_for_others_is_warned_of(bundle):
    said: list[str] = []
    progress = Silent()
    progress.say = said.append  # type: ignore[method-assign]
    for host, warned in (("127.0.0.1", False), ("0.0.0.0", True)):
        made = make_server(bundle, host=host, port=0, threads=1, progress=progress)
        made.server_close()
        assert any("whoever reaches this machine" in line for line in said) == warned


def test_stopping_does_not_wait_for_half_a_request(bundle, upload):
    with serving(bundle, Patience(headers=3600)) as client:
        waiting = socket.create_connection(("127.0.0.1", client.port), timeout=20)
        waiting.sendall(b"GET / HT")
        assert alive(client, upload)
    assert received(waiting) == b""  # we are here, and it got nothing
    waiting.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", client.port), timeout=5)


BUSY = """
import threading, time
from edgecell.pipeline import serving

class Busy:
    over = threading.Event()
    request = threading.Thread(target=time.sleep, args=(60,))

    def stop(self):
        print("stopping", flush=True)
        self.over.set()

    def serve_forever(self, poll_interval):
        self.request.start()
        while not self.over.wait(poll_interval):
            pass

    def server_close(self):
        self.request.join()

serving.run(Busy(), lambda: print("ready", flush=True))
"""


@pytest.mark.parametrize(
    ("first", "second"), [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)]
)
def test_a_second_signal_waits_for_nobody(first, second):
    command = [sys.executable, "-c", BUSY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout.readline() == "ready\n"
        program.send_signal(first)
        assert program.stdout.readline() == "stopping\n"  # and it waits for a minute's request
        program.send_signal(second)
        try:
            assert program.wait(timeout=5) == -second
        finally:
            program.kill()
