"""Models of several benches side by side, each tested against one of them on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from benchmarks import speed
from benchmarks.ranking import RankingDrop, ranking_drop
from benchmarks.sources import Source
from edgecell.data.groups import dependence_line
from edgecell.errors import ConfigError
from edgecell.metrics import confusion_matrix, macro_f1, percentile_interval, with_width
from edgecell.metrics.paired import discordant, paired_bootstrap, tango_interval
from edgecell.predictions import read_answers
from edgecell.record import Measurement
from edgecell.tasks import task_of_record

SCHEMA = "edgecell/comparison"
SCHEMA_VERSION = 1
ALPHA = 0.05
_OF_LABELS = (
    "Drops are those against the baseline: positive is worse. Brackets are 95 % intervals; drop of mean AUC: "
    "DeLong's, image by image.",
    "p: two-sided test of that drop (Student's t), with Holm's correction over the models compared here. No "
    "difference seen is not the same as no difference.",
)
SEVERAL = (
    "no test in pairs where an image can have several labels: bench both with this edgecell, or compare mean"
    " AUC and its interval in each model's row"
)
_ONE_OF_TWO = "only one of the two can say several labels of an image"
_BY_LABELS = "several labels to an image are compared by mean AUC"
NOTES = (
    "Drops are those against the baseline: positive is worse. Brackets are 95 % intervals; accuracy: Tango's "
    "score interval for matched pairs, macro-F1: paired bootstrap over images.",
    "p: McNemar's exact two-sided test, with Holm's correction over the models compared here. No difference "
    "seen is not the same as no difference.",
    "× time: of two models timed in one run, or through a model that was timed in both; its interval is that "
    "of the worst case.",
    "Several models compared on one test set: the best of many is optimistic.",
)


@dataclass(frozen=True)
class Entry:
    """A model and the source it stands in; ``label`` is unique in the comparison."""

    label: str
    model: dict[str, Any]
    source: Source


def compare(sources: Sequence[Source], baseline: str | None = None) -> dict[str, Any]:
    """All models of ``sources`` as JSON, and each against the ``baseline`` [default: the first].

    ``baseline`` is a label, or a part of exactly one.

    Raises:
        ConfigError: a baseline that is none of the models, or several; fewer than two models.
        ArtifactError: answers that cannot be read.
    """
    entries = _entries(sources)
    if len(entries) < 2:
        raise ConfigError("one model is no comparison; name another run or bench too")
    first = _baseline(entries, baseline)
    pairs = [_pair(first, each) for each in entries if each is not first]
    _correct(pairs)
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "baseline": first.label,
        "sources": [
            {"label": s.label, "kind": s.kind, "host": s.host, "models": len(s.models)}
            for s in sources
        ],
        "models": [e.model | {"label": e.label, "source": e.source.label} for e in entries],
        "pairs": pairs,
        "warnings": _warnings(sources, entries),
        "notes": [*_OF_LABELS, *NOTES[2:]] if _several(first.model) else list(NOTES),
    }


def _several(model: Mapping[str, Any]) -> bool:
    return task_of_record(model["quality"]).multi_label


def _entries(sources: Sequence[Source]) -> list[Entry]:
    several = len(sources) > 1
    return [
        Entry(f"{source.label}: {model['name']}" if several else model["name"], model, source)
        for source in sources
        for model in source.models
    ]


def _baseline(entries: Sequence[Entry], wanted: str | None) -> Entry:
    if wanted is None:
        return entries[0]
    exact = [each for each in entries if each.label == wanted]
    found = exact or [each for each in entries if wanted in each.label]
    if len(found) != 1:
        meant = "several" if found else "none"
        labels = ", ".join(f"'{each.label}'" for each in found or entries)
        raise ConfigError(f"--baseline '{wanted}' means {meant} of the models; allowed: {labels}")
    return found[0]


def _pair(base: Entry, other: Entry) -> dict[str, Any]:
    """``other`` against ``base``: accuracy where they saw the same images, size, time."""
    found = speed.change(other.model, other.source, base.model, base.source)
    pair: dict[str, Any] = {"model": other.label, "against": base.label}
    pair |= paired(base.model, other.model)
    return pair | {
        "size_ratio": _size_ratio(base.model, other.model).to_json(),
        "latency_ratio": found.ratio.to_json(),
        "latency_how": found.how,
    }


def paired(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both models' answers on the same images: drops with intervals, who alone is right, p; or a reason.

    Where ``base`` can say several labels of an image there is an "auc_drop", or a reason in its place.

    Raises:
        ArtifactError: answers that cannot be read.
    """
    if _several(base):
        return _paired_labels(base, other)
    answers = same_answers(base, other)
    if isinstance(answers, str):
        missing = Measurement.missing("fraction", answers).to_json()
        return {key: missing for key in ("accuracy_drop", "macro_f1_drop", "agreement")}
    labels, before, after = answers
    classes = len(base["quality"]["classes"])
    lost, gained = discordant(before == labels, after == labels)
    n = len(labels)
    ends = tango_interval(lost, gained, n)
    draws = paired_bootstrap(labels, before, after, classes)
    f1 = [macro_f1(confusion_matrix(labels, said, classes)) for said in (before, after)]
    f1_ends = with_width(percentile_interval(draws["macro_f1"]))
    drop = Measurement.within((lost - gained) / n, "fraction", n, ends)
    p = stats.binomtest(lost, lost + gained, 0.5).pvalue if lost + gained else 1.0
    return {
        "accuracy_drop": drop.to_json(),
        "macro_f1_drop": Measurement.within(float(f1[0] - f1[1]), "fraction", n, f1_ends).to_json(),
        "agreement": Measurement(float((before == after).mean()), "fraction", n).to_json(),
        "lost": lost,
        "gained": gained,
        "p": float(p),
    }


