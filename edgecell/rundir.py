"""Where each stage reads and writes, and the sha256 chain between the stages.

A stage writes its files under ``RUN/<verb>/`` and its record last: a record that is there means
that the stage finished. Every write goes to a temporary file first and is then renamed; of a stage that
is done again, the former files are kept until the new record is there (see former).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgecell import former
from edgecell.disk import TEMPORARY, atomic_write_json, cannot_write, read_json, sha256_file
from edgecell.errors import (
    ArtifactError,
    BusyError,
    ConfigError,
    DivergedError,
    EdgecellError,
    WorkerError,
)
from edgecell.machine import environment
from edgecell.naming import listed
from edgecell.record import anew, check_envelope, envelope, is_inside

TRAINED = "train/model.keras"
"""The model that a run trained, as its records name it."""
VERBS = (
    "train",
    "evaluate",
    "quantize",
    "search",
    "analyze",
    "verify",
    "calibrate",
    "robustness",
    "explain",
    "embed",
    "bench",
    "peers",
    "bundle",
    "tune",
    "cells",
    "latency",
    "sweep",
)
SEED_PREFIX = "seed-"
"""How the names of runs begin that are trained by the same command with several seeds."""


def write_record(folder: Path, data: dict[str, Any]) -> None:
    """Write a stage's record, last of all its files; what was there before is given up.

    Raises:
        ArtifactError: as :func:`edgecell.disk.atomic_writer`.
    """
    path = folder / former.RECORD
    atomic_write_json(path, data)
    try:
        former.drop(folder)
    except OSError as error:
        raise cannot_write(path, error) from error


def write_bill(folder: Path) -> list[Path]:
    """The software bill of materials of a stage where EDGECELL_SBOM asks for it; the files written.

    Raises:
        ArtifactError: as :func:`edgecell.disk.atomic_writer`.
    """
    if os.environ.get("EDGECELL_SBOM", "0") in ("", "0"):
        return []
    from edgecell import sbom  # what it reads packages with is not on every board

    atomic_write_json(folder / sbom.FILE, sbom.bill())
    return [folder / sbom.FILE]


def utc_now() -> str:
    """The time in UTC to the second, ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def runs_below(folder: Path) -> str:
    """Which runs lie directly in ``folder``, as advice to give one of them; "" where there is none.

    ``folder`` holds the runs of several seeds, say, or all runs.
    """
    try:
        runs = sorted(path.parent.name for path in folder.glob("*/config.toml"))
    except OSError:
        return ""
    if not runs:
        return ""
    advice = f"it holds {listed(runs)}: give one of them, such as {folder / runs[-1]}"
    if any(name.startswith(SEED_PREFIX) for name in runs):
        advice += (
            "; a stopped training of several seeds goes on by its own command, with its --output"
        )
    return advice


