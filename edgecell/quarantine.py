"""A model that nothing vouches for is tried in a process of its own before it is opened in this one.

What a native runtime does with a file that was damaged, or made to do harm, is not known beforehand: it
may crash, never end, or ask for all memory. In the child that ends as one line and an exit code. What is
tried is what will be done: load, allocate, one image; with and without XNNPACK. A Keras file is looked at
first, before TensorFlow is imported: that takes little of any file.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgecell import errors
from edgecell.disk import sha256_bytes, sha256_file
from edgecell.errors import ArtifactError, EdgecellError

MOST_MEMORY = 4_000_000_000
"""Bytes of address space that a model may take beside what the libraries have."""
MOST_CHECK_SECONDS = 5
"""Of processor time to look at what a Keras file holds; one more for each 100 MB."""
MOST_PROCESSOR_SECONDS = 8
"""Of processor time to open and to answer, or twice what importing the libraries took on a slower machine."""
BYTES_A_SECOND = 2_000_000
"""A larger file may take a second more for each so many bytes: ResNet50, 95 MB, takes 13 in all."""
MOST_MORE_SECONDS = 50
MOST_SECONDS = 300
"""By the clock, on a machine that has other things to do."""

_TRIED: set[str] = set()
_ROOT = Path(__file__).resolve().parents[1]
# Not '-m', which would put the working folder, where the file may lie, before the libraries.
_PROGRAM = "import sys; sys.path.append({root!r}); from edgecell.quarantine import main; main()"


def try_file(path: Path) -> None:
    """Try the model at ``path``, once in a process; a SavedModel is a folder.

    Raises:
        ArtifactError: it cannot be opened, it crashed the child, or took too long or too much memory.
        DataError, ConfigError: as opening it raises.
    """
    digest = sha256_file(path)
    if digest not in _TRIED:
        _judge(path.name, *_run(path))
        _TRIED.add(digest)


def try_bytes(model: bytes, name: str) -> None:
    """:func:`try_file` of a .tflite file that is in memory; ``name`` is for messages."""
    digest = sha256_bytes(model)
    if digest in _TRIED:
        return
    with tempfile.TemporaryDirectory(prefix="edgecell-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(model)
        _judge(name, *_run(path))
    _TRIED.add(digest)


def try_weights(path: Path) -> None:
    """Walk through an .h5 file of weights in a child process, once in a process.

    Raises:
        ArtifactError: damaged, it points outside of itself, or the child crashed or took too long.
    """
    digest = f"weights {sha256_file(path)}"
    if digest not in _TRIED:
        _judge(path.name, *_run(path, "weights"))
        _TRIED.add(digest)


def _run(path: Path, *how: str) -> tuple[int, str]:
    """The child's exit code, negative for a signal, and the last line that it said."""
    command = [
        sys.executable,
        "-P",
        "-c",
        _PROGRAM.format(root=str(_ROOT)),
        str(path.resolve()),
        *how,
    ]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=MOST_SECONDS,
            env=quiet,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return -signal.SIGXCPU, ""
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    return done.returncode, lines[-1] if lines else ""


def _judge(name: str, code: int, said: str) -> None:
    """Nothing where the child opened the model; else the error that it ended with."""
    if code == -signal.SIGXCPU:
        raise ArtifactError(
            f"{name} took more than a file of its size may take to open and to answer one image"
            f" ({MOST_PROCESSOR_SECONDS} s of processor time and one for each"
            f" {BYTES_A_SECOND // 1_000_000} MB, {MOST_SECONDS} s in all); it is not opened"
        )
    if code < 0:
        raise ArtifactError(
            f"{name} crashed the process that it was tried in ({signal_name(-code)}): it is damaged, or"
            " made to do harm; get it again from where it was made"
        )
    try:
        answer = json.loads(said)
        kind, text = answer["error"], answer["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{name} could not be tried in a process of its own (exit code {code}); it is not opened"
        ) from error
    if kind is None and code == 0:
        return
    known = getattr(errors, str(kind), ArtifactError)
    raise (known if issubclass(known, EdgecellError) else ArtifactError)(str(text))


