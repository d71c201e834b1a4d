"""Ways to make a better int8 file without training, and the one that changes the fewest answers.

    prepared = prepare(model, calibration_images)
    result = search(prepared, reference, images, labels, class_names, unseen=train_images)
    result.best.data

A method's name decodes itself: ``ptq-cle+mse+split+gptq+bias`` is post-training quantization with
evened channels (cross-layer equalisation), ranges of least squared error, split channels, compensated
rounding (GPTQ) and corrected biases. Ranges and rounding are fitted to train. What chooses is val and, without their
labels, images of train that nothing was fitted to: among good methods val alone decides by an image or
two, which is chance. :mod:`converters.scoring` says what an answer is and which file is the best.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tf_keras as keras
from numpy.typing import NDArray

from converters import audit
from converters.bias_correction import correct_biases
from converters.equalize import equalize
from converters.lowering import CalibratedModel, calibrate, quantize_int8
from converters.moments import Moments, input_moments
from converters.ranges import Histogram, choose_ranges, histograms, mse_range, percentile_range
from converters.rounding import round_weights
from converters.scaling import InputScaling
from converters.scoring import CLASSES, Scoring, auc_drop, scoring_of
from converters.splitting import split_channels
from edgecell.errors import ConvertError, DataError
from edgecell.runtime import Predictor, TFLitePredictor


@dataclass(frozen=True)
class Method:
    """What is done to the plain conversion; ``ranges`` is "minmax", "mse" or "percentile-99.9"."""

    ranges: str
    equalized: bool = False
    compensated: bool = False
    bias: bool = False
    split: bool = False


METHODS: dict[str, Method] = {
    "ptq-minmax": Method("minmax"),
    "ptq-percentile-99.9": Method("percentile-99.9"),
    "ptq-percentile-99.99": Method("percentile-99.99"),
    "ptq-mse": Method("mse"),
    "ptq-minmax+bias": Method("minmax", bias=True),
    "ptq-mse+bias": Method("mse", bias=True),
    "ptq-cle+mse+bias": Method("mse", equalized=True, bias=True),
    "ptq-minmax+gptq+bias": Method("minmax", compensated=True, bias=True),
    "ptq-mse+gptq+bias": Method("mse", compensated=True, bias=True),
    "ptq-cle+mse+gptq+bias": Method("mse", equalized=True, compensated=True, bias=True),
    "ptq-mse+split+gptq+bias": Method("mse", split=True, compensated=True, bias=True),
    "ptq-cle+mse+split+gptq+bias": Method(
        "mse", equalized=True, split=True, compensated=True, bias=True
    ),
}
"""Tried in this order, from the simplest on; the first one is what ``--int8`` alone does."""

PLAIN = "ptq-minmax"


@dataclass
class Prepared:
    """A calibrated model with all that its methods measure, each measured when first asked for.

    ``images`` uint8 (N, H, W, 3) are the calibration images.
    """

    calibrated: CalibratedModel
    scaling: InputScaling
    images: NDArray[np.uint8]
    _graphs: dict[bool, CalibratedModel] = field(default_factory=dict, repr=False)
    _histograms: dict[bool, dict[str, Histogram]] = field(default_factory=dict, repr=False)
    _moments: dict[bool, dict[str, Moments]] = field(default_factory=dict, repr=False)

    def graph(self, equalized: bool) -> CalibratedModel:
        """The calibrated graph as it is, or with evened channels."""
        if not equalized:
            return self.calibrated
        if True not in self._graphs:
            self._graphs[True] = equalize(self.calibrated, self.images, self.scaling)
        return self._graphs[True]

    def histograms(self, equalized: bool) -> dict[str, Histogram]:
        """Histograms of the activations of that graph."""
        if equalized not in self._histograms:
            graph = self.graph(equalized)
            self._histograms[equalized] = histograms(graph, self.images, self.scaling)
        return self._histograms[equalized]

    def moments(self, equalized: bool) -> dict[str, Moments]:
        """Moments of the layers' inputs in that graph."""
        if equalized not in self._moments:
            graph = self.graph(equalized)
            self._moments[equalized] = input_moments(graph, self.images, self.scaling)
        return self._moments[equalized]