def _paired_labels(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The drop of the mean AUC with interval and p; or a reason."""
    found: RankingDrop | str = SEVERAL
    told = [each.get("ranking") for each in (base, other)]
    if not _several(other):
        found = _ONE_OF_TWO
    elif base.get("images") is None or base.get("images") != other.get("images"):
        found = "they did not see the same images"
    elif told[0] is not None and told[1] is not None:
        found = "they were not given the same labels"
        names = [[row["name"] for row in each["quality"]["classes"]] for each in (base, other)]
        if names[0] == names[1]:
            found = ranking_drop(told[0], told[1])
    if isinstance(found, str):
        missing = Measurement.missing("fraction", found).to_json()
        return {key: missing for key in ("auc_drop", "accuracy_drop", "macro_f1_drop")}
    other_way = Measurement.missing("fraction", _BY_LABELS).to_json()
    return {
        "auc_drop": found.drop.to_json(),
        "accuracy_drop": other_way,
        "macro_f1_drop": other_way,
        "p": found.p,
    }


def same_answers(
    base: dict[str, Any], other: dict[str, Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | str:
    """Labels and the predictions of both, (N,) each; or why they cannot be paired.

    Raises:
        ArtifactError: answers that cannot be read.
    """
    told = [each["quality"].get("answers") for each in (base, other)]
    if _several(base) or _several(other):
        return _ONE_OF_TWO
    if None in told:
        return "the answers to single images were not kept; bench again with this edgecell"
    if base.get("images") is None or base.get("images") != other.get("images"):
        return "they did not see the same images"
    names = [[row["name"] for row in each["quality"]["classes"]] for each in (base, other)]
    (labels, before), (again, after) = (read_answers(each) for each in told)
    if names[0] != names[1] or not np.array_equal(labels, again):
        return "they were not given the same labels"
    return labels, before, after


def _correct(pairs: list[dict[str, Any]]) -> None:
    """Holm's correction over all pairs that were tested, and what it says in a word."""
    tested = [pair for pair in pairs if "p" in pair]
    if tested:
        corrected = multipletests([pair["p"] for pair in tested], method="holm")[1]
        for pair, p in zip(tested, corrected, strict=True):
            pair["p_holm"] = float(p)
            better = "worse" if primary_drop(pair)["value"] > 0 else "better"
            pair["verdict"] = better if p <= ALPHA else "no difference seen"
    for pair in pairs:
        pair.setdefault("verdict", "not tested")


def primary_drop(pair: Mapping[str, Any]) -> dict[str, Any]:
    """How far the figure fell that decides: the mean AUC of several labels, else the accuracy."""
    drop: dict[str, Any] = pair["auc_drop"] if "auc_drop" in pair else pair["accuracy_drop"]
    return drop


def _size_ratio(base: dict[str, Any], other: dict[str, Any]) -> Measurement:
    sizes = [each.get("footprint", {}).get("size", {}).get("value") for each in (other, base)]
    if None in sizes or not sizes[1]:
        return Measurement.missing("1", "one of the two was not weighed")
    return Measurement(sizes[0] / sizes[1], "1")


def _warnings(sources: Sequence[Source], entries: Sequence[Entry]) -> list[str]:
    found = []
    if len({entry.model.get("images") for entry in entries}) > 1:
        found.append(
            "not all models are known to have seen the same images: accuracies of others do not compare"
        )
    found += dict.fromkeys(filter(None, map(_dependence, entries)))
    timed = [source for source in sources if source.kind == "bench"]
    for source in timed[1:]:
        apart = speed.differences(source, timed[0])
        if apart:
            found.append(
                f"{source.label} and {timed[0].label} ran on different machines ({'; '.join(apart)}):"
                " their times do not compare, ratios within a bench do"
            )
    return found


def _dependence(entry: Entry) -> str:
    """What is to be said of a model's images that come in groups, or ""."""
    quality, groups = entry.model["quality"], entry.model.get("groups")
    return dependence_line(quality.get("split", "test"), quality["n"], groups) if groups else ""
