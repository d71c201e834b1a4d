"""The released files in clients of other people, on all test images: do they answer as ``edgecell evaluate``?

    python tests/clients_agree.py --shared ../shared --output artifacts/clients.json --page docs/bundle.md

Each file is bundled; its clients then get the test images twice, in the model's size and as they are. Ends with
exit code 1 where a client that got the model's own pixels has another top-1 than ``edgecell evaluate``, or where
one that got the originals agrees on fewer than 99.5 %. MediaPipe's Python is that of EDGECELL_MEDIAPIPE_PYTHON.

Images smaller than the model are what ``edgecell quantize --resize-in-graph`` is for: its files are asked too, and
held against the files they were made from. Those are then shown, but need not agree on the originals.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from chromium import PROGRAM, Tab, browser
from PIL import Image

from benchmarks.devices import litert_js, npm
from edgecell.config import DataConfig
from edgecell.data import load_dataset
from edgecell.data.types import Split
from edgecell.disk import atomic_write_json, atomic_write_text, sha256_file
from edgecell.metrics.intervals import wilson_interval
from edgecell.preprocess import PreprocessSpec, decode_file, resize

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = Path(__file__).resolve().parent / "clients"
RUNS = {"pbc128": "pbc128", "pbc28": "pbc28.npz"}
"""Released runs and their images in the shared folder."""
KINDS = ("int8-search", "float16")
INSIDE = {"pbc28": "28px"}
"""Runs whose images are smaller than the model → what their files with the resize inside end in."""
MODEL_SIZED, ORIGINAL = "model-sized", "originals"
LEAST = {MODEL_SIZED: 1.0, ORIGINAL: 0.995}
_TURN = 40  # images that a page is asked for at a time


@dataclass(frozen=True)
class Given:
    """A bundle and its test images: files, and what ``edgecell evaluate`` says of them.

    ``probabilities`` are (N, C), ``files`` by how they are fed N paths below ``site``, which also holds
    the bundle of ``model``. ``before`` is what the file without the resize inside says, where this has one.
    """

    site: Path
    model: Path
    labels: tuple[str, ...]
    probabilities: np.ndarray
    files: dict[str, list[Path]]
    before: np.ndarray | None = None

    @property
    def bundle(self) -> Path:
        return self.site / "bundle"

    def addresses(self, fed: str) -> list[str]:
        return [f"/{path.relative_to(self.site).as_posix()}" for path in self.files[fed]]


def kinds_of(run: str) -> tuple[str, ...]:
    """The files of a run that are asked, with those that resize inside."""
    return (*KINDS, *(f"{kind}-{INSIDE[run]}" for kind in KINDS if run in INSIDE))


def source_of(run: str, kind: str) -> str | None:
    """The kind of the file that one with the resize inside was made from; None of any other."""
    base = kind.removesuffix(f"-{INSIDE.get(run, '')}")
    return base if base != kind else None


def prepared(run: Path, kind: str, data: Path, limit: int, scratch: Path) -> Given:
    """Bundle a file of a run, evaluate it, and write its test images; every so many-eth with a limit."""
    base = source_of(run.name, kind)
    if base is not None:
        run = Path(shutil.copytree(run, scratch / f"{kind}-run" / run.name))
        source = run / "quantize" / f"{run.name}-{base}.tflite"
        _edgecell("quantize", source, "--resize-in-graph", "--data", data)
        _edgecell("verify", source.with_name(f"{run.name}-{kind}.tflite"), "--data", data)
    model = run / "quantize" / f"{run.name}-{kind}.tflite"
    site = scratch / f"{run.name}-{kind}"
    site.mkdir()
    flags = ["--target", "all", "--golden", "synthetic", "--output", site]
    done = json.loads(_edgecell("bundle", model, *flags, "--json"))
    (site / done["results"]["name"]).rename(site / "bundle")
    told = _evaluated(model, data, scratch / f"{site.name}-evaluated")
    split = load_dataset(DataConfig(source=str(data))).test
    rows = np.arange(len(split))
    if limit:
        rows = np.unique(np.linspace(0, len(split) - 1, limit).astype(int))
    chosen = [told[row] for row in rows]
    before = None
    if base is not None:
        plain = _evaluated(source, data, scratch / f"{site.name}-before")
        before = np.array([plain[row]["probabilities"] for row in rows])
    probabilities = np.array([image["probabilities"] for image in chosen])
    card = json.loads((site / "bundle" / "model.json").read_text(encoding="utf-8"))
    size = card["preprocessing"]["resize"]
    spec = PreprocessSpec(size["height"], size["width"], card["preprocessing"]["fit"]["mode"])
    named = {row: data / image["image"] for row, image in zip(rows, chosen, strict=True)}
    files = _images(split, named, spec, site)
    return Given(site, model, tuple(card["labels"]), probabilities, files, before)


def _evaluated(model: Path, data: Path, answers: Path) -> list[dict[str, Any]]:
    _edgecell("evaluate", model, "--split", "test", "--data", data, "--output", answers)
    [said] = answers.glob(f"evaluate/{model.stem}-test/predictions.json")
    return list(json.loads(said.read_text(encoding="utf-8"))["images"])


def _edgecell(*words: Any) -> str:
    command = [sys.executable, "-m", "edgecell", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def _images(
    split: Split, named: dict[int, Path], spec: PreprocessSpec, site: Path
) -> dict[str, list[Path]]:
    """The originals, linked where they are files and else written as PNG, and the model's own pixels."""
    files: dict[str, list[Path]] = {MODEL_SIZED: [], ORIGINAL: []}
    for folder in files:
        (site / folder).mkdir()
    for row, file in named.items():
        original = site / ORIGINAL / f"{row:05d}{file.suffix if file.is_file() else '.png'}"
        if file.is_file():
            original.symlink_to(file.resolve())
        else:
            Image.fromarray(split.source.read(row)).save(original)
        seen = resize(decode_file(original), spec)
        files[ORIGINAL].append(original)
        files[MODEL_SIZED].append(site / MODEL_SIZED / f"{row:05d}.png")
        Image.fromarray(seen).save(files[MODEL_SIZED][-1])
    return files


