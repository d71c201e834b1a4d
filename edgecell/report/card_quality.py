"""What a model card says of quality: the figures that come first, and the section of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgecell.metrics import THRESHOLD
from edgecell.report.card_parts import Grid, Part, Record, entry_of, words
from edgecell.report.elements import is_measurement, measurement
from edgecell.tasks import Task

_SEVERAL = (
    f"An image can have several labels. Each is decided by itself: it is said above {THRESHOLD:g} here. AUC and"
    " average precision say how a label is ranked, whatever the threshold; the means count all labels"
    " alike. Accuracy is high for a label that is rare and never said: read its recall."
)
_RANKED = ("auc", "average_precision")
"""Of several labels: the columns that are seen where a screen is too narrow for all."""


def quality_of(records: Mapping[str, Record], digest: str) -> tuple[str, Record] | None:
    """(whose and where, evaluation): this file's on test, on val, else the trained model's."""
    bench = entry_of(records, "bench", digest)
    if bench is not None and bench["quality"].get("accuracy"):
        return "this file on test", bench["quality"]
    evaluated = [(name, record) for name, record in records.items() if name.startswith("evaluate/")]
    own = [r for _, r in evaluated if digest in r["inputs"].values() and "tta" not in r["config"]]
    for split in ("test", "val"):
        for record in own:
            if record["results"]["split"] == split:
                return f"this file on {split}", record["results"]
    for split in ("test", "val"):
        for name, record in evaluated:
            if name == f"evaluate/model-{split}":
                return f"the trained model, before conversion, on {split}", record["results"]
    return None


def headline_figures(
    quality: tuple[str, Record] | None, task: Task
) -> Iterator[tuple[str, str, str]]:
    """(title, value, note) of the task's first figure, and of those that belong beside it."""
    if quality is None:
        yield _title(task.metric_name), "not measured", "no evaluation in the records"
    else:
        whose, results = quality
        if is_measurement(results.get(task.metric)):
            yield _told(_title(task.metric_name), results[task.metric], whose)
        else:
            key = next(key for key, entry in results.items() if is_measurement(entry))
            yield _told(words(key, task), results[key], whose)
        beside = task.headline if task.kind != "single-label" else ()
        for title, key in beside:
            if is_measurement(results.get(key)):
                yield _told(_title(title), results[key], whose)


def quality_part(quality: tuple[str, Record] | None, task: Task) -> Part:
    """Every figure of the evaluation, and those of each class or label."""
    title = "How good it is"
    if quality is None:
        return Part(
            title,
            ("Not measured: no evaluation of this file or of its reference is recorded.",),
            missing=True,
        )
    whose, results = quality
    scores = tuple(
        (words(key, task), measurement(entry))
        for key, entry in results.items()
        if is_measurement(entry)
    )
    classes = results.get("classes", [])
    keys = [key for key in classes[0] if is_measurement(classes[0][key])] if classes else []
    keys.sort(key=lambda key: key not in _RANKED)
    per_class = tuple(
        (
            str(row["name"]),
            str(row.get("support", "")),
            *(measurement(row[key], count=False) for key in keys),
        )
        for row in classes
    )
    grids = [Grid(("figure", whose), scores)]
    if per_class:
        columns = (
            "label" if task.multi_label else "class",
            "images",
            *(words(key) for key in keys),
        )
        grids.append(Grid(columns, per_class))
    text = ["Brackets are 95 % intervals."]
    if task.multi_label:
        text.insert(0, _SEVERAL)
    text += [str(note) for note in results.get("notes", [])]
    return Part(title, tuple(text), tuple(grids))


def _told(title: str, entry: Record, whose: str) -> tuple[str, str, str]:
    low, high = entry.get("low"), entry.get("high")
    interval = "" if low is None else f"95 % {low:.3f} to {high:.3f}, "
    value = f"{entry['value']:.3f}" if "value" in entry else "none"
    return title, value, f"{interval}n={entry.get('n', '?')}, {whose}"


def _title(name: str) -> str:
    return name[0].upper() + name[1:]
