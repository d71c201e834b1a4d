"""Recipes, records and tables."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from PIL import Image

from edgecell.config import DataConfig
from edgecell.config_file import from_toml, load_config, to_toml
from edgecell.data import load_dataset
from edgecell.disk import sha256_file
from edgecell.pipeline.lookup import entry_of, passing_hashes, trained_labels
from edgecell.pipeline.pairing import files_of
from edgecell.pipeline.reporting import write_report
from edgecell.record import Measurement
from edgecell.rundir import RunDir

from . import mutate
from .harness import SilentAcceptance

Say = Callable[[str], None]
REPOSITORY = Path(__file__).resolve().parents[2]
RELEASED = REPOSITORY / "artifacts" / "pbc28"


class Toml:
    """Recipes and search spaces."""

    name = "toml"

    def prepare(self, folder: Path) -> None:
        """The recipes and spaces that come with edgecell, and a released run's configuration."""
        shipped = [*(REPOSITORY / "edgecell").glob("recipes/*.toml")]
        shipped += [*(REPOSITORY / "edgecell").glob("tuning/*.toml"), RELEASED / "config.toml"]
        self.texts = [path.read_bytes() for path in shipped]
        self.trees = [json.loads(json.dumps(_plain(text))) for text in self.texts]
        self.words = [
            b"[",
            b"]]",
            b"[[",
            b'"""',
            b"'''",
            b"{",
            b"a.a.",
            b"= [",
            b"\\u0000",
            b"1_",
            b"0x",
        ]

    def make(self, rand: random.Random) -> bytes:
        """Half of them text, half the tables."""
        what = rand.random()
        if what < 0.02:
            return rand.choice(
                (b"a = " + b"[" * 50_000, b"a." * 60_000 + b"a = 1", b"a = " + b"9" * 9000)
            )
        if what < 0.5:
            return mutate.mutated(rand, rand.choice(self.texts), self.texts, self.words)
        try:
            changed = mutate.tree(rand, rand.choice(self.trees))
            return tomli_w.dumps(_without_none(changed)).encode("utf-8", "surrogatepass")
        except (TypeError, ValueError, AttributeError, RecursionError):
            return mutate.mutated(rand, rand.choice(self.texts), self.texts, self.words)

    def feed(self, data: bytes, folder: Path, say: Say) -> None:
        """As a recipe, whose configuration is written and read again, or as a search space."""
        from edgecell.tuning.space import load_space

        path = folder / "fuzzed.toml"
        path.write_bytes(data)
        if b"[space]" in data:
            load_space(path)
            return
        config = load_config(path)
        if from_toml(to_toml(config), "the copy") != config and b"nan" not in data:
            raise AssertionError("a configuration that is another one when it is read again")


