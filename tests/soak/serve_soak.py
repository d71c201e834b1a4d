"""Ten thousand requests to ``edgecell serve``, a third of them garbage: no wrong answer, no leak.

    python tests/soak/serve_soak.py --model BUNDLE.zip --images FOLDER --output soak.json

Starts the server as a process of its own on loopback. Fails (exit code 1) on an answer that differs from
``edgecell predict``, on a status that is not the expected one, on a self-test that does not pass, on a server that
does not answer at the end, and where its resident memory grows by more than 5 % after the first fifth of the
requests. "Busy" (503) is a right answer, and counted.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

UPLOAD = {"Content-Type": "application/octet-stream"}
WARM = 0.2
GROWTH = 0.05
_HEAD = (
    b"POST /api/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
)


def predicted(model: Path, images: list[Path]) -> dict[Path, dict[str, Any]]:
    """What ``edgecell predict`` says of each image, by its path."""
    command = [sys.executable, "-m", "edgecell", "predict", *map(str, images)]
    command += ["--model", str(model), "--json", "--top", "100000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)["images"]
    return {Path(row.pop("image")): row for row in rows}


@dataclass
class Soak:
    """One run of the soak: what is sent, and what came of it."""

    port: int
    process: int
    images: dict[Path, dict[str, Any]]
    requests: int
    seconds: float
    seed: int = 0
    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[int, int]] = field(default_factory=list)
    answered: int = 0
    busy: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _next: int = 0

    def run(self, threads: int) -> None:
        """Send everything, from ``threads`` threads."""
        files = {path: path.read_bytes() for path in self.images}
        kinds = self._kinds(files)
        end = time.monotonic() + self.seconds

        def work() -> None:
            while True:
                with self._lock:
                    number = self._next
                    if number >= self.requests or time.monotonic() > end:
                        return
                    self._next += 1
                    if number % max(1, self.requests // 200) == 0:
                        self.memory.append((number, resident(self.process)))
                draw = random.Random(f"{self.seed} {number}")
                # Two thirds are images; the others are drawn from all kinds of garbage alike.
                name = "image" if draw.random() < 2 / 3 else draw.choice(sorted(kinds))
                fault = kinds[name](draw)
                with self._lock:
                    self.counts[name] += 1
                    if fault:
                        self.faults.append(f"request {number}, {name}: {fault}")

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.memory.append((self._next, resident(self.process)))

    def _kinds(self, files: dict[Path, bytes]) -> dict[str, Callable[[random.Random], str]]:
        """By name, functions that send one request and return what is wrong with the answer, or ""."""
        stream = io.BytesIO()
        Image.new("1", (30_000, 3_000)).save(stream, "PNG")
        bomb = stream.getvalue()
        paths = sorted(files)

        def image(draw: random.Random) -> str:
            path = draw.choice(paths)
            status, told = self._ask("POST", "/api/classify", files[path], UPLOAD)
            if status == 503:
                return ""
            if status != 200:
                return f"{path.name} got {status} {told}"
            with self._lock:
                self.answered += 1
            for key in ("width", "height", "milliseconds"):
                told.pop(key)
            return "" if told == self.images[path] else f"{path.name} is answered otherwise: {told}"

        def self_test(draw: random.Random) -> str:
            status, told = self._ask("POST", "/api/self-test", b"", UPLOAD)
            # 404: the model is no bundle, and has none.
            passed = status in (404, 503) or (status == 200 and told["passed"])
            return "" if passed else f"self-test: {status} {told}"

        def damaged(draw: random.Random) -> str:
            data = bytearray(files[draw.choice(paths)])
            if draw.random() < 0.5:
                del data[draw.randrange(len(data)) :]
            for _ in range(draw.randrange(1, 20)):
                if data:
                    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            # Damage that the decoder does not notice gives an answer; only a crash would be wrong.
            return self._status("POST", "/api/classify", bytes(data), UPLOAD, (200, 400, 422))

        def noise(draw: random.Random) -> str:
            data = draw.randbytes(draw.randrange(1, 20_000))
            return self._status("POST", "/api/classify", data, UPLOAD, (422,))

        def raw(draw: random.Random) -> str:
            return self._raw(draw.randbytes(draw.randrange(200)) + b"\r\n\r\n")

        def half(draw: random.Random) -> str:
            data = _HEAD + b"Content-Length: 100000\r\n\r\n" + draw.randbytes(draw.randrange(5000))
            return self._raw(data[: draw.randrange(1, len(data))])

        def ask(method: str, path: str, expected: int, **headers: str) -> Callable[..., str]:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            body = b"x" * 100 if method in ("POST", "PUT") else None
            return lambda draw: self._status(method, path, body, named, (expected,))

        upload = UPLOAD["Content-Type"]
        return {
            "image": image,
            "self-test": self_test,
            "damaged image": damaged,
            "noise": noise,
            "bomb": lambda draw: self._status("POST", "/api/classify", bomb, UPLOAD, (422,)),
            "raw bytes": raw,
            "half a request": half,
            "page": ask("GET", "/", 200),
            "model": ask("GET", "/api/model", 200),
            "foreign host": ask("GET", "/api/model", 421, Host="evil.example"),
            "foreign origin": ask(
                "POST", "/api/classify", 403, Origin="http://evil.example", Content_Type=upload
            ),
            "form": ask("POST", "/api/classify", 415, Content_Type="text/plain"),
            "path": ask("GET", "/../../etc/passwd", 404),
            "method": ask("PUT", "/api/classify", 501, Content_Type=upload),
            "length": lambda draw: self._raw(_HEAD + b"Content-Length: 99999999\r\n\r\n", b" 413 "),
        }

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            with self._lock:
                self.busy += answer.status == 503
            found = json.loads(data) if "json" in answer.getheader("Content-Type", "") else data
            return answer.status, found
        finally:
            connection.close()

    def _status(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        expected: tuple[int, ...],
    ) -> str:
        try:
            status, told = self._ask(method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            return f"no answer ({type(error).__name__})"
        return "" if status in (*expected, 503) else f"{status}, not {expected}: {str(told)[:80]}"

    def _raw(self, data: bytes, expected: bytes = b"") -> str:
        """Bytes on a bare connection; whatever comes back, if anything, has to be HTTP."""
        found = bytearray()
        with socket.create_connection(("127.0.0.1", self.port), timeout=120) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(1 << 16):
                    found += part
            except ConnectionError:
                pass
        if found and not found.startswith(b"HTTP/1.1 "):
            return f"{bytes(found[:40])!r} is no HTTP"
        busy = found.startswith(b"HTTP/1.1 503 ")
        return "" if expected in found[:20] or busy else f"{bytes(found[:40])!r}"

    def growth(self) -> float:
        """Growth of the resident memory: the median of the last fifth over that after the first."""
        warm = [size for number, size in self.memory if number >= WARM * self._next]
        part = max(1, len(warm) // 4)
        return statistics.median(warm[-part:]) / statistics.median(warm[:part]) - 1


def resident(process: int) -> int:
    """Resident memory of a process in bytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(process)


