"""``edgecell data split``: train, val and test as a table, stratified, no group and no copy cut."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecell import disk, machine, rundir
from edgecell.config import DataConfig
from edgecell.data.folder import list_folder
from edgecell.data.group_keys import COPIES, GroupNames, by_split, group_names
from edgecell.data.groups import together
from edgecell.data.listing import Listing, fingerprint, groups_across
from edgecell.data.sources import FileSource, digests
from edgecell.data.splits import make_splits
from edgecell.data.table import SUFFIXES, list_table
from edgecell.data.types import SPLITS, Split
from edgecell.errors import ConfigError, DataError
from edgecell.progress import Progress
from edgecell.record import envelope

TABLE, RECORD = "split.csv", "record.json"
VERB = "data-split"


@dataclass(frozen=True)
class SplitSettings:
    """Shares of all images (0: no such split), what groups them, and whether given splits are kept."""

    val: float = 0.1
    test: float = 0.2
    group_by: str = ""
    seed: int = 0
    pool: bool = False

    def __post_init__(self) -> None:
        for name in ("val", "test"):
            if getattr(self, name) and not 0.01 <= getattr(self, name) <= 0.9:
                raise ConfigError(
                    f"--{name} is {getattr(self, name)}; allowed: 0 (no such split) or 0.01 to 0.9"
                )


def split_data(
    source: Path, columns: str, settings: SplitSettings, output: Path, progress: Progress
) -> dict[str, Any]:
    """Write ``output/split.csv``, which ``--data`` takes, and the record beside it; returns the record.

    Splits that the source gives are kept, and only the missing ones are made, from train; with
    ``pool`` all images are shared out anew. Exact copies of an image always stay together.

    Raises:
        DataError: an unsuitable source; groups or copies that stand in two given splits; too few
            groups of a class. ConfigError: nothing to make, or the table would replace one that is
            read. ArtifactError: ``output`` is not writable.
    """
    tables = _tables(source, settings)
    _refuse_replacing(tables, output / TABLE)
    read = {path.name: disk.sha256_file(path) for path in tables}
    listing = _list(source, columns)
    if settings.pool:
        listing = _pooled(listing)
    shares = {
        name: share
        for name, share in (("val", settings.val), ("test", settings.test))
        if share and name not in listing.splits
    }
    if not shares:
        raise ConfigError(
            f"{source} has {', '.join(listing.splits)} already and no other split is asked for; give"
            " --pool to share all images out anew"
        )
    notes = list(listing.notes)
    if settings.group_by == COPIES:
        progress.begin("looking at images", sum(map(len, listing.splits.values())))
    groups = group_names(listing, settings.group_by, notes, progress.advance)
    _refuse_straddling(listing, groups)
    merged = _merged(listing, groups) if groups else None
    train = listing.splits["train"]
    made = make_splits(
        train.source,
        train.labels,
        listing.class_names,
        shares,
        settings.seed,
        merged["train"] if merged else None,
    )
    rows = _rows(listing, made, merged)
    table = _as_csv(rows, listing, output, with_groups=merged is not None)
    disk.atomic_write_text(output / TABLE, table)
    results = _results(rows, listing, notes, made=tuple(shares), grouped=merged is not None)
    record = envelope(
        VERB,
        created=rundir.utc_now(),
        inputs={f"data:{listing.name}": fingerprint(listing), **read},
        outputs={TABLE: disk.sha256_file(output / TABLE)},
        environment=machine.environment(),
        config=asdict(settings) | {"columns": columns},
        results=results,
    )
    disk.atomic_write_json(output / RECORD, record)
    return record


@dataclass(frozen=True)
class _Row:
    path: str
    label: int
    split: str
    group: str
    digest: bytes


def _list(source: Path, columns: str) -> Listing:
    if columns and source.is_dir():
        raise ConfigError(f"--columns is for a CSV; {source} is a folder: leave it away")
    if source.is_dir():
        return list_folder(source)
    if source.suffix.lower() in SUFFIXES:
        if not source.is_file():
            raise DataError(f"no table at {source}; SOURCE is an image folder or a CSV")
        return list_table(source, DataConfig(source=str(source), columns=columns))
    what = "no such folder or CSV"
    if source.suffix.lower() == ".npz":
        what = "an .npz holds its splits itself; missing ones are made by --val-fraction"
    raise DataError(f"cannot split {source}: {what}; SOURCE is an image folder or a CSV")


def _pooled(listing: Listing) -> Listing:
    paths = [path for name in listing.splits for path in listing.paths(name)]
    labels = np.concatenate([split.labels for split in listing.splits.values()])
    groups = None
    if listing.groups:
        groups = {"train": tuple(g for name in listing.splits for g in listing.groups[name])}
    whole = Split("train", FileSource(listing.root, paths), labels)
    return Listing(
        listing.kind,
        listing.name,
        listing.root,
        listing.class_names,
        {"train": whole},
        groups,
        listing.notes,
    )


def _refuse_straddling(listing: Listing, groups: GroupNames | None) -> None:
    """Refuse given splits that share a group or an exact copy: nothing that is made could mend it."""
    advice = "give --pool to share all images out anew, or correct the given splits"
    if groups is not None:
        across = groups_across(listing.splits, groups)
        if across:
            raise DataError(f"{across}; {advice}")
    seen: dict[bytes, tuple[str, str]] = {}
    for name, split in listing.splits.items():
        for path, digest in zip(listing.paths(name), digests(split.source), strict=True):
            first_split, first_path = seen.setdefault(digest, (name, path))
            if first_split != name:
                raise DataError(
                    f"{path} in {name} is an exact copy of {first_path} in {first_split}; {advice}"
                )


def _merged(listing: Listing, groups: GroupNames) -> GroupNames:
    """The groups with those joined that share an exact copy, each called by its first image's name."""
    names = [name for split in listing.splits for name in groups[split]]
    copies = [d for split in listing.splits.values() for d in digests(split.source)]
    whole = together(names, copies)
    called: dict[int, str] = {}
    joined = [called.setdefault(number, name) for number, name in zip(whole, names, strict=True)]
    return by_split(listing, joined)


