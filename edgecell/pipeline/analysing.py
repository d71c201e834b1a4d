"""``edgecell quantize --analyze`` and ``--keep-float``: which layers int8 hurts, and sparing them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.latency import Pace, time_interleaved
from benchmarks.spread import summarize
from converters import audit
from converters.calibration import choose
from converters.scoring import scoring_of
from converters.search import METHODS, PLAIN, Candidate, build, judge
from converters.sensitivity import LayerCost, analyze, quantizable, worst_nodes
from converters.verify import VerifyReport, refusal, verify
from edgecell import disk, plots
from edgecell.errors import ConvertError
from edgecell.lock import claimed
from edgecell.pipeline.quantize_settings import AUTO
from edgecell.pipeline.searching import Material
from edgecell.pipeline.verification import budget_of
from edgecell.runtime import Predictor, TFLitePredictor

MOST_IMAGES = 2000
"""Val images for the layers; a stratified sample of larger splits keeps it to minutes."""

_TIMED_IMAGES = 16


@dataclass(frozen=True)
class Mixed:
    """A mixed file, or None where plain int8 passes already, and the trade as JSON types."""

    data: bytes | None
    float_layers: list[str]
    trade: dict[str, Any]


@dataclass
class Known:
    """A predictor whose answers to one set of images are there already."""

    name: str
    image_size: tuple[int, int]
    class_count: int
    output_scale: float | None
    answers: NDArray[np.float32]

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The answers; they fit only the images they were made from."""
        assert len(images) == len(self.answers)
        return self.answers


def analyze_in(material: Material) -> list[LayerCost]:
    """Every layer quantized alone; RUN/analyze/{sensitivity.json,sensitivity.png,record.json}.

    An analysis of the same model, images and settings that is there already is read instead.

    Raises:
        ConvertError, DataError: as in :func:`converters.sensitivity.analyze`. BusyError: another process
        analyses the same run.
    """
    with claimed(material.run.path, "analyze"):
        return _analyze_in(material)


def _analyze_in(material: Material) -> list[LayerCost]:
    run = material.run
    settings = material.settings() | {"val_images": MOST_IMAGES}
    if run.is_current(
        "analyze",
        inputs=[material.target.model],
        config=settings,
        input_hashes=material.hashes,
    ):
        material.progress.say("analyze: unchanged, read")
        known = run.read_record("analyze")["results"]["layers"]
        return [LayerCost(**{k: v for k, v in layer.items() if k != "rank"}) for layer in known]
    prepared, labels = material.prepared, material.dataset.val.labels
    sample = choose(labels, min(MOST_IMAGES, len(labels)), material.config.quantize.seed)
    images = material.val_images[sample]
    expected = material.reference.predict(images)
    progress, done = material.progress, 0
    progress.begin("quantizing layers alone", len(quantizable(prepared.calibrated)))

    def step(note: str) -> None:
        nonlocal done
        done += 1
        progress.advance(done)

    costs = analyze(
        prepared.calibrated, prepared.scaling, expected, images, labels[sample], step=step
    )
    layers = [{"rank": i} | cost.to_json() for i, cost in enumerate(costs, 1)]
    how = scoring_of(labels)
    results = {"rule": how.layer_rule, "n": len(images), "layers": layers}
    folder = run.stage("analyze")
    disk.atomic_write_json(folder / "sensitivity.json", results)
    picture = plots.save(
        plots.sensitivity(layers, change=how.error_title), folder / "sensitivity.png"
    )
    run.write_record(
        "analyze",
        inputs=[material.target.model],
        input_hashes=material.hashes,
        outputs=[folder / "sensitivity.json", picture],
        config=settings,
        results=results,
    )
    return costs


def keep_float(material: Material, method: str = PLAIN) -> Mixed:
    """Leave the worst layers of :func:`analyze_in` in float: so many as the configuration says.

    "auto" takes the fewest that pass verify's checks on val. ``method`` makes the integer part. What
    size and latency it costs is measured on this host, beside the int8 file of the same method.

    Raises:
        ConvertError: more layers than there are, or no number of them that passes.
    """
    wanted = material.config.quantize.keep_float
    costs = analyze_in(material)
    limit = sum(cost.weights > 0 for cost in costs)
    counts = [0, *range(1, limit)] if wanted == AUTO else [0, int(wanted)]
    expected = material.reference.predict(material.val_images)
    known = _known(material.reference, expected)
    rows, files, reports = [], [], []
    material.progress.begin("leaving layers in float", len(counts))
    for count in counts:
        nodes = worst_nodes(costs, count) if count else frozenset()
        data = build(
            material.prepared,
            METHODS[method],
            material.config.quantize.input_type,
            float_nodes=nodes,
        )
        candidate, report = _judge(material, known, data, count)
        rows.append(_row(candidate, count, report.passed))
        key, what = _judged_by(rows[0])
        files.append(data)
        reports.append(report)
        material.progress.advance(
            len(rows), f"{_in_float(count)}: {what} drop {rows[-1][key]:+.4f}"
        )
        if wanted == AUTO and report.passed:
            break
    if wanted != AUTO:
        _say_what_more_is_lost(material, rows)
    elif not reports[-1].passed:
        raise ConvertError(_none_passes(rows, reports))
    chosen = rows[-1]["float_layers"]
    if chosen:
        _time(rows[0], rows[-1], files[0], files[-1], material.val_images[:_TIMED_IMAGES])
    labels = [cost.label for cost in costs if chosen and cost.node in worst_nodes(costs, chosen)]
    trade = {"wanted": wanted, "chosen": chosen, "method": method, "rows": rows}
    return Mixed(files[-1] if chosen else None, labels, trade)