class Record:
    """A released run with one of its records altered, and bench.json beside it."""

    name = "record"

    def prepare(self, folder: Path) -> None:
        """A copy of the run whose files are links, and its records."""
        self.run = folder / "run"
        self.run.mkdir(exist_ok=True)
        for path in sorted(RELEASED.rglob("*")):
            copy = self.run / path.relative_to(RELEASED)
            if path.is_dir():
                copy.mkdir(parents=True, exist_ok=True)
            elif not copy.exists():
                copy.symlink_to(path)
        self.records = sorted(p.relative_to(RELEASED) for p in RELEASED.rglob("record.json"))
        self.texts = [(RELEASED / name).read_bytes() for name in self.records]
        self.trees = [json.loads(text) for text in self.texts]
        self.words = [*mutate.TEXTS, "passed", {"value": None}, {"value": 1, "unit": "x"}]

    def make(self, rand: random.Random) -> bytes:
        """A byte that says which record, then its content."""
        which = rand.randrange(len(self.records))
        if rand.random() < 0.3:
            words = [
                b"[" * 5000,
                b"NaN",
                b"1e999",
                b'{"a":' * 3000,
                b"9" * 5000,
                b'"\\ud800"',
                b"null",
            ]
            return bytes([which]) + mutate.mutated(rand, self.texts[which], self.texts, words)
        try:
            changed = json.dumps(mutate.tree(rand, self.trees[which], self.words))
        except RecursionError:  # ours, of something nested 3,000 deep
            changed = '{"a":' * 3000 + "1" + "}" * 3000
        return bytes([which]) + changed.encode()

    def feed(self, data: bytes, folder: Path, say: Say) -> None:
        """All that reads records: what predict, verify, report and compare ask of them."""
        from edgecell.pipeline.comparing import compare_paths

        name = self.records[data[0] % len(self.records)]
        path = self.run / name
        original = path.resolve() if path.is_symlink() else RELEASED / name
        path.unlink()
        path.write_bytes(data[1:])
        try:
            self._read(RunDir(self.run), str(name.parent), data)
            if name.parts[0] == "bench":
                compare_paths([self.run, RELEASED], None, folder / "compare")
        finally:
            path.unlink()
            path.symlink_to(original)

    def _read(self, run: RunDir, stage: str, data: bytes) -> None:
        record = run.read_record(stage)
        if stage == "train":
            trained_labels(record)
        if stage == "quantize":
            for entry in files_of(run):
                told = record["outputs"][f"quantize/{entry['file']}"]
                if sha256_file(entry["path"]) != told:
                    raise SilentAcceptance(f"{entry['file']} has another hash than recorded")
        if stage in ("verify", "calibrate"):
            passing_hashes(run)
            entry_of(record, "0" * 64)
        if data[-20] % 8 == 0:  # a page takes as long as fifty of the others
            write_report(run)
            (run.path / "report.html").unlink()
        Measurement.from_json(record["results"].get("val_accuracy", {"value": 1, "unit": "1"}))


class Csv:
    """Tables of images."""

    name = "csv"

    def prepare(self, folder: Path) -> None:
        """Twelve images, and three tables that list them."""
        (folder / "cells").mkdir(parents=True, exist_ok=True)
        for i in range(12):
            pixels = np.full((8, 8, 3), 20 * i, np.uint8)
            Image.fromarray(pixels).save(folder / "cells" / f"{i}.png")
        full = [["path", "label", "split", "patient"]]
        full += [
            [
                f"cells/{i}.png",
                "ab"[i % 2],
                ("train", "train", "val", "test")[i % 4 if i > 3 else 0],
                f"p{i}",
            ]
            for i in range(12)
        ]
        short = [row[:2] for row in full]
        official = [["TRAIN", f"cells/{i}.png", str(i % 2)] for i in range(12)]
        self.tables = [full, short, official]
        self.texts = [_table(rows, d) for rows in self.tables for d in ",;\t"]
        self.words = [
            b'"',
            b"\0",
            b"\r",
            b"\n",
            b",,,",
            b'""',
            b"\xff\xfe",
            b"\xef\xbb\xbf",
            b"x" * 200_000,
        ]
        self.words += [text.encode() for text in mutate.TEXTS]

    def make(self, rand: random.Random) -> bytes:
        """Half of them text, half cells."""
        if rand.random() < 0.5:
            return mutate.mutated(rand, rand.choice(self.texts), self.texts, self.words)
        rows = [list(row) for row in rand.choice(self.tables)]
        for _ in range(rand.choice((1, 1, 2, 5))):
            row = rand.choice(rows)
            row[rand.randrange(len(row))] = rand.choice(
                (*mutate.TEXTS, *row, str(mutate.integer(rand)))
            )
        return _table(rows, rand.choice(",;\t|"))

    def feed(self, data: bytes, folder: Path, say: Say) -> None:
        """As ``--data``; of what is taken, all images are read."""
        path = folder / "cells.csv"
        path.write_bytes(data)
        dataset = load_dataset(DataConfig(source=str(path)))
        for split in (dataset.train, dataset.val, dataset.test):
            for i in range(len(split)):
                split.source.read(i)


def _table(rows: list[list[str]], delimiter: str) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue().encode("utf-8", "surrogatepass")


def _plain(text: bytes) -> Any:
    import tomllib

    return tomllib.loads(text.decode())


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_none(v) for v in value if v is not None]
    return value
