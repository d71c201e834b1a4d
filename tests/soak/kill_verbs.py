"""kill -9 at random moments: every verb that writes, again and again, then compared with an undisturbed run.

``python tests/soak/kill_verbs.py FOLDER --kills 105 --seed 1`` prints one line a kill and writes
FOLDER/kills.json. Half of the moments are a random second of the command, half a random access to a
file below its folder, so that writing and renaming are hit too. After each kill the audit must find
nothing altered, missing or stale, and every few kills the same command must go to its end and leave
what an undisturbed one leaves. Commands run in forks of this process, which has imported TensorFlow
and computed nothing: a kill then costs a second and not half a minute.
"""

from __future__ import annotations

import argparse
import hashlib
import http.server
import io
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from edgecell.custody import audit_run
from edgecell.errors import ArtifactError

TIMEOUT_SECONDS = 600
AGAIN = 3
"""After so many kills of one folder the command is left to come to its end."""

_TRAINING = [
    *("--model", "simple_cnn", "--image-size", "28", "--weights", "none"),
    *("--head-epochs", "0", "--batch-size", "16", "--deterministic"),
]
_EPOCHS = [*_TRAINING, "--epochs", "3"]
_WATCHED = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")


@dataclass(frozen=True)
class Case:
    """A verb: what its folder holds before, its words, and what its result comes down to."""

    verb: str
    base: Path | None
    words: Callable[[Path], list[str]]
    outcome: Callable[[Path], Any]


class DisturbedError(Exception):
    """A kill left what it must not, or the end is another than that of an undisturbed run."""


def save_images(path: Path) -> Path:
    """Three colours in MedMNIST layout: 48, 18 and 18 images of 16 × 16."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {"class_names": np.array(["red", "green", "blue"])}
    for split, count in {"train": 48, "val": 18, "test": 18}.items():
        labels = np.arange(count) % 3
        images = rng.integers(0, 90, (count, 16, 16, 3), dtype=np.uint8)
        images[np.arange(count), :, :, labels] += 100
        arrays |= {f"{split}_images": images, f"{split}_labels": labels[:, None].astype(np.uint8)}
    np.savez(path, **arrays)
    return path


# ------------------------------------------------------------------- what a result comes down to


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _record(folder: Path, verb: str) -> Any:
    return json.loads((folder / verb / "record.json").read_text())


def trained(run: Path) -> Any:
    """History without times, and every array of the model."""
    history = json.loads((run / "train/history.json").read_text())
    arrays: dict[str, str] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = hashlib.sha256(item[()].tobytes()).hexdigest()

    with zipfile.ZipFile(run / "train/model.keras") as archive:
        weights = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(weights) as stored:
        stored.visititems(note)
    return [{k: v for k, v in e.items() if k != "seconds"} for e in history], arrays


def quantized(run: Path) -> Any:
    """Bytes of every file, and of the calibration manifest."""
    files = sorted((run / "quantize").glob("*.tflite"))
    return {p.name: _digest(p) for p in (*files, run / "quantize/calibration.json")}


def slimmed(run: Path) -> Any:
    """Bytes of every file, and how each fine-tuning went."""
    histories = {p.name: _digest(p) for p in (run / "quantize").glob("*-history.json")}
    return quantized(run) | histories


def benched(run: Path) -> Any:
    """Quality and identity of each model; times are never the same."""
    models = _record(run, "bench")["results"]["models"]
    return [[m["sha256"], m["quality"]["accuracy"], m["quality"]["macro_f1"]] for m in models]


def tuned(run: Path) -> Any:
    """Settings and figure of each finished trial, in order. How often one was tried again is chance."""
    rows = _record(run, "tune")["results"]["trials"]
    done = [row for row in rows if row["state"] == "finished"]
    return [[row["values"], row["score"]["value"]] for row in done]


def swept(run: Path) -> Any:
    """Each cell's file and quality."""
    cells = _record(run, "sweep")["results"]["cells"]
    return sorted([cell["name"], cell["sha256"], cell["accuracy"]["value"]] for cell in cells)


def bundled(run: Path) -> Any:
    """The bytes of the zip."""
    return {path.name: _digest(path) for path in (run / "bundle").glob("*.zip")}


def downloaded(folder: Path) -> Any:
    """All files that are there."""
    return {path.name: _digest(path) for path in folder.iterdir()}


# ------------------------------------------------------------------------------------ forked runs


