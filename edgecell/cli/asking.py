"""Verbs that ask a finished model. Each imports its stage inside, as in `commands`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecell.cli import options as opt
from edgecell.cli.options import PATH
from edgecell.cli.terminal import display, json_text, print_line, print_table

if TYPE_CHECKING:
    from edgecell.answers import Answer
    from edgecell.classifier import Classifier
    from edgecell.pipeline.predicting import Row, Tally

MOST_ROWS = 100
"""Images that the terminal lists one by one; of more, a program or a spreadsheet reads the answers."""
MOST_PROBLEMS = 20

_MODEL = click.option(
    "--model",
    type=PATH,
    required=True,
    help="A run, .tflite, .keras or .h5 file, or a bundle (folder or zip).",
)
_THREADS = click.option(
    "--threads", type=click.IntRange(min=0), default=0, help="Threads of LiteRT (0: all cores)."
)


@click.command(short_help="What a model says of image files.")
@click.argument("images", type=PATH, nargs=-1, required=True)
@_MODEL
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="How many classes of an image to show.",
)
@click.option(
    "--csv", "table", type=PATH, help="Also write a CSV: a row per image, all probabilities."
)
@_THREADS
@opt.json_option
def predict(
    images: tuple[Path, ...],
    model: Path,
    top: int,
    table: Path | None,
    threads: int,
    as_json: bool,
) -> None:
    """Classify IMAGES, files or folders, with a model: the most probable classes, "not sure" below the
    abstention threshold, and the conformal set, as edgecell calibrate or the bundle has them.

    Files that cannot be read are listed at the end; the others are answered all the same, and the
    exit code is 3.
    """
    from edgecell.pipeline import opening, predicting

    with display() as progress:
        classifier = opening.open_model(model, threads=threads).classifier
        paths, notes = predicting.find_images(images)
        target = None if table is None else predicting.table_at(table, model, paths)
        if classifier.warning is not None:
            progress.say(f"WARNING: {classifier.warning}")
        for line in (*classifier.notes, *notes):
            progress.say(f"note: {line}")
        shown = _JsonRows(classifier, top) if as_json else _TableRows(classifier, top)
        tally = predicting.predict_files(classifier, paths, target, progress, shown.add)
        for line in tally.doubts:
            progress.say(f"WARNING: {line}")
    shown.end(tally)
    if table is not None and not as_json:
        print_line(f"written: {table}")
    failure = predicting.refuse(tally)
    if failure is not None:
        raise failure


class _JsonRows:
    """One JSON document, written as the answers come: ten thousand images take no memory."""

    def __init__(self, classifier: Classifier, top: int) -> None:
        self.top = top
        self.count = 0
        head = {"schema": "edgecell/answers", "schema_version": 1, **classifier.to_json()}
        self.head = json_text(head)[:-1] + ', "images": ['

    def add(self, row: Row) -> None:
        """A line of the list of images, where there is an answer."""
        if row.answer is not None:
            self._begin()
            sys.stdout.write((",\n" if self.count else "\n") + json_text(row.to_json(self.top)))
            self.count += 1

    def _begin(self) -> None:
        """Not before there is something: where no table can be written nothing is printed."""
        sys.stdout.write(self.head)
        self.head = ""

    def end(self, tally: Tally) -> None:
        """What could not be read, and the counts."""
        rest = {
            "unreadable": [row.to_json(self.top) for row in tally.unreadable],
            "summary": tally.to_json(),
        }
        self._begin()
        sys.stdout.write("\n], " + json_text(rest)[1:] + "\n")


class _TableRows:
    """The first answers one by one, then what all of them come to."""

    def __init__(self, classifier: Classifier, top: int) -> None:
        self.classifier = classifier
        self.top = min(top, len(classifier.rules.labels))
        self.rows: list[list[str]] = []
        self.answered = 0

    def add(self, row: Row) -> None:
        """Keep a row of the table, as long as it is not too long."""
        if row.answer is None:
            return
        self.answered += 1
        if len(self.rows) < MOST_ROWS:
            self.rows.append(self._cells(row.image, row.answer))

    def _cells(self, image: str, answer: Answer) -> list[str]:
        rules = self.classifier.rules
        cells = [image, "not sure" if answer.abstained else ", ".join(answer.names(answer.said))]
        if rules.task.multi_label and not answer.said:
            cells[1] = "none"
        for i in answer.order[: self.top]:
            own, shown = answer.probabilities[i], answer.shown[i]
            both = f"{shown:.3f} ({own:.3f})" if rules.shows_other else f"{own:.3f}"
            cells.append(f"{rules.labels[i]} {both}")
        if rules.set_from is not None:
            cells.append(", ".join(answer.names(answer.members or ())) or "empty")
        if answer.mean_grade is not None:
            cells.append(f"{answer.mean_grade:.2f}")
        return cells

    def end(self, tally: Tally) -> None:
        """Print the table, the counts and what could not be read."""
        rules = self.classifier.rules
        columns = ["image", "answer", *(f"{i + 1}." for i in range(self.top))]
        if rules.set_from is not None:
            columns.append(f"set ({rules.coverage:g})")
        if rules.task.ordinal:
            columns.append("mean grade")
        title = f"{self.classifier.name}"
        if rules.label_thresholds is not None:
            title += (
                f"; each label from its threshold on, for a sensitivity of {rules.sensitivity:g}"
            )
        if rules.shows_other:
            how = "label by label" if rules.scaling else f"with temperature {rules.temperature:.3f}"
            title += f"; calibrated {how}, in brackets its own"
        if self.rows:
            print_table(title, columns, self.rows, numeric_from=len(columns))
        if self.answered > len(self.rows):
            print_line(f"… and {self.answered - len(self.rows):,} more: --csv FILE or --json")
        self._counts(tally)
        for row in tally.unreadable[:MOST_PROBLEMS]:
            print_line(f"not read: {row.problem}")
        if len(tally.unreadable) > MOST_PROBLEMS:
            print_line(f"… and {len(tally.unreadable) - MOST_PROBLEMS:,} more not read")

    def _counts(self, tally: Tally) -> None:
        said = [f"{label} {count:,}" for label, count in tally.said.most_common()]
        if tally.abstained:
            said.append(f"not sure {tally.abstained:,}")
        if tally.without_label:
            said.append(f"none {tally.without_label:,}")
        if tally.images > 1 and said:
            print_line(f"{self.answered:,} images: {', '.join(said)}")


@click.command(short_help="A local page for trying a model by drag and drop.")
@_MODEL
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port; 0 takes a free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Any other than this machine's own lets others in.",
)
@_THREADS
def serve(model: Path, port: int, host: str, threads: int) -> None:
    """Serve a page on this machine that classifies the images dropped on it: the most probable classes,
    calibrated, "not sure" below the threshold, the conformal set. Nothing leaves the machine, nothing
    is stored. Ctrl-C ends it, with exit code 0; a second one does not wait for requests.
    """
    from edgecell.pipeline import serving

    with display() as progress:
        server = serving.make_server(
            model, host=host, port=port, threads=threads, progress=progress
        )

        def ready() -> None:
            print_line(server.url)
            sys.stdout.flush()
            progress.say("Ctrl-C ends it, a second one at once")

        serving.run(server, ready)


COMMANDS: tuple[click.Command, ...] = (predict, serve)