def _rows(listing: Listing, made: dict[str, Split], groups: GroupNames | None) -> list[_Row]:
    """All images in the order of splits and, within them, of the source."""
    rows: list[_Row] = []
    owner = {made[name].source.name(i): name for name in made for i in range(len(made[name]))}
    for given, split in listing.splits.items():
        for i, (path, digest) in enumerate(
            zip(listing.paths(given), digests(split.source), strict=True)
        ):
            group = groups[given][i] if groups else ""
            where = owner[path] if given == "train" else given
            rows.append(_Row(path, int(split.labels[i]), where, group, digest))
    return sorted(rows, key=lambda row: SPLITS.index(row.split))


def _as_csv(rows: Sequence[_Row], listing: Listing, output: Path, *, with_groups: bool) -> str:
    above = os.path.relpath(os.path.realpath(listing.root), os.path.realpath(output))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["path", "label", "split", *(["group"] if with_groups else [])])
    for row in rows:
        path = row.path if Path(row.path).is_absolute() else (Path(above) / row.path).as_posix()
        cells = [path, listing.class_names[row.label], row.split]
        writer.writerow([*cells, *([row.group] if with_groups else [])])
    return stream.getvalue()


def _results(
    rows: Sequence[_Row],
    listing: Listing,
    notes: list[str],
    *,
    made: tuple[str, ...],
    grouped: bool,
) -> dict[str, Any]:
    names = [name for name in SPLITS if any(row.split == name for row in rows)]
    counts = {
        name: np.bincount(
            [row.label for row in rows if row.split == name], minlength=len(listing.class_names)
        ).tolist()
        for name in names
    }
    results: dict[str, Any] = {
        "name": listing.name,
        "class_names": list(listing.class_names),
        "made": list(made),
        "counts": counts,
        "images": {name: sum(counts[name]) for name in names},
        "distinct_images": {
            name: len({row.digest for row in rows if row.split == name}) for name in names
        },
        "groups": None,
        "notes": notes,
    }
    if grouped:
        sizes = np.unique([row.group for row in rows], return_counts=True)[1]
        results["groups"] = {
            "all": len(sizes),
            "largest": int(sizes.max()),
            **{name: len({row.group for row in rows if row.split == name}) for name in names},
        }
        results["groups_by_class"] = {
            name: [
                len({row.group for row in rows if row.split == name and row.label == label})
                for label in range(len(listing.class_names))
            ]
            for name in names
        }
    return results


def _tables(source: Path, settings: SplitSettings) -> list[Path]:
    """The CSVs that are read, of those that are there; who reads them says which is not."""
    tables = [source]
    if settings.group_by.lower().endswith(SUFFIXES):
        tables.append(Path(settings.group_by).expanduser())
    return [path for path in tables if path.is_file()]


def _refuse_replacing(tables: Sequence[Path], written: Path) -> None:
    for path in tables:
        if written.exists() and path.samefile(written):
            raise ConfigError(
                f"{written} would replace the table {path} that is read; choose another --output"
            )