def fork(words: list[str], log: Path, *, below: Path, accesses: int = 0) -> int:
    """``edgecell WORDS`` in a fork; it kills itself at its n-th access to a file below a folder.

    One that comes to its end writes beside its log how many accesses there were.
    """
    process = os.fork()
    if process:
        return process
    os.setpgid(0, 0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    seen = [0]
    sys.addaudithook(_deadly(str(below), accesses, seen))
    from edgecell.cli import main

    os.environ["EDGECELL_VERBOSE"] = "1"
    code = 1
    try:
        main(words)
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        log.with_suffix(".accesses").write_text(str(seen[0]))
        os._exit(code)  # nothing of this program's own is to run twice
    raise AssertionError("unreachable")


def _deadly(folder: str, accesses: int, seen: list[int]) -> Callable[[str, tuple[Any, ...]], None]:
    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _WATCHED:
            return
        paths = [os.fsdecode(a) for a in arguments if isinstance(a, (str, bytes, os.PathLike))]
        if any(path.startswith(folder) for path in paths):
            seen[0] += 1
            if seen[0] == accesses:
                os.kill(os.getpid(), signal.SIGKILL)

    return count


def finish(process: int, seconds: float) -> int:
    """Wait; after ``seconds`` kill it. The exit code, -9 for a killed one."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def complete(case: Case, folder: Path, log: Path) -> float:
    """The command to its end; the seconds it took."""
    begun = time.monotonic()
    code = finish(fork(case.words(folder), log, below=folder), TIMEOUT_SECONDS)
    if code != 0:
        raise DisturbedError(f"{case.verb} ended with {code}: {log.read_text()[-2000:]}")
    return time.monotonic() - begun


# ------------------------------------------------------------------------------------------ kills


def check(folder: Path) -> None:
    """DisturbedError where a record vouches for a file that is not whole."""
    try:
        found = audit_run(folder)
    except ArtifactError as error:
        if "holds no record" in str(error) or "no run folder" in str(error):
            return
        raise
    if found.broken:
        raise DisturbedError(f"{folder}: {found.broken}")


def prepare(case: Case, folder: Path) -> Path:
    """A fresh folder for a command."""
    shutil.rmtree(folder, ignore_errors=True)
    if case.base is not None:
        shutil.copytree(case.base, folder)
    elif case.verb == "download":
        folder.mkdir()
    return folder


def disturb(case: Case, work: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    """Kill ``case`` that often; what happened."""
    log, folder = work / "last.log", work / "folder"
    duration = complete(case, prepare(case, folder), log)
    accesses = int(log.with_suffix(".accesses").read_text())
    expected = case.outcome(folder)
    check(folder)
    killed, whole, moments = 0, 0, Counter[str]()
    while killed < kills:
        prepare(case, folder)
        for nth_try in range(AGAIN):
            by_access = killed % 2 == 0
            nth = rng.randint(1, accesses) if by_access else 0
            begun = time.monotonic()
            process = fork(case.words(folder), log, below=folder, accesses=nth)
            code = finish(process, TIMEOUT_SECONDS if by_access else rng.uniform(0, duration))
            if code == 0:  # at its end before its moment
                if nth_try == 0:
                    duration = min(duration, time.monotonic() - begun)
                break
            if code != -signal.SIGKILL:
                raise DisturbedError(f"{case.verb} ended with {code}: {log.read_text()[-2000:]}")
            killed += 1
            moments["access" if by_access else "second"] += 1
            check(folder)
            print(f"{case.verb} kill {killed}: {_left(folder)}", flush=True)
            if killed >= kills:
                break
        complete(case, folder, log)
        check(folder)
        found = case.outcome(folder)
        if found != expected:
            raise DisturbedError(f"{case.verb}: {found} instead of {expected}")
        left = [
            str(p) for name in ("*.tmp", "*.former", "*.lock", "state") for p in folder.rglob(name)
        ]
        if left:
            raise DisturbedError(f"{case.verb} left {left}")
        whole += 1
    return {"kills": killed, "compared": whole, "seconds": round(duration, 2), **moments}


def _left(folder: Path) -> str:
    if not folder.is_dir():
        return "nothing yet"
    files = [path for path in folder.rglob("*") if path.is_file()]
    records = sum(path.name == "record.json" for path in files)
    temporary = sum(path.name.endswith(".tmp") for path in files)
    return f"{len(files)} files, {records} records, {temporary} half-written"


# ------------------------------------------------------------------------------------------ cases


@contextmanager
def server(content: bytes) -> Iterator[str]:
    """A loopback server that hands ``content`` out in small pieces; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            try:
                for at in range(0, len(content), 4096):
                    self.wfile.write(content[at : at + 4096])
                    time.sleep(0.005)
            except OSError:
                return

        def log_message(self, format: str, *arguments: Any) -> None:
            return

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{served.server_port}/bloodmnist.npz"
    finally:
        served.shutdown()


def offer(url: str, content: bytes) -> None:
    """Let the catalogue of this process name ``url`` for BloodMNIST."""
    from edgecell.data import medmnist_files

    entry = medmnist_files.catalog()["bloodmnist"]
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    remote = replace(entry.files[28], url=url, md5=md5)
    changed = replace(entry, files={**entry.files, 28: remote})
    medmnist_files.catalog = lambda: {"bloodmnist": changed}


def cases(work: Path, images: Path, *, only_download: bool) -> dict[str, Case]:
    """Every verb; the runs that they start from are made here, undisturbed."""
    download = Case(
        "download", None, lambda f: ["data", "fetch", "bloodmnist", "--root", str(f)], downloaded
    )
    if only_download:
        return {"download": download}
    data = ["--data", str(images)]

    def output(verb: str, *words: str) -> Callable[[Path], list[str]]:
        return lambda folder: [verb, *words, "--output", str(folder)]

    train = Case("train", None, output("train", *data, *_EPOCHS), trained)
    log, base, converted = work / "base.log", work / "base", work / "converted"
    quantize = Case(
        "quantize",
        base,
        lambda f: ["quantize", str(f), "--float32", "--int8", "--calibration-images", "16"],
        quantized,
    )
    thin = ["--prune", "0.5", "--prune-epochs", "1", "--cluster", "8", "--cluster-epochs", "1"]
    slim = Case(
        "slim",
        work / "slim-before",
        lambda f: ["quantize", str(f), "--int8", "--calibration-images", "16", *thin],
        slimmed,
    )
    complete(train, prepare(train, base), log)
    complete(quantize, prepare(quantize, converted), log)
    # Of what is made a second time, the files of the first are in its record while they are replaced.
    complete(slim, prepare(replace(slim, base=base), work / "slim-before"), log)
    int8 = next((converted / "quantize").glob("*-int8.tflite")).name
    space = work / "space.toml"
    space.write_text('[space]\n"train.learning_rate" = { low = 1e-4, high = 1e-2, log = true }\n')
    tune = [str(space), "--trials", "3", "--heartbeat", "1", "--pruner", "none"]
    grid = ["--precision", "float32,int8", "--heartbeat", "1", "--jobs", "1", "--quick"]
    bench = ["--runs", "10", "--seconds", "0", "--unverified"]
    made = {
        "train": train,
        "tune": Case(
            "tune", None, output("tune", *data, *_TRAINING, "--epochs", "2", *tune), tuned
        ),
        "quantize": quantize,
        "slim": slim,
        "bench": Case(
            "bench",
            converted,
            lambda f: ["bench", "--model", str(f / "quantize" / int8), *bench],
            benched,
        ),
        "sweep": Case("sweep", None, output("sweep", *data, *_EPOCHS, *grid), swept),
        "bundle": Case(
            "bundle",
            converted,
            lambda f: ["bundle", str(f / "quantize" / int8), "--target", "python", "--unverified"],
            bundled,
        ),
        "download": download,
    }
    return made


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the kills; what happened, by verb."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=105, help="in total, shared out evenly")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verb", action="append", help="only this one; repeatable")
    asked = parser.parse_args(arguments)
    if asked.verb != ["download"]:
        for module in ("running", "benching", "bundling", "conversion", "sweeping", "tuning"):
            import_module(f"edgecell.pipeline.{module}")  # TensorFlow, once for all forks

    work = asked.folder.resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.chdir(work)
    images = save_images(work / "colours.npz")
    content = images.read_bytes() * 8
    report: dict[str, Any] = {"seed": asked.seed}
    with server(content) as url:
        offer(url, content)
        every = cases(work, images, only_download=asked.verb == ["download"])
        verbs = asked.verb or list(every)
        for position, verb in enumerate(verbs):
            share = asked.kills // len(verbs) + (position < asked.kills % len(verbs))
            place = work / verb
            place.mkdir(exist_ok=True)
            rng = random.Random(f"{asked.seed} {verb}")
            try:
                report[verb] = disturb(every[verb], place, share, rng)
            except DisturbedError as error:  # the other verbs are to be heard too
                report[verb] = {"failed": str(error)}
                place.rename(work / f"{verb}-failed-{time.time_ns()}")
            (work / "kills.json").write_text(json.dumps(report, indent=2))
            print(f"{verb}: {report[verb]}", flush=True)
    return report


def failed(report: dict[str, Any]) -> list[str]:
    """Verbs that a kill disturbed."""
    return [verb for verb, found in report.items() if verb != "seed" and "failed" in found]


if __name__ == "__main__":
    sys.exit(1 if failed(main()) else 0)
