"""``edgecell predict``: what a model says of any number of image files."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgecell.answers import Answer, Rules
from edgecell.classifier import Classifier
from edgecell.csv_cells import path_cell, text_cell
from edgecell.data.channels import Running, drift_line, flat_line
from edgecell.data.folder import images_below
from edgecell.disk import atomic_writer
from edgecell.errors import ConfigError, DataError
from edgecell.predictions import number
from edgecell.preprocess import PreprocessSpec, decode_file, resize
from edgecell.progress import Progress
from edgecell.runtime import available_cores

BATCH = 64
WAITING_BYTES = 64_000_000
"""Resized images that wait for the model at most; decoding stops there."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """One image: its path as it was named, and the answer or why it could not be read."""

    image: str
    answer: Answer | None
    problem: str | None = None

    def to_json(self, top: int) -> dict[str, Any]:
        """The row in JSON types."""
        if self.answer is None:
            return {"image": self.image, "problem": self.problem}
        return {"image": self.image, **self.answer.to_json(top)}


@dataclass
class Tally:
    """What all rows come to. An image with several labels counts for each of them; ``without_label``
    are those that were found to have none.

    ``doubts`` say where the images show nothing, or do not look like those the model was trained on.
    """

    images: int = 0
    abstained: int = 0
    without_label: int = 0
    said: Counter[str] = field(default_factory=Counter)
    unreadable: list[Row] = field(default_factory=list)
    colours: Running = field(default_factory=Running)
    doubts: list[str] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Count one more row."""
        self.images += 1
        if row.answer is None:
            self.unreadable.append(row)
            return
        self.abstained += row.answer.abstained
        self.without_label += not row.answer.abstained and not row.answer.said
        self.said.update(row.answer.names(row.answer.said))

    def to_json(self) -> dict[str, Any]:
        """Counts in JSON types."""
        return {
            "images": self.images,
            "abstained": self.abstained,
            "without_label": self.without_label,
            "unreadable": len(self.unreadable),
            "answers": dict(self.said.most_common()),
            "doubts": self.doubts,
        }


