"""A bundle read back: folder or zip, its hashes checked, nothing unpacked to disk."""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from edgecell.answers import Rules
from edgecell.bundle.manifest import SCHEMA, SCHEMA_VERSION
from edgecell.bundle.preprocessing import describe
from edgecell.disk import sha256_bytes
from edgecell.documents import DocumentError, json_of
from edgecell.errors import ArtifactError, ConfigError
from edgecell.preprocess import PreprocessSpec
from edgecell.record import MISSHAPEN, is_inside, seal
from edgecell.tasks import TASKS, Task

MANIFEST = "model.json"
MOST_TEXT = 16_000_000
MOST_BYTES = 1_000_000_000
"""Larger files than any of ours: a zip that unpacks to more is not read on."""


class Files(Protocol):
    """The files of a folder or of a zip."""

    def read(self, name: str, most: int) -> bytes:
        """A file's content; ArtifactError where it is missing or has more than ``most`` bytes."""
        ...

    def names(self) -> list[str]:
        """Every file, links included, by its path; one outside the bundle's folder begins with "../"."""
        ...


@dataclass(frozen=True)
class Bundle:
    """A bundle whose model is the one that its model.json names.

    ``name`` is the file's or folder's, ``card`` is model.json. ``rules`` and ``spec`` are what it says
    of answers and of preprocessing.
    """

    name: str
    card: dict[str, Any]
    model: bytes
    spec: PreprocessSpec
    rules: Rules
    _files: Files

    def read(self, name: str) -> bytes:
        """A file of the bundle, checked against its hash in model.json.

        Raises:
            ArtifactError: it is not in model.json, missing, or altered.
        """
        listed = self.card["files"]
        if name not in listed:
            raise ArtifactError(f"{self.name}: model.json lists no file {name}")
        return _checked(self._files.read(name, MOST_BYTES), listed[name], name, self.name)


def is_bundle(path: Path) -> bool:
    """Whether ``path`` looks like a bundle: a folder with model.json, or a zip."""
    return path.suffix.lower() == ".zip" or (path / MANIFEST).is_file()


def open_bundle(path: Path) -> Bundle:
    """Read model.json and the model. One without a seal is of an older edgecell, and read all the same.

    Raises:
        ArtifactError: no bundle, one of a later version, damaged, or altered.
    """
    files = files_of(path)
    card = card_of(files, path)
    if "seal" in card and card["seal"] != seal(card):
        raise ArtifactError(
            f"{path}: model.json was altered: its seal is not that of its content; get the bundle again"
        )
    try:
        model = _checked(
            files.read(_plain(card["model"]["file"]), MOST_BYTES),
            card["model"]["sha256"],
            card["model"]["file"],
            path.name,
        )
        if not isinstance(card["name"], str):
            raise TypeError("name")
        if not isinstance(card["files"], dict) or not isinstance(card["verified"]["status"], str):
            raise TypeError("files or verified")
        return Bundle(path.name, card, model, _spec(card), _rules(card), files)
    except (*MISSHAPEN, ConfigError) as error:
        raise ArtifactError(
            f"{path}: model.json is not of the form of version {card['schema_version']}"
            f" ({type(error).__name__}: {str(error)[:80]}); bundle the model again"
        ) from error


def files_of(path: Path) -> Files:
    """What to read a bundle from; ArtifactError where there is none."""
    return _Folder(path) if path.is_dir() else _Zip(path)


def card_of(files: Files, path: Path) -> dict[str, Any]:
    """model.json as it is; ArtifactError where it is no bundle's or of a later version."""
    return _card(files.read(MANIFEST, MOST_TEXT), path)


def _card(data: bytes, path: Path) -> dict[str, Any]:
    try:
        card = json_of(data)
    except DocumentError as error:
        raise ArtifactError(f"{path}: model.json is not JSON ({error})") from error
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise ArtifactError(f"{path}: model.json is no bundle's (schema '{SCHEMA}')")
    version = card.get("schema_version")
    if version not in range(1, SCHEMA_VERSION + 1):
        raise ArtifactError(
            f"{path} has bundle format {version}; this edgecell reads 1 to {SCHEMA_VERSION}"
        )
    return card


def _checked(data: bytes, digest: Any, name: str, bundle: str) -> bytes:
    found = sha256_bytes(data)
    if found != digest:
        raise ArtifactError(
            f"{bundle}: {name} was altered: sha256 {found[:12]}…, model.json says {str(digest)[:12]}…;"
            " get the bundle again"
        )
    return data


def _spec(card: dict[str, Any]) -> PreprocessSpec:
    """The spec that model.json states, where it is one that we follow to the byte."""
    said = card["preprocessing"]
    size = said["resize"]
    fraction = said["fit"].get("central_fraction", 1.0)
    spec = PreprocessSpec(
        int(size["height"]), int(size["width"]), said["fit"]["mode"], central_fraction=fraction
    )
    ours = describe(spec)
    differing = [
        f"{part}.{key}"
        for part in said
        for key in said[part]
        if said[part][key] != ours.get(part, {}).get(key)
    ]
    if spec.fit not in ("stretch", "crop") or differing:
        raise ArtifactError(
            f"the bundle's preprocessing ({', '.join(differing) or spec.fit}) is not known to this edgecell;"
            " use the sample code that is in it"
        )
    return spec


