"""What the file to ship is chosen by, and whether that can be asked of a data set."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.choice import SCORES, Limits, Prefer, Score
from edgecell.data import Dataset
from edgecell.errors import ConfigError
from edgecell.tasks import Task, task_named


@dataclass(frozen=True)
class Wishes:
    """What the cell to ship is chosen by, and ``by``, the score that the front is drawn with.

    ``score`` decides between files of equal bytes or time.
    """

    limits: Limits
    prefer: Prefer
    by: Score
    score: Score


def wishes_for(dataset: Dataset, limits: Limits, prefer: Prefer | None, by: Score | None) -> Wishes:
    """Those that were given, and for None what decides where images are labelled as in ``dataset``.

    Raises:
        ConfigError: a score that files of this task are not chosen by.
    """
    task = task_named(dataset.task)
    words = _words(task)
    for name, score in limits.scores().items():
        _check(dataset, task, score, _flag(name), [f"--min-{word}" for word in words])
    if prefer is not None and prefer in SCORES:
        allowed = [f"--prefer {word}" for word in (*words, "bytes", "latency")]
        _check(dataset, task, SCORES[prefer], f"--prefer {prefer}", allowed)
    if by is not None:
        given = next(word for word, score in SCORES.items() if score == by)
        _check(dataset, task, by, f"--by {given}", [f"--by {word}" for word in words])
    score = SCORES[words[0]]
    return Wishes(limits, prefer or words[0], by or score, score)


def _words(task: Task) -> list[Prefer]:
    """The command line's words for the scores that files of the task are chosen by."""
    keys = [key for _, key in task.choosing_scores]
    return [word for word, score in SCORES.items() if score in keys]


def _flag(limit: str) -> str:
    return "--" + limit.replace("_", "-")


def _check(dataset: Dataset, task: Task, score: Score, flag: str, allowed: list[str]) -> None:
    known = {key: name for name, key in task.choosing_scores}
    if score in known:
        return
    count = len(dataset.class_names)
    image = f"has one of {count} classes"
    if task.multi_label:
        image = f"can have several of {count} labels"
    raise ConfigError(
        f"{flag} does not go with '{dataset.name}': an image of it {image}, and files are compared by their"
        f" {' or '.join(known.values())}; allowed instead: {', '.join(allowed)}"
    )
