"""Is a bench worse than the one before it? Accuracy, bytes and latency against limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import speed
from benchmarks.comparison import paired
from benchmarks.ranking import RankingDrop, ranking_drop, read_ranking
from benchmarks.sources import Source
from edgecell.errors import ArtifactError, ConfigError, DataError
from edgecell.metrics.paired import worse_p
from edgecell.naming import drop_words
from edgecell.record import Measurement
from edgecell.tasks import task_of_record

SIGNIFICANCE = 0.01
"""A fall of accuracy on the same images with this p or less is a regression, whatever the limit."""


@dataclass(frozen=True)
class Limits:
    """How much worse is still allowed, as fractions.

    ``accuracy`` is of the accuracy and of macro-F1, in points: 0.05 allows 0.97 to become 0.92; where an
    image can have several labels, of mean AUC, label accuracy and macro-F1.
    ``bytes`` and ``latency`` are relative: 0.05 allows 100 to become 105.
    """

    accuracy: float = 0.05
    bytes: float = 0.05
    latency: float = 0.05

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value <= 1:
                raise ConfigError(
                    f"--max-regress {name}={value:.0%} is outside of 0 % to 100 %; give one like 5%"
                )


def parse_limits(texts: Sequence[str]) -> Limits:
    """``5%`` or ``0.05`` sets all limits, ``latency=10%`` one; later ones win.

    Raises:
        ConfigError: another name, or no such number.
    """
    values: dict[str, float] = {}
    names = list(asdict(Limits()))
    for text in texts:
        name, equals, number = text.rpartition("=")
        if equals and name not in names:
            raise ConfigError(f"--max-regress {text}: no '{name}'; allowed: {', '.join(names)}")
        try:
            value = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
        except ValueError:
            raise ConfigError(
                f"--max-regress {text}: '{number}' is no share; give one like 5% or latency=10%"
            ) from None
        values |= {name: value} if equals else dict.fromkeys(names, value)
    return Limits(**values)


def check_images(before: Source, name: str, images: str) -> None:
    """Refuse a baseline that saw other images than those named ``images``; before anything is measured.

    Raises:
        ArtifactError: it does not say which images it saw, or what it keeps of them cannot be read.
        DataError: it saw others.
    """
    seen = {model.get("images") for model in before.models}
    if None in seen or not all(_tells_answers(model["quality"]) for model in before.models):
        raise ArtifactError(
            f"{name} does not say which images it saw and how each was answered;"
            " make it anew with this edgecell's bench"
        )
    for model in before.models:
        if model.get("ranking"):
            read_ranking(model["ranking"])
    if seen != {images}:
        raise DataError(
            f"{name} was measured on other images than these, so accuracies cannot be compared;"
            " bench with its data set (--data), or make it anew on this one"
        )


def _tells_answers(quality: Mapping[str, Any]) -> bool:
    """Whether what is needed to judge is there; of several labels the figures themselves are judged."""
    return "answers" in quality or task_of_record(dict(quality)).multi_label


def judge(now: Source, before: Source, limits: Limits) -> dict[str, Any]:
    """Every model of ``now`` against its counterpart in ``before``, as JSON.

    A counterpart is the same file, else one of the same name, else the only one of its precision.

    Raises:
        ConfigError: no model has a counterpart.
    """
    findings, alone, used = [], [], set()
    for model in now.models:
        other = _counterpart(model, before)
        if other is None:
            alone.append(model["name"])
            continue
        used.add(other["sha256"])
        findings += [
            {"model": model["name"], "against": other["name"], **finding}
            for finding in (
                *_quality(model, other, limits.accuracy),
                _bytes(model, other, limits.bytes),
                _latency(model, now, other, before, limits.latency),
            )
        ]
    if not findings:
        raise ConfigError(
            f"none of {', '.join(alone)} has a counterpart in the baseline, which holds"
            f" {', '.join(model['name'] for model in before.models)}; bench the same precisions"
        )
    gone = [model["name"] for model in before.models if model["sha256"] not in used]
    return {
        "limits": asdict(limits),
        "findings": findings,
        "regressed": sum(finding["verdict"] == "regressed" for finding in findings),
        "machines": speed.differences(now, before),
        "notes": [
            *(f"{name}: nothing to compare with in the baseline" for name in alone),
            *(f"{name}: in the baseline, not benched now" for name in gone),
        ],
    }


def _counterpart(model: Mapping[str, Any], before: Source) -> dict[str, Any] | None:
    for key in ("sha256", "file", "precision"):
        found = [each for each in before.models if each.get(key) == model[key]]
        if len(found) == 1:
            return found[0]
    return None


def _quality(
    model: dict[str, Any], other: dict[str, Any], limit: float
) -> tuple[dict[str, Any], ...]:
    several = [task_of_record(each["quality"]).multi_label for each in (model, other)]
    return (_labels if all(several) else _accuracy)(model, other, limit)


def _labels(
    model: dict[str, Any], other: dict[str, Any], limit: float
) -> tuple[dict[str, Any], ...]:
    """Figures of several labels against their limit; the mean AUC is tested in pairs too."""
    findings = []
    tested = ranking_drop(other.get("ranking", {}), model.get("ranking", {}))
    for key, name in (
        ("auc", "mean AUC"),
        ("accuracy", "label accuracy"),
        ("macro_f1", "macro-F1"),
    ):
        now, before = (each["quality"][key] for each in (model, other))
        lacking = [each["reason"] for each in (now, before) if "reason" in each]
        if lacking:
            findings.append(_finding(name, "not judged", limit, lacking[0]))
            continue
        fell = before["value"] - now["value"]
        drop = Measurement(fell, "fraction", now["n"])
        said, worse = f"drop {fell:+.4f}, allowed {limit:.1%}", fell > limit
        if key == "auc" and isinstance(tested, RankingDrop):
            drop, fell = tested.drop, tested.drop.value or 0.0
            said = f"drop {drop_words(drop.to_json())}, allowed {limit:.1%}; p {tested.worse_p:.2g}"
            worse = fell > limit or tested.worse_p <= SIGNIFICANCE
        verdict = "regressed" if worse else "ok"
        findings.append(_finding(name, verdict, limit, said, drop.to_json()))
    return tuple(findings)


def _accuracy(
    model: dict[str, Any], other: dict[str, Any], limit: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    tested = paired(other, model)
    findings = []
    for key, name in (("accuracy_drop", "accuracy"), ("macro_f1_drop", "macro-F1")):
        drop = tested[key]
        if "value" not in drop:
            findings.append(_finding(name, "not judged", limit, drop["reason"]))
            continue
        fell = drop_words(drop)
        said = f"drop {fell}, allowed {limit:.1%}"
        worse = drop["value"] > limit
        if key == "accuracy_drop":
            p = worse_p(tested["lost"], tested["gained"])
            said += f"; {tested['lost']} lost, {tested['gained']} gained, p {p:.2g}"
            worse = worse or p <= SIGNIFICANCE
        findings.append(_finding(name, "regressed" if worse else "ok", limit, said, drop))
    return findings[0], findings[1]


def _bytes(model: dict[str, Any], other: dict[str, Any], limit: float) -> dict[str, Any]:
    sizes = [int(each["footprint"]["size"]["value"]) for each in (model, other)]
    more = sizes[0] / sizes[1] - 1
    said = f"{sizes[0]:,}, before {sizes[1]:,}: {more:+.1%}, allowed +{limit:.1%}"
    return _finding("bytes", "regressed" if more > limit else "ok", limit, said)


def _latency(
    model: dict[str, Any], now: Source, other: dict[str, Any], before: Source, limit: float
) -> dict[str, Any]:
    """Regressed where the time is more than allowed, and its interval leaves no room for none."""
    found = speed.change(model, now, other, before)
    ratio = found.ratio.to_json()
    if found.ratio.value is None:
        return _finding("latency", "not judged", limit, str(found.ratio.reason), ratio)
    longer = found.ratio.value > 1 + limit
    sure = found.ratio.low is not None and found.ratio.low > 1
    said = f"× {_ratio(ratio)}, allowed × {1 + limit:.2f}; {found.how}"
    if longer and not sure:
        said += "; the interval holds 1, so this is no proof: measure longer"
    return _finding("latency", "regressed" if longer and sure else "ok", limit, said, ratio)


def _finding(
    quantity: str, verdict: str, limit: float, said: str, change: dict[str, Any] | None = None
) -> dict[str, Any]:
    found = {"quantity": quantity, "verdict": verdict, "limit": limit, "said": said}
    return found | ({"change": change} if change else {})


def _ratio(ratio: dict[str, Any]) -> str:
    ends = f" [{ratio['low']:.2f}, {ratio['high']:.2f}]" if "low" in ratio else ""
    return f"{ratio['value']:.2f}{ends}"