def find_images(names: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The image files that ``names`` stand for, those of folders in natural order; and notes.

    A file is taken whatever its name; one that does not exist becomes a row without an answer.

    Raises:
        DataError: a folder that cannot be read, or nothing in all of them.
    """
    found: list[Path] = []
    notes: list[str] = []
    for name in names:
        if not name.is_dir():
            found.append(name)
            continue
        below, said = images_below(name)
        found += below
        notes += [f"{name}: {line}" for line in said]
    if not found:
        listed = ", ".join(map(str, names[:3]))
        raise DataError(f"no images in {listed}; name image files or a folder that holds some")
    return found, notes


def table_at(table: Path, model: Path, images: Sequence[Path]) -> Path:
    """The file that ``table`` names, links followed, where answers may be written to.

    Raises:
        ConfigError: there is something that a table must not replace: a folder, a pipe or a device, the
            model or a file beside it, one of the images.
    """
    target = Path(os.path.realpath(table))
    try:
        found = target.stat()
    except OSError:  # most of all because there is none; what else is the matter shows in writing
        return target
    what = None
    if target.is_dir():
        what = "a folder"
    elif not target.is_file():
        what = "not a regular file"
    elif _is_part_of(model, target):
        what = "the model"
    elif any(os.path.samestat(found, each) for each in map(_stat, images) if each is not None):
        what = "one of the images"
    if what is not None:
        raise ConfigError(f"--csv {table} is {what}; name another file")
    return target


def _is_part_of(model: Path, target: Path) -> bool:
    """Whether a file is the model, or lies in its run or bundle and is no table."""
    if not model.is_dir():
        return model.exists() and model.samefile(target)
    return Path(os.path.realpath(model)) in target.parents and target.suffix.lower() != ".csv"


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def predict_files(
    classifier: Classifier,
    paths: Sequence[Path],
    table: Path | None,
    progress: Progress,
    each: Callable[[Row], None],
) -> Tally:
    """Ask ``classifier`` about every file; ``each`` gets the rows in the order of ``paths``.

    ``table`` is a CSV to write; it appears when it is whole. Memory does not grow with the number of
    images, but for those that cannot be read.

    Raises:
        ArtifactError: the CSV cannot be written.
    """
    tally = Tally()
    progress.begin("predicting", len(paths))
    elsewhere = "name a file in another folder with --csv"
    with atomic_writer(table, elsewhere) if table else nullcontext() as stream:
        write = _csv_writer(stream, classifier.rules) if stream else None
        for rows in _answered(classifier, paths, tally.colours):
            for row in rows:
                tally.add(row)
                if write is not None:
                    write(row)
                each(row)
            progress.advance(tally.images)
    tally.doubts = _doubts(classifier, tally.colours)
    return tally


def _doubts(classifier: Classifier, seen: Running) -> list[str]:
    lines = [flat_line(seen.flat, seen.images, "these files")]
    if classifier.trained_on is not None and seen.images:
        lines.append(drift_line(classifier.trained_on, seen.channels(), "these files"))
    return [line for line in lines if line]


def _answered(
    classifier: Classifier, paths: Sequence[Path], colours: Running
) -> Iterator[list[Row]]:
    """Rows in batches: while the model works on one, the next ones are being decoded."""
    images = decoded(paths, classifier.spec)
    while batch := list(islice(images, BATCH)):
        good = [pixels for _, pixels in batch if not isinstance(pixels, str)]
        pixels = np.stack(good) if good else None
        if pixels is not None:
            colours.add(pixels)
        answers = iter([] if pixels is None else classifier.classify(pixels))
        yield [
            Row(str(path), None, read) if isinstance(read, str) else Row(str(path), next(answers))
            for path, read in batch
        ]


def decoded(paths: Iterable[Path], spec: PreprocessSpec) -> Iterator[tuple[Path, Pixels | str]]:
    """(path, pixels as the model takes them, or why there are none) in the order of ``paths``.

    Pillow releases the interpreter lock, so threads decode in parallel; as many images as
    WAITING_BYTES holds, four batches at most, wait for whoever asks.
    """
    size = spec.height * spec.width * 3
    window = max(1, min(4 * BATCH, WAITING_BYTES // size))
    remaining = iter(paths)
    waiting: deque[tuple[Path, Future[Pixels | str]]] = deque()
    pool = ThreadPoolExecutor(available_cores())
    try:
        while True:
            for path in islice(remaining, window - len(waiting)):
                waiting.append((path, pool.submit(_pixels, path, spec)))
            if not waiting:
                return
            path, future = waiting.popleft()
            yield path, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _pixels(path: Path, spec: PreprocessSpec) -> Pixels | str:
    try:
        if path.exists() and not path.is_file():
            return f"{path} is not a file"  # a pipe would be waited for without end
        image = decode_file(path)
    except (DataError, OSError) as error:
        return str(error)
    try:
        return resize(image, spec)
    except DataError as error:
        return f"{path} cannot be resized: {error}"
    except MemoryError:  # of one image: the others are answered
        return f"{path} takes more memory than there is; shrink it first"


# -------------------------------------------------------------------------------------- CSV


def _csv_writer(stream: IO[bytes], rules: Rules) -> Callable[[Row], None]:
    """Write the header; the function that writes a row."""
    calibrated = rules.shows_other

    def line(cells: Sequence[Any]) -> None:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(cells)
        stream.write(out.getvalue().encode("utf-8", "surrogateescape"))

    line(
        [
            *("image", "status", "answer", "confidence", "set", "problem"),
            *(f"p({name})" for name in rules.labels),
            *(f"calibrated({name})" for name in rules.labels if calibrated),
        ]
    )

    def write(row: Row) -> None:
        if row.answer is None:
            line([path_cell(row.image), "unreadable", "", "", "", text_cell(row.problem or "")])
            return
        answer = row.answer
        confidence = _confidence(answer)
        line(
            [
                path_cell(row.image),
                "not sure" if answer.abstained else "answered",
                words(answer),
                "" if confidence is None else number(confidence),
                text_cell("; ".join(answer.names(answer.members or ()))),
                "",
                *(number(p) for p in answer.probabilities),
                *(number(p) for p in answer.shown if calibrated),
            ]
        )

    return write


def _confidence(answer: Answer) -> float | None:
    """Of the best guess; of several labels that of the least sure one said, None without any."""
    if not answer.rules.task.multi_label:
        return float(answer.shown[answer.order[0]])
    return min((float(answer.shown[i]) for i in answer.said), default=None)


def words(answer: Answer) -> str:
    """The answer as a cell: empty where it abstained, "none" where no label holds."""
    if answer.abstained:
        return ""
    return text_cell("; ".join(answer.names(answer.said)) or "none")


def refuse(tally: Tally) -> DataError | None:
    """The error to end with where files could not be read; None where all were."""
    bad = tally.unreadable
    if not bad:
        return None
    if tally.images == 1:
        return DataError(f"the image could not be read: {bad[0].problem}")
    if len(bad) == tally.images:
        return DataError(f"all {len(bad)} images could not be read, the first: {bad[0].problem}")
    return DataError(
        f"{len(bad)} of {tally.images} images could not be read, the first: {bad[0].problem};"
        " the answers to the others are complete"
    )