def soak(
    model: Path, images: list[Path], requests: int, threads: int, seconds: float
) -> tuple[Soak, int]:
    """Start a server, soak it, end it with SIGINT; the soak and the server's exit code."""
    expected = predicted(model, images)
    command = [sys.executable, "-m", "edgecell", "serve", "--model", str(model), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None and server.stderr is not None
            port = urlsplit(server.stdout.readline().strip()).port
            assert port is not None, server.stderr.read()
            made = Soak(port, server.pid, expected, requests, seconds)
            made.run(threads)
            if made._status("GET", "/api/model", None, {}, (200,)):
                made.faults.append("the server does not answer at the end")
        finally:
            server.send_signal(signal.SIGINT)
        said = server.communicate(timeout=60)[1]
        made.faults += [line for line in said.splitlines() if "failed" in line]
    return made, server.returncode


def main() -> int:
    """The command line; 0 where nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=60, help="stop sending after this time")
    parser.add_argument("--output", type=Path, help="JSON to write")
    options = parser.parse_args()
    kinds = (".png", ".jpg", ".jpeg")
    images = sorted(p for p in options.images.rglob("*") if p.suffix.lower() in kinds)[:200]
    made, code = soak(
        options.model, images, options.requests, options.threads, 60 * options.minutes
    )
    sizes = [size / 1e6 for _, size in made.memory]
    sent = sum(made.counts.values())
    if sent < options.requests:
        made.faults.append(f"only {sent:,} of {options.requests:,} requests in the time given")
    print(f"{sent:,} requests: {dict(sorted(made.counts.items()))}")
    print(f"{made.answered:,} images answered, {made.busy:,} requests told that the server is busy")
    print(
        f"resident memory {sizes[0]:.1f} MB at the start, {sizes[-1]:.1f} at the end, {max(sizes):.1f} at most;"
        f" growth after the first fifth {100 * made.growth():+.2f} % (allowed {100 * GROWTH:g} %)"
    )
    print(f"wrong answers and other faults: {len(made.faults)}; exit code of the server {code}")
    for line in made.faults[:20]:
        print("  " + line)
    if options.output:
        report = {
            "requests": sent,
            "by_kind": dict(sorted(made.counts.items())),
            "images_answered": made.answered,
            "busy": made.busy,
            "faults": made.faults,
            "exit_code": code,
            "resident_mb": [round(size, 1) for size in sizes],
            "growth_after_warm_up": made.growth(),
        }
        options.output.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return int(bool(made.faults) or code != 0 or made.growth() > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