class RunDir:
    """One run: a folder with a ``config.toml`` and one sub-folder per finished stage."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, name: str, root: Path) -> RunDir:
        """Make ``root/<name>-<UTC time>``; a clash in the same second gets a counter.

        Raises:
            ArtifactError: the folder cannot be made.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        for attempt in range(100):
            path = root / (f"{name}-{stamp}" if attempt == 0 else f"{name}-{stamp}-{attempt}")
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise ArtifactError(
                    f"cannot make the run folder {path}: {error.strerror};"
                    " choose another folder with --output"
                ) from error
            return cls(path)
        raise ArtifactError(f"cannot make a run folder under {root}: 100 names are taken")

    @classmethod
    def at(cls, path: Path) -> RunDir:
        """A run at exactly ``path`` (``--output``): new, empty, or already a run.

        Raises:
            ConfigError: the folder holds something else. ArtifactError: it cannot be made.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            foreign = [p.name for p in path.iterdir() if not p.name.startswith(".")]
            probe, name = tempfile.mkstemp(dir=path, prefix=".write-test", suffix=TEMPORARY)
            os.close(probe)
            Path(name).unlink()
        except OSError as error:
            raise ArtifactError(
                f"cannot write to {path}: {error.strerror}; choose another folder with --output"
            ) from error
        if foreign and not (path / "config.toml").is_file() and not set(foreign) <= set(VERBS):
            raise ConfigError(
                f"{path} is not empty and not a run folder ({len(foreign)} entries, no config.toml);"
                " choose a new folder with --output"
            )
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """An existing run; what a killed process left half-replaced in it is put back.

        Raises:
            ArtifactError: no such folder, or no run in it.
        """
        if not path.is_dir():
            raise ArtifactError(
                f"no run folder at {path}; make one with 'edgecell train --output {path}'"
            )
        if not (path / "config.toml").is_file():
            raise ArtifactError(
                f"{path} is not a run folder (no config.toml); "
                + (runs_below(path) or "see 'edgecell train --help'")
            )
        for verb in VERBS:
            former.put_back(path / verb)
        return cls(path)

    @contextmanager
    def not_left_empty(self) -> Iterator[None]:
        """Remove the folder again where the work inside fails before it writes anything.

        What is refused leaves no config.toml of its own either. An interrupt and the end of another
        worker do, to go on by, and a training that diverged, whose settings it tells.
        """
        written = self.path / "config.toml"
        was_there = written.is_file()
        finished = False
        try:
            yield
            finished = True
        except (DivergedError, WorkerError):
            raise
        except EdgecellError:
            with suppress(OSError):
                if not was_there and list(self.path.iterdir()) == [written]:
                    written.unlink()
            raise
        finally:
            if not finished:
                with suppress(OSError):
                    self.path.rmdir()  # refuses a folder that holds anything

    def remove_leftovers(self, verb: str) -> None:
        """Remove what a killed process left half-written in this folder and in a stage's.

        What it left half-replaced is put back. What a living one writes is left to it: the report, say.

        Raises:
            ArtifactError: the folder cannot be written.
        """
        former.put_back(self.stage(verb))
        pattern = f".*{TEMPORARY}"
        for path in (*self.path.glob(pattern), *self.stage(verb).rglob(pattern)):
            try:
                if path.is_dir():
                    shutil.rmtree(path)
                elif not former.is_held(path):
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise ArtifactError(f"cannot remove {path}: {error.strerror}") from error

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    def stage(self, verb: str) -> Path:
        """The folder of one stage; made by the first write into it."""
        return self.path / verb

    def has(self, verb: str) -> bool:
        """Whether the stage finished: its record is there."""
        return (self.stage(verb) / "record.json").is_file()

    def relative(self, path: Path) -> str:
        """How a record names a file: relative to the run where it is inside, else its bare name.

        Bare, because a record travels with its run and must not tell where somebody's disk is.
        """
        try:
            return path.resolve().relative_to(self.path.resolve()).as_posix()
        except ValueError:
            return path.name

    def _hashes(self, paths: Iterable[Path]) -> dict[str, str]:
        """Name → sha256. Bare names can meet (two runs' files in one bench): the later get a number."""
        hashes: dict[str, str] = {}
        for path in paths:
            name = first = self.relative(path)
            digest = sha256_file(path)
            count = 1
            while hashes.get(name, digest) != digest:
                count += 1
                name = f"{first} ({count})"
            hashes[name] = digest
        return hashes

    def write_record(
        self,
        verb: str,
        *,
        inputs: Iterable[Path],
        outputs: Iterable[Path],
        config: dict[str, Any],
        results: dict[str, Any],
        input_hashes: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Hash what the stage read and wrote and write its record, last of all its files.

        ``input_hashes`` adds inputs that are not files of their own (a data set's fingerprint).

        Raises:
            ArtifactError: a file is missing, or the record cannot be written.
        """
        data = envelope(
            verb,
            created=utc_now(),
            inputs=self._hashes(inputs) | (input_hashes or {}),
            outputs=self._hashes([*outputs, *write_bill(self.stage(verb))]),
            environment=environment(),
            config=config,
            results=results,
        )
        write_record(self.stage(verb), data)
        return data

    def read_record(self, verb: str) -> dict[str, Any]:
        """The record of a finished stage.

        Raises:
            ArtifactError: the stage has not finished, or its record is damaged.
        """
        path = self.stage(verb) / "record.json"
        if not path.is_file():
            raise ArtifactError(
                f"{self.path} has no finished '{verb}'; run 'edgecell {verb}' first"
            )
        try:
            data = read_json(path)
        except ArtifactError as error:
            raise ArtifactError(f"{error}; {anew(verb)}") from error
        return check_envelope(data, verb, str(path))

    def is_current(
        self,
        verb: str,
        *,
        inputs: Iterable[Path],
        config: dict[str, Any],
        input_hashes: dict[str, str] | None = None,
    ) -> bool:
        """Whether a finished stage read just these inputs with these settings, and is unaltered.

        Raises:
            ArtifactError: an input is missing, or the record is damaged.
        """
        if not self.has(verb):
            return False
        record = self.read_record(verb)
        wanted = self._hashes(inputs) | (input_hashes or {})
        same_settings = record["config"] == json.loads(json.dumps(config))
        outputs = [self._inside(name, verb) for name in record["outputs"]]
        return (
            same_settings
            and record["inputs"] == wanted
            and all(path.exists() for path in outputs)
            and self._hashes(outputs) == record["outputs"]
        )

    def _inside(self, name: str, verb: str) -> Path:
        """The file of this run that a record calls ``name``; ArtifactError for one that is elsewhere."""
        if not is_inside(name):
            raise ArtifactError(
                f"the record of '{verb}' names {name!r}, which is no file of {self.path};"
                f" run 'edgecell {verb}' again"
            )
        return self.path / name

    def check_outputs(self, verb: str) -> dict[str, Any]:
        """The record of a stage whose files are still what it wrote.

        Raises:
            ArtifactError: a file is missing or its sha256 differs from the record. BusyError: another
            process is writing the stage anew.
        """
        record = self.read_record(verb)
        for name, digest in record["outputs"].items():
            found = sha256_file(self._inside(name, verb))
            if found != digest and former.is_being_replaced(self.path / name):
                raise BusyError(
                    f"another process is at '{verb}' in {self.path} and has replaced {name}; wait until it"
                    " has ended, or end it: the former files then come back"
                )
            if found != digest:
                raise ArtifactError(
                    f"{name} was altered after '{verb}': sha256 {found[:12]}…, recorded {digest[:12]}…;"
                    f" run 'edgecell {verb}' again"
                )
        return record