# ------------------------------------------------------------------------------------- clients

Ask = Callable[[Given, str], np.ndarray]
"""A bundle's images, fed in one way → scores (N, C) in the order of the labels."""


@dataclass(frozen=True)
class Client:
    """Somebody's program that runs a .tflite file."""

    name: str
    version: str
    ask: Ask


def python_sample(given: Given, fed: str) -> np.ndarray:
    """ai-edge-litert, by the bundle's one-file sample."""
    path = given.bundle / "samples" / "python" / "classify.py"
    spec = importlib.util.spec_from_file_location("classify", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["classify"] = module
    spec.loader.exec_module(module)
    model = module.Classifier(given.bundle)
    return np.array([model.probabilities(path) for path in given.files[fed]])


def mediapipe_python(python: str) -> Ask:
    """MediaPipe Tasks' ImageClassifier in a Python that has it."""

    def ask(given: Given, fed: str) -> np.ndarray:
        names = given.site / "files.txt"
        names.write_text("\n".join(map(str, given.files[fed])), encoding="utf-8")
        command = [python, PAGES.with_name("mediapipe_client.py"), given.bundle / "model.tflite"]
        done = subprocess.run([*command, names], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        return _ordered(json.loads(done.stdout)["scores"], given.labels)

    return ask


def tasks_vision(tab: Tab) -> Ask:
    """MediaPipe's ImageClassifier in Chromium."""

    def ask(given: Given, fed: str) -> np.ndarray:
        for name, target in (
            ("tasks_vision.html", PAGES / "tasks_vision.html"),
            ("packages", npm.installed(PAGES, "clients")),
        ):
            if not (given.site / name).exists():
                (given.site / name).symlink_to(target)
        with served(given.site) as address:
            tab.show(f"{address}/tasks_vision.html")
            tab.until("window.ready !== undefined")
            assert tab.js("ready"), tab.errors
            return _ordered(_in_turns(tab, "answers", given.addresses(fed)), given.labels)

    return ask


def web_sample(tab: Tab) -> Ask:
    """LiteRT.js in Chromium, by the bundle's page."""

    def ask(given: Given, fed: str) -> np.ndarray:
        web = given.bundle / "samples" / "web"
        if not (web / "node_modules").exists():
            (web / "node_modules").symlink_to(litert_js.packages())
            page = (web / "index.html").read_text(encoding="utf-8")
            program = '<script type="module" src="app.js"></script>'
            assert page.count(program) == 1
            (web / "bare.html").write_text(page.replace(program, ""), encoding="utf-8")
        with served(given.site) as address:
            tab.show(f"{address}/bundle/samples/web/bare.html")
            tab.js(
                """(async () => {
                  const { Classifier } = await import(new URL("classifier.js", document.baseURI));
                  const classifier = await Classifier.open(new URL("../../", document.baseURI));
                  window.answers = async (names) => {
                    const found = [];
                    for (const name of names) {
                      const blob = await (await fetch(name)).blob();
                      found.push((await classifier.predict(blob)).probabilities);
                    }
                    return found;
                  };
                })()"""
            )
            return np.array(_in_turns(tab, "answers", given.addresses(fed)))

    return ask


def _in_turns(tab: Tab, function: str, names: Sequence[str]) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(names), _TURN):
        found += tab.js(f"{function}({json.dumps(names[start : start + _TURN])})")
    return found


def _ordered(rows: list[dict[str, float]], labels: Sequence[str]) -> np.ndarray:
    return np.array([[row[label] for label in labels] for row in rows])


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder on loopback; its address."""
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@contextmanager
def clients(scratch: Path, mediapipe: str | None) -> Iterator[list[Client]]:
    """The clients of this machine; ``mediapipe`` is a Python that has it."""
    found = [Client("Python sample: ai-edge-litert", version("ai-edge-litert"), python_sample)]
    if mediapipe:
        code = "import mediapipe; print(mediapipe.__version__)"
        told = subprocess.run([mediapipe, "-c", code], capture_output=True, text=True, check=True)
        ask = mediapipe_python(mediapipe)
        found.append(Client("MediaPipe Tasks in Python: mediapipe", told.stdout.strip(), ask))
    if PROGRAM is None:
        yield found
        return
    pinned = json.loads((PAGES / "package.json").read_text(encoding="utf-8"))["dependencies"]
    with browser(scratch / "profile") as started:
        tab = started.tab()
        yield [
            *found,
            Client(
                "MediaPipe Tasks in Chromium: tasks-vision",
                pinned["@mediapipe/tasks-vision"],
                tasks_vision(tab),
            ),
            Client("web sample in Chromium: LiteRT.js", litert_js.version(), web_sample(tab)),
        ]


# ------------------------------------------------------------------------------------- results


def compared(given: Given, scores: np.ndarray) -> dict[str, Any]:
    """Top-1 agreement of a client's scores (N, C) with ``edgecell evaluate``, and the largest difference.

    "before" is the same against the file without the resize inside, where this has one.
    """
    found = {"n": len(scores)} | _against(given.probabilities, scores)
    return found | ({} if given.before is None else {"before": _against(given.before, scores)})


def _against(expected: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    same = int((scores.argmax(1) == expected.argmax(1)).sum())
    low, high = wilson_interval(same, len(scores)) or (0.0, 0.0)
    return {
        "same_top1": same,
        "agreement": same / len(scores),
        "interval_95": [low, high],
        "largest_difference": float(np.abs(scores - expected).max()),
    }


def below(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What falls short of LEAST, in words.

    A file that there is one with the resize inside of is not meant to get the originals; that one must
    agree on them with both.
    """
    replaced = {row["made_from"] for row in rows if "made_from" in row}
    lines = []
    for row in rows:
        if row["file"] in replaced and row["fed"] == ORIGINAL:
            continue
        who = f"{row['client']}, {row['file']}, {row['fed']}"
        if row["agreement"] < LEAST[row["fed"]]:
            lines.append(f"{who}: {row['agreement']:.4f} < {LEAST[row['fed']]}")
        if "before" in row and row["before"]["agreement"] < LEAST[ORIGINAL]:
            agreement = row["before"]["agreement"]
            lines.append(f"{who}, against {row['made_from']}: {agreement:.4f} < {LEAST[ORIGINAL]}")
    return lines


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, a row for each client; docs/bundle.md holds it."""
    files = list(dict.fromkeys(row["file"] for row in rows))
    lines = [
        f"| client | the model's own pixels | {' | '.join(f'{Path(f).stem}, originals' for f in files)} |",
        f"| --- | --- |{' --- |' * len(files)}",
    ]
    for client in dict.fromkeys(f"{row['client']} {row['version']}" for row in rows):
        own = [row for row in rows if f"{row['client']} {row['version']}" == client]
        same = [row for row in own if row["fed"] == MODEL_SIZED]
        worst = min(same, key=lambda row: row["agreement"])
        furthest = max(row["largest_difference"] for row in same)
        cells = [f"{_share(worst)}, scores within {furthest:.1g}"]
        cells += [
            _share(row) + _moved(row) + _before(row)
            for file in files
            for row in own
            if (row["file"], row["fed"]) == (file, ORIGINAL)
        ]
        lines.append(f"| {client} | {' | '.join(cells)} |")
    return "\n".join(lines)


def put_into(page: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Replace the table in a page by one of ``rows``."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(
        r"^\| client \| the model's own pixels \|.*?\n(?=\n)", text, flags=re.M | re.S
    )
    if len(found) != 1:
        raise SystemExit(f"{page} holds {len(found)} tables of clients, not one")
    atomic_write_text(page, text.replace(found[0], table(rows) + "\n"))


def _share(row: dict[str, Any]) -> str:
    low, high = row["interval_95"]
    return f"{row['agreement']:.4f} [{low:.3f}, {high:.3f}]"


def _moved(row: dict[str, Any]) -> str:
    """How far a score moved, where it did by more than another build's last bits."""
    largest = row["largest_difference"]
    return f", by up to {largest:.2f}" if largest > 1e-4 else ""


def _kept(output: Path, measured: set[str]) -> list[dict[str, Any]]:
    """Rows of files that were not asked this time."""
    if not output.exists():
        return []
    before = json.loads(output.read_text(encoding="utf-8"))["rows"]
    return [row for row in before if row["file"] not in measured]


def _before(row: dict[str, Any]) -> str:
    """The same against the file without the resize inside."""
    if "before" not in row:
        return ""
    return f"; with the file it was made from {_share(row['before'])}{_moved(row['before'])}"


def main() -> int:
    """The command line; 0 where nothing falls short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    shared = Path(os.environ.get("EDGECELL_SHARED", REPOSITORY.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared, help="folder with data/")
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--kinds", nargs="+", help="only these files; other rows of --output stay")
    parser.add_argument("--limit", type=int, default=0, help="this many test images; 0 is all")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write")
    parser.add_argument("--page", type=Path, help="Markdown page whose table to renew")
    options = parser.parse_args()
    mediapipe = os.environ.get("EDGECELL_MEDIAPIPE_PYTHON")
    rows = []
    with tempfile.TemporaryDirectory() as name, clients(Path(name), mediapipe) as known:
        for run in options.runs:
            for kind in kinds_of(run):
                if options.kinds and kind not in options.kinds:
                    continue
                data = options.shared / "data" / RUNS[run]
                home = REPOSITORY / "artifacts" / run
                given = prepared(home, kind, data, options.limit, Path(name))
                facts = {"file": given.model.name, "sha256": sha256_file(given.model)}
                base = source_of(run, kind)
                facts |= {} if base is None else {"made_from": f"{run}-{base}.tflite"}
                for client in known:
                    who = {"client": client.name, "version": client.version}
                    for fed in LEAST:
                        found = compared(given, client.ask(given, fed))
                        rows.append(facts | who | {"fed": fed} | found)
                        print(json.dumps(rows[-1]), file=sys.stderr)
    rows = [*_kept(options.output, {row["file"] for row in rows}), *rows]
    short = below(rows)
    report = {"rows": rows, "short": short, "without_mediapipe_python": mediapipe is None}
    atomic_write_json(options.output, report)
    if options.page:
        put_into(options.page, rows)
    print(table(rows))
    print("\n".join(["", *short] if short else ["", "nothing falls short"]))
    return int(bool(short))


if __name__ == "__main__":
    sys.exit(main())