def signal_name(number: int) -> str:
    """SIGSEGV for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def attempt(path: Path) -> None:
    """Open the model at ``path`` in this process and have it answer a black and a white image.

    Raises:
        ArtifactError: as :func:`edgecell.runtime.load_predictor`, or a model that answers no numbers.
    """
    import numpy as np

    from edgecell.runtime import KerasPredictor, TFLitePredictor, load_predictor

    first = load_predictor(path)
    predictors: list[KerasPredictor | TFLitePredictor] = [first]
    if isinstance(first, TFLitePredictor):
        predictors.append(TFLitePredictor(path, xnnpack=False))
    height, width = first.image_size
    images = np.stack([np.full((height, width, 3), u, np.uint8) for u in (0, 255)])
    for predictor in predictors:
        predictor.predict(images)


def attempt_weights(path: Path) -> None:
    """Walk through the HDF5 file at ``path`` in this process; ArtifactError as :func:`try_weights`."""
    from edgecell.keras_check import DAMAGE, check_hdf5
    from edgecell.keras_file import first_line

    try:
        with path.open("rb") as stream:
            check_hdf5(stream, path.stat().st_size)
    except DAMAGE as error:  # what is refused among them
        raise ArtifactError(f"the weights {path} are not read: {first_line(error)}") from error


def seconds_for(size: int, spent: float) -> float:
    """How long a file of ``size`` bytes may be opened, where importing the libraries took ``spent`` s."""
    return max(MOST_PROCESSOR_SECONDS, 2 * spent) + min(size / BYTES_A_SECOND, MOST_MORE_SECONDS)


def limit(seconds: float, *, for_good: bool) -> None:
    """Bound what this process may use from here on, beside what it has; else until the next call."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = math.ceil(time.process_time() + seconds)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (most, most + 5 if for_good else hard))
    pages = Path("/proc/self/statm")
    if pages.is_file():  # elsewhere than on Linux there is no such limit
        taken = int(pages.read_text().split()[0]) * resource.getpagesize()
        most = taken + MOST_MEMORY
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _unlimited() -> None:
    for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (hard, hard))


def _look(path: Path, how: Callable[[Path], None]) -> None:
    import edgecell.keras_check  # noqa: F401  h5py takes address space of its own

    limit(MOST_CHECK_SECONDS + path.stat().st_size / 100_000_000, for_good=False)
    how(path)
    _unlimited()


def _open(path: Path) -> None:
    of_keras = path.suffix.lower() != ".tflite"
    if of_keras and path.is_file():
        from edgecell.keras_file import look_at

        _look(path, look_at)
    import edgecell.runtime  # noqa: F401  the libraries take address space of their own

    if of_keras:
        import tf_keras  # noqa: F401
    limit(seconds_for(path.stat().st_size, time.process_time()), for_good=True)
    attempt(path)


def main() -> None:
    """The child: the path of one model, or of weights if it says so; answers one line of JSON."""
    path = Path(sys.argv[1])
    answer: dict[str, Any] = {"error": None, "text": ""}
    try:
        if sys.argv[2:] == ["weights"]:
            _look(path, attempt_weights)
        else:
            _open(path)
    except EdgecellError as error:
        answer = {"error": type(error).__name__, "text": str(error)}
    except MemoryError:
        text = f"{path.name} needs more than {MOST_MEMORY / 1e9:.0f} GB; it is not opened"
        answer = {"error": "ArtifactError", "text": text}
    except Exception as error:  # a model can end in any error, and the parent is to hear of it
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        answer = {"error": "ArtifactError", "text": f"{path.name} cannot be used ({said})"}
    print(json.dumps(answer), flush=True)
    os._exit(0)  # not through the destructors of what a hostile file has made