def _rules(card: dict[str, Any]) -> Rules:
    labels = card["labels"]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise TypeError("labels")
    if len(labels) != card["output"]["shape"][-1]:
        raise ValueError(f"{len(labels)} labels for an output of {card['output']['shape']}")
    return rules_of(card["decision"], tuple(labels), TASKS[card["task"]["name"]])


def rules_of(decision: dict[str, Any], labels: tuple[str, ...], task: Task) -> Rules:
    """``decision`` of model.json as rules; KeyError, TypeError or ValueError where it is misshapen."""
    abstention, conformal = decision["abstention"], decision["conformal"]
    temperature = decision["temperature"]
    missing = {
        name: str(part["reason"])
        for name, part in (
            ("abstention", abstention),
            ("set", conformal),
            ("temperature", temperature),
        )
        if "reason" in part
    }
    known = "reason" not in temperature
    used = _between(temperature["value"], 1e-3, 1e3) if temperature["use"] else 1.0
    optional: dict[str, Any] = (
        {}
        if decision["label_threshold"] is None
        else {"label_threshold": _between(decision["label_threshold"], 0, 1)}
    )
    if task.multi_label and "labels" in decision:
        optional |= _of_labels(decision["labels"], len(labels))
    return Rules(
        labels,
        task,
        floor=_between(temperature["floor"], 1e-12, 0.5),
        abstain_below=_optional(abstention["threshold"]),
        set_from=_optional(conformal["threshold"]),
        coverage=_optional(conformal.get("coverage")),
        temperature=used if known else None,
        missing=missing,
        **optional,
    )


def _of_labels(said: dict[str, Any], count: int) -> dict[str, Any]:
    """What ``decision.labels`` adds to the rules."""
    scaling = said["scaling"]
    lists = [said["thresholds"], *([scaling["slopes"], scaling["offsets"]] if scaling else [])]
    if any(not isinstance(each, list) or len(each) != count for each in lists):
        raise ValueError(f"decision.labels has not {count} entries")
    return {
        "label_thresholds": tuple(_optional(value) for value in said["thresholds"]),
        "sensitivity": _between(said["sensitivity"], 0, 1),
        "scaling": scaling
        and (
            tuple(_between(value, 1e-3, 1e3) for value in scaling["slopes"]),
            tuple(_between(value, -1e3, 1e3) for value in scaling["offsets"]),
        ),
    }


def _optional(value: Any) -> float | None:
    return None if value is None else _between(value, 0, 1)


def _between(value: Any, low: float, high: float) -> float:
    number = float(value)
    if isinstance(value, bool | str) or not math.isfinite(number) or not low <= number <= high:
        raise ValueError(f"{value!r} is not a number from {low:g} to {high:g}")
    return number


def _plain(name: Any) -> str:
    """A path inside the bundle; ValueError for one that leads out of it."""
    if not PurePosixPath(name).parts or not is_inside(name) or "\\" in name:
        raise ValueError(f"{name!r} is no file of the bundle")
    return str(name)


class _Folder:
    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str, most: int) -> bytes:
        path = self.root / _plain(name)
        try:
            if path.exists() and not path.is_file() and not path.is_dir():
                raise ArtifactError(f"cannot read {path}: it is not a regular file")
            with path.open("rb") as stream:
                return _bounded(stream.read(most + 1), name, most)
        except OSError as error:
            raise ArtifactError(f"cannot read {path}: {error.strerror}") from error

    def names(self) -> list[str]:
        return sorted(
            path.relative_to(self.root).as_posix()
            for path in self.root.rglob("*")
            if path.is_symlink() or not path.is_dir()
        )


class _Zip:
    """A zip as ``edgecell bundle`` writes it: everything below one folder, or at its top."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                cards = [
                    name
                    for name in archive.namelist()
                    if PurePosixPath(name).name == MANIFEST and name.count("/") <= 1
                ]
        except FileNotFoundError as error:
            raise ArtifactError(f"no bundle at {path}") from error
        except (OSError, zipfile.BadZipFile) as error:
            raise ArtifactError(f"{path} is not a zip that can be read ({error})") from error
        if len(cards) != 1:
            raise ArtifactError(f"{path} is no bundle: it holds {len(cards)} model.json, not one")
        self.prefix = cards[0].removesuffix(MANIFEST)

    def names(self) -> list[str]:
        with zipfile.ZipFile(self.path) as archive:
            inside = [name for name in archive.namelist() if not name.endswith("/")]
        twice = sorted({name for name in inside if inside.count(name) > 1})
        if twice:  # readers differ in which of the two they take
            raise ArtifactError(f"{self.path} holds {twice[0]} twice; get the bundle again")
        return sorted(
            name.removeprefix(self.prefix) if name.startswith(self.prefix) else f"../{name}"
            for name in inside
        )

    def read(self, name: str, most: int) -> bytes:
        try:
            with (
                zipfile.ZipFile(self.path) as archive,
                archive.open(self.prefix + _plain(name)) as stream,
            ):
                return _bounded(stream.read(most + 1), name, most)
        except KeyError as error:
            raise ArtifactError(f"{self.path} holds no {name}; get the bundle again") from error
        except (
            OSError,
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise ArtifactError(f"{self.path}: {name} cannot be read ({error})") from error


def _bounded(data: bytes, name: str, most: int) -> bytes:
    if len(data) > most:
        raise ArtifactError(f"{name} has more than {most:,} bytes; this is no bundle of edgecell")
    return data
