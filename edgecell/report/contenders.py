"""What a comparison shows of each model: its figures by axis, its classes, its confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edgecell.tasks import task_of_record

Better = Literal["high", "low", ""]


@dataclass(frozen=True)
class Axis:
    """A figure that models can be compared by: a column of the table, an axis of the chart.

    ``scale`` turns the measurement's own unit into ``unit``; ``shown`` puts it into the table.
    ``rank`` is its place among the axes.
    """

    key: str
    title: str
    rank: float
    better: Better = ""
    unit: str = ""
    scale: float = 1.0
    digits: int = 3
    shown: bool = False


ACCURACY = Axis("accuracy", "Accuracy", 0, "high", shown=True)
MACRO_F1 = Axis("macro_f1", "Macro F1", 1, "high", shown=True)
WORST_F1 = Axis("worst_f1", "Weakest class", 2, "high", shown=True)
AUC = Axis("auc", "AUC", 3, "high", digits=4)
ECE = Axis("ece", "Calibration error", 4, "low", digits=4)
KAPPA = Axis("kappa", "Kappa", 0.5, "high", shown=True)
# Of several labels to an image; their accuracy is of decisions and does not compare with the other.
MEAN_AUC = Axis("mean_auc", "Mean AUC", -1, "high", digits=4, shown=True)
LABEL_ACCURACY = Axis("label_accuracy", "Label accuracy", -0.9, "high", digits=4, shown=True)
EXACT_MATCH = Axis("exact_match", "All labels right", -0.8, "high")
WORST_AUC = Axis("worst_auc", "Weakest label, AUC", 2.1, "high", shown=True)
SIZE = Axis("size", "Size", 5, "low", "kB", 1e-3, 1, shown=True)
DEFLATED = Axis("deflated", "Size, deflated", 6, "low", "kB", 1e-3, 1)
RATIO = Axis("ratio", "× float32", 40, "low", "× float32", digits=2, shown=True)
MEMORY = Axis("memory", "Memory", 41, "low", "MB", 1e-6, 1, shown=True)
ARENA = Axis("arena", "Arena", 41.5, "low", "kB", 1e-3, 1, shown=True)
FIRST = Axis("first", "First inference", 42, "low", "ms")
LOAD = Axis("load", "Load", 43, "low", "ms")
MACS = Axis("macs", "Multiplications", 44, "low", "millions", 1e-6, 1)


@dataclass(frozen=True)
class Contender:
    """One model of a comparison.

    ``figures``: axis → measurement as JSON. ``notes``: axis → a word that goes with it. ``classes``:
    {name, support, f1} of each class, and auc of each label where several can hold at once. ``images``
    names the images it was measured on: equal only where they are the same, None where that is not
    known. ``passed``: verify's verdict, None without one.
    """

    name: str
    group: str
    figures: Mapping[Axis, Mapping[str, Any]]
    classes: Sequence[Mapping[str, Any]] = ()
    confusion: Sequence[Sequence[int]] = ()
    images: str | None = None
    passed: bool | None = None
    notes: Mapping[Axis, str] = field(default_factory=dict)

    @property
    def class_names(self) -> list[str]:
        """The names of its classes, in order."""
        return [row["name"] for row in self.classes]


def of_bench(
    model: Mapping[str, Any], *, name: str | None = None, images: str | None = None
) -> Contender:
    """A model of a bench's results.

    Raises:
        KeyError: the results lack a part.
    """
    footprint, timings = model["footprint"], model["latency"]
    figures = dict(of_quality(model["quality"]))
    figures |= {
        SIZE: footprint["size"],
        DEFLATED: footprint["deflated"],
        _memory_axis(footprint["memory"]["over_baseline"]): footprint["memory"]["over_baseline"],
        MACS: model["operators"]["macs"],
    }
    for timing in timings:
        figures |= _times(timing)
    if timings:
        figures |= {RATIO: timings[0]["ratio"], FIRST: timings[0]["first"]}
        figures[LOAD] = timings[0]["load"]
    for entry in model["throughput"]:
        figures[_rate(entry["batch"], entry["threads"])] = entry["rate"]
    return Contender(
        name or model["name"],
        model["precision"],
        figures,
        model["quality"]["classes"],
        model["quality"].get("confusion", ()),  # a device that gives no answers has none
        images,
        {"passed": True, "failed": False}.get(model.get("verify", "")),
        weakest(model["quality"]),
    )


def of_evaluation(
    model: Mapping[str, Any], *, name: str | None = None, images: str | None = None
) -> Contender:
    """A model that was evaluated and neither weighed nor timed.

    Raises:
        KeyError: the results lack a part.
    """
    quality = model["quality"]
    return Contender(
        name or model["name"],
        model["precision"],
        of_quality(quality),
        quality["classes"],
        quality.get("confusion", ()),
        images,
        notes=weakest(quality),
    )


def _memory_axis(data: Mapping[str, Any]) -> Axis:
    """A process's memory, or a microcontroller's arena, which is kilobytes and estimated."""
    return ARENA if data.get("kind") == "estimated" else MEMORY


def of_quality(quality: Mapping[str, Any]) -> dict[Axis, Mapping[str, Any]]:
    """The figures of an evaluation."""
    if task_of_record(quality).multi_label:
        return {
            MEAN_AUC: quality["auc"],
            LABEL_ACCURACY: quality["accuracy"],
            EXACT_MATCH: quality["exact_match"],
            MACRO_F1: quality["macro_f1"],
            WORST_AUC: quality["worst_class"]["auc"],
            ECE: quality["ece"],
        }
    figures = {axis: quality[axis.key] for axis in (ACCURACY, MACRO_F1, AUC, ECE)}
    if "kappa" in quality:
        figures[KAPPA] = quality["kappa"]
    return figures | {WORST_F1: quality["worst_class"]["f1"]}


def weakest(quality: Mapping[str, Any]) -> dict[Axis, str]:
    """The name of the weakest class or label, beside its figure."""
    worst = quality["worst_class"]
    return {WORST_AUC if "auc" in worst else WORST_F1: worst["name"]}


def axes_of(contenders: Sequence[Contender]) -> list[Axis]:
    """The axes that any of them has a value on, in order."""
    found = {axis for each in contenders for axis, data in each.figures.items() if "value" in data}
    return sorted(found, key=lambda axis: axis.rank)


def _times(timing: Mapping[str, Any]) -> dict[Axis, Mapping[str, Any]]:
    threads = timing["threads"]
    said = "1 thread" if threads == 1 else f"{threads} threads"
    return {
        Axis(
            f"{key}_{threads}",
            f"{key}, {said}",
            10 * (i + 1) + threads / 1000,
            "low",
            "ms",
            shown=key == "p50",
        ): timing[key]
        for i, key in enumerate(("p50", "p90", "p99"))
    }


def _rate(batch: int, threads: int) -> Axis:
    said = "1 thread" if threads == 1 else f"{threads} threads"
    title = f"Images a second, batch {batch}, {said}"
    return Axis(f"rate_{batch}_{threads}", title, 50 + batch + threads / 1000, "high", digits=0)