def _none_passes(rows: list[dict[str, Any]], reports: list[VerifyReport]) -> str:
    """Why no number of layers is enough: what refuses the file that fails least, and what to do."""

    def badness(place: int) -> tuple[int, float]:
        row, report = rows[place], reports[place]
        worst = report.worst_class()
        lost = 0.0 if worst is None else worst.f1_drop if worst.auc_drop is None else worst.auc_drop
        failed = sum(check.passed is False for check in report.checks)
        return failed, lost + row[_judged_by(row)[0]]

    best = min(range(len(rows)), key=badness)
    dead = reports[best].checks[0].passed is False
    advice = "train it longer with 'edgecell train'" if dead else "try --qat or a larger budget"
    return (
        f"no number of float layers from 0 to {rows[-1]['float_layers']} passes verify on val; the best,"
        f" {reports[best].converted}, is {refusal(reports[best])}; {advice}"
    )


def _say_what_more_is_lost(material: Material, rows: list[dict[str, Any]]) -> None:
    """A note where a file with layers in float loses more than the one without."""
    without, mixed = rows[0], rows[-1]
    key, what = _judged_by(without)
    if round(mixed[key], 4) > round(without[key], 4):
        material.progress.say(
            f"note: with {_in_float(mixed['float_layers'])} the {what} drop on val is"
            f" {mixed[key]:+.4f}, with none {without[key]:+.4f}; --keep-float auto takes the fewest that"
            " pass verify"
        )


def _in_float(count: int) -> str:
    return f"{count} layer{'' if count == 1 else 's'} in float"


def _known(reference: Predictor, expected: NDArray[np.float32]) -> Known:
    return Known(
        reference.name,
        reference.image_size,
        reference.class_count,
        reference.output_scale,
        expected,
    )


def _judge(
    material: Material, known: Known, data: bytes, count: int
) -> tuple[Candidate, VerifyReport]:
    labels, names = material.dataset.val.labels, material.dataset.class_names
    config = material.config
    precision = "mixed" if count else "int8"
    name = f"{precision} with {_in_float(count)}"
    structure = audit.audit(
        data,
        precision,
        config.quantize.input_type,
        scaling=material.prepared.scaling,
        name=name,
    )
    predictor = TFLitePredictor(data, threads=0, name=name)
    found = predictor.predict(material.val_images)
    answered = Known(name, known.image_size, known.class_count, predictor.output_scale, found)
    report = verify(
        known, answered, material.val_images, labels, names, budget_of(config.verify), structure
    )
    return judge(name, data, known.answers, found, labels, names, 0.0), report


def _row(candidate: Candidate, count: int, passed: bool) -> dict[str, Any]:
    lost = {} if candidate.auc_drop is None else {"auc_drop": candidate.auc_drop}
    return {
        "float_layers": count,
        "size_bytes": candidate.size_bytes,
        "accuracy_drop": candidate.accuracy_drop,
        "agreement": candidate.agreement,
        "worst_class_f1_drop": candidate.worst_class_f1_drop,
        **lost,
        "passed": passed,
    }


def _judged_by(row: dict[str, Any]) -> tuple[str, str]:
    """What the row has that verify looks at first: key and name of a drop."""
    return ("auc_drop", "AUC") if "auc_drop" in row else ("accuracy_drop", "accuracy")


def _time(
    before: dict[str, Any],
    after: dict[str, Any],
    plain: bytes,
    mixed: bytes,
    images: NDArray[np.uint8],
) -> None:
    """Add p50 on this host with one thread to both rows, the two files taking turns."""
    pair = [TFLitePredictor(data, threads=1) for data in (plain, mixed)]
    times = time_interleaved(pair, [images, images], Pace(runs=200, seconds=0.5))
    for row, each in zip((before, after), times, strict=True):
        row["latency"] = summarize(each)["p50"]