@dataclass(frozen=True)
class Candidate:
    """One method's file and what it does on val. Drops are reference minus converted: fractions.

    ``lost`` right answers of the reference are wrong, ``gained`` wrong ones right. ``changed`` answers
    and ``probability_error`` (:meth:`converters.scoring.Scoring.error`) are over val and the unseen images
    together. Where images have several labels an answer is the decision about one of them, ``accuracy``
    and ``agreement`` are shares of decisions, F1 is a label's at 0.5, and ``auc_drop`` is that of the mean
    AUC; None for classes.
    """

    method: str
    data: bytes = field(repr=False)
    accuracy: float
    macro_f1: float
    agreement: float
    accuracy_drop: float
    macro_f1_drop: float
    worst_class: str
    worst_class_f1_drop: float
    lost: int
    gained: int
    changed: int
    probability_error: float
    size_bytes: int
    seconds: float
    auc_drop: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON types, without the file itself, and without ``auc_drop`` where there is none."""
        left_out = ("data", *(("auc_drop",) if self.auc_drop is None else ()))
        return {key: value for key, value in vars(self).items() if key not in left_out}


@dataclass(frozen=True)
class SearchResult:
    """All candidates in the order they were tried, and the name of the best by ``rule``.

    ``n`` images of val and ``n_unseen`` of train judged them, ``answers`` in all: one to an image, or one
    about each of its labels. ``skipped`` holds, by method, why it cannot be applied to this network.
    """

    candidates: tuple[Candidate, ...]
    chosen: str
    reference_accuracy: float
    n: int
    n_unseen: int
    answers: int
    skipped: Mapping[str, str]
    rule: str

    @property
    def best(self) -> Candidate:
        """The chosen candidate."""
        return next(each for each in self.candidates if each.method == self.chosen)

    def to_json(self) -> dict[str, Any]:
        """JSON types, without the files."""
        return {
            "chosen": self.chosen,
            "rule": self.rule,
            "n": self.n,
            "n_unseen": self.n_unseen,
            "reference_accuracy": self.reference_accuracy,
            "candidates": [each.to_json() for each in self.candidates],
            "skipped": dict(self.skipped),
        }


def prepare(model: keras.Model, images: NDArray[np.uint8]) -> Prepared:
    """Calibrate ``model`` on ``images`` uint8 (N, H, W, 3) of train, once for all methods.

    Raises:
        ConvertError: as :func:`~converters.lowering.calibrate`, or no images.
    """
    if len(images) == 0:
        raise ConvertError("int8 needs calibration images from the train split and got none")
    calibrated, scaling = calibrate(model, images)
    return Prepared(calibrated, scaling, images)


def build(
    prepared: Prepared,
    method: Method,
    input_type: str = "uint8",
    *,
    float_nodes: frozenset[str] = frozenset(),
) -> bytes:
    """The file of one method; ``float_nodes`` as in :func:`~converters.lowering.quantize_int8`.

    Raises:
        ConvertError: ranges of an unknown name, no channel to split, or the quantizer refuses the graph.
    """
    graph = prepared.graph(method.equalized)
    if method.ranges != "minmax":
        found = prepared.histograms(method.equalized)
        graph = graph.with_ranges(choose_ranges(found, _rule(method.ranges)))
    if method.split:
        graph = split_channels(graph)
    data = quantize_int8(graph, input_type, float_nodes=float_nodes)
    if not method.compensated and not method.bias:
        return data
    if method.split:
        moments = input_moments(graph, prepared.images, prepared.scaling)
    else:
        moments = prepared.moments(method.equalized)
    if method.compensated:
        data = round_weights(data, graph, moments)
    return correct_biases(data, graph, moments) if method.bias else data


def search(
    prepared: Prepared,
    reference: Predictor,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
    *,
    unseen: NDArray[np.uint8] | None = None,
    methods: Mapping[str, Method] = METHODS,
    input_type: str = "uint8",
    step: Callable[[str], None] = lambda note: None,
) -> SearchResult:
    """Build every method's file and judge it; ``step`` is called after each with a line.

    ``images`` uint8 (N, H, W, 3), ``labels`` int64 (N,), or (N, C) of several labels, are val's;
    ``unseen`` uint8 (M, H, W, 3) are images of train that are not among ``prepared.images``. A method
    that this network gives nothing to work on, or that does not end in an int8 file, is skipped with
    its reason.

    Raises:
        ConvertError: no method, or none that can be built. DataError: no images.
    """
    if not methods:
        raise ConvertError(f"no method to try; allowed: {', '.join(METHODS)}")
    if len(images) == 0 or len(images) != len(labels):
        raise DataError(
            f"search got {len(images)} images and {len(labels)} labels; allowed: as many"
        )
    judged = images if unseen is None else np.concatenate([images, unseen])
    expected = reference.predict(judged)
    candidates: list[Candidate] = []
    skipped: dict[str, str] = {}
    for name, method in methods.items():
        started = time.monotonic()
        try:
            data = build(prepared, method, input_type)
            report = audit.audit(data, "int8", input_type, scaling=prepared.scaling, name=name)
            audit.require(report, name)
        except ConvertError as error:
            skipped[name] = str(error)
            step(f"{name}: skipped, {error}")
            continue
        found = TFLitePredictor(data, threads=0, name=name).predict(judged)
        seconds = time.monotonic() - started
        candidates.append(judge(name, data, expected, found, labels, class_names, seconds))
        step(_line(candidates[-1]))
    if not candidates:
        raise ConvertError(next(iter(skipped.values())))
    how, n = scoring_of(labels), len(labels)
    return SearchResult(
        tuple(candidates),
        choose(candidates, how).method,
        how.quality(labels, expected[:n]).accuracy,
        n,
        len(judged) - n,
        int(how.answers(expected).size),
        skipped,
        how.rule,
    )


def judge(
    name: str,
    data: bytes,
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    labels: NDArray[np.int64],
    class_names: tuple[str, ...],
    seconds: float,
) -> Candidate:
    """Probabilities (N + M, C) of the reference and of a file, the first N held against labels.

    ``labels`` int64 (N,), or (N, C) of several labels.
    """
    how, n = scoring_of(labels), len(labels)
    was, now = how.answers(expected), how.answers(found)
    same, right = was == now, (was[:n] == labels, now[:n] == labels)
    before, after = how.quality(labels, expected[:n]), how.quality(labels, found[:n])
    drops = before.f1 - after.f1
    # Of val without any label all have a drop of 0.
    present = np.flatnonzero(before.present) if before.present.any() else np.arange(len(drops))
    worst = int(present[np.argmax(drops[present])])
    return Candidate(
        method=name,
        data=data,
        accuracy=after.accuracy,
        macro_f1=after.macro_f1,
        agreement=float(same[:n].mean()),
        accuracy_drop=before.accuracy - after.accuracy,
        macro_f1_drop=before.macro_f1 - after.macro_f1,
        worst_class=class_names[worst],
        worst_class_f1_drop=float(drops[worst]),
        lost=int((right[0] & ~right[1]).sum()),
        gained=int((~right[0] & right[1]).sum()),
        changed=int((~same).sum()),
        probability_error=how.error(expected, found),
        size_bytes=len(data),
        seconds=round(seconds, 1),
        auc_drop=auc_drop(before, after),
    )


def choose(candidates: list[Candidate], how: Scoring = CLASSES) -> Candidate:
    """The best candidate by ``how.rule``; of equals the one that was tried first."""
    return min(candidates, key=how.badness)


def _rule(name: str) -> Callable[[Histogram], tuple[float, float]]:
    if name == "mse":
        return mse_range
    percentile = re.fullmatch(r"percentile-(\d+(?:\.\d+)?)", name)
    if percentile is None or not 50 < float(percentile[1]) < 100:
        raise ConvertError(
            f"unknown ranges '{name}'; allowed: minmax, mse, percentile-P with 50 < P < 100"
        )
    percent = float(percentile[1])
    return lambda histogram: percentile_range(histogram, percent)


def _line(candidate: Candidate) -> str:
    lost = f" AUC drop {candidate.auc_drop:+.4f}," if candidate.auc_drop is not None else ""
    return (
        f"{candidate.method}: accuracy drop {candidate.accuracy_drop:+.4f},{lost}"
        f" agreement {candidate.agreement:.4f}, {candidate.changed} answers changed"
    )
