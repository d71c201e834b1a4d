"""Which cell is chosen under limits, and what the nearest miss is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.choice import Limits, choose, excess
from benchmarks.joint_draws import JointDraws
from edgecell.errors import ConfigError


def figure(value: float, spread: float | None = None) -> dict:
    ends = {} if spread is None else {"low": value - spread, "high": value + spread}
    return {"value": value, "unit": "1"} | ends


def cell(
    name: str, size: int, p50: float, f1: float, passed: bool | None = True, spread=0.01
) -> dict:
    return {
        "name": name,
        "passed": passed,
        "size": figure(size),
        "p50": figure(p50, p50 * 0.1),
        "macro_f1": figure(f1, spread),
        "accuracy": figure(f1 + 0.005, spread),
    }


def drawn(*spread: tuple[dict, float], score: str = "macro_f1", images: int = 5000) -> JointDraws:
    """Draws of cells: what all share moves by 0.01, each one's own by its spread."""
    random = np.random.default_rng(0)
    common = random.normal(0, 0.01, 2000)
    scores = [c[score]["value"] + common + random.normal(0, own, 2000) for c, own in spread]
    return JointDraws(tuple(c["name"] for c, _ in spread), images, {score: np.stack(scores, 1)})


SMALL = cell("small", 600_000, 2.0, 0.960)
MIDDLE = cell("middle", 690_000, 4.0, 0.975)
LARGE = cell("large", 1_600_000, 9.0, 0.990)
CELLS = [SMALL, MIDDLE, LARGE]
ASKED = Limits(max_bytes=700_000, max_latency_ms=5.0, min_f1=0.97)


def test_the_only_cell_that_keeps_all_limits_is_shipped():
    found = choose(CELLS, ASKED)
    assert (found["met"], found["cell"], found["meeting"], found["eligible"]) == (
        True,
        "middle",
        1,
        3,
    )
    assert found["distance"] == 0.0
    assert [entry["kept"] for entry in found["limits"]] == [True] * 3


@pytest.mark.parametrize(
    ("prefer", "cell_"),
    [("f1", "large"), ("accuracy", "large"), ("bytes", "small"), ("latency", "small")],
)
def test_of_several_that_keep_them_the_preferred_one(prefer, cell_):
    found = choose(CELLS, Limits(min_f1=0.9), prefer)
    assert (found["cell"], found["meeting"]) == (cell_, 3)


def ranked(name: str, size: int, auc: float, spread: float = 0.01) -> dict:
    """A cell of several labels, whose F1 would choose the other way round."""
    return cell(name, size, 1.0, 1 - auc) | {"auc": figure(auc, spread)}


def test_of_several_labels_the_mean_auc_bounds_chooses_and_breaks_ties():
    low, high = ranked("low", 700, 0.80), ranked("high", 800, 0.82)
    found = choose([low, high], Limits(min_auc=0.75), "auc", "auc")
    assert (found["cell"], found["meeting"]) == ("high", 2)
    assert found["limits"][0]["figure"] == high["auc"]
    near = ranked("near", 700, 0.815)
    three, draws = [low, near, high], drawn((low, 0), (near, 0), (high, 0), score="auc")
    for margin, smaller in ((0.01, "near"), (0.004, None)):
        found = choose(three, Limits(min_auc=0.75), "auc", "auc", draws, margin)
        assert found["smaller_alike"] == smaller
    # Of equal bytes and times the better ranking, not the better F1.
    for prefer in ("bytes", "latency"):
        same = [low, ranked("better", 700, 0.9)]
        assert choose(same, Limits(min_auc=0.5), prefer, "auc")["cell"] == "better"
    missed = choose([low, high], Limits(min_auc=0.9), "auc", "auc")
    assert (missed["met"], missed["cell"]) == (False, "high")
    assert missed["distance"] == pytest.approx(0.18 / 0.1 - 1)
    assert choose([low, high], Limits(min_auc=0.815, sure=True), "auc", "auc")["met"] is False


def test_records_of_one_label_know_no_auc():
    assert list(ASKED.to_json()) == [
        *("max_bytes", "max_latency_ms", "min_f1", "min_accuracy", "sure"),
    ]
    assert Limits(min_auc=0.9).to_json()["min_auc"] == 0.9
    assert Limits(min_auc=0.9, max_bytes=5).scores() == {"min_auc": "auc"}
    with pytest.raises(ConfigError, match="--min-auc is 90; allowed: more than 0 and less than 1"):
        Limits(min_auc=90)


def test_a_tie_goes_to_the_smaller_then_to_the_faster_file():
    a, b, c = (cell(n, s, t, 0.98) for n, s, t in (("a", 9, 1.0), ("b", 8, 2.0), ("c", 8, 1.5)))
    assert choose([a, b, c], Limits(min_f1=0.9))["cell"] == "c"


def test_a_file_that_verify_refused_is_never_chosen():
    refused = cell("refused", 1, 0.1, 0.999, passed=False)
    assert choose([refused, *CELLS], Limits(min_f1=0.9))["cell"] == "large"
    alone = choose([refused], ASKED)
    assert (alone["met"], alone["cell"], alone["reason"]) == (
        False,
        None,
        "verify refused all 1 cells",
    )
    assert choose([], ASKED)["reason"] == "no cell is finished"


def test_a_cell_without_a_figure_is_not_guessed_at():
    blank = MIDDLE | {"p50": {"reason": "made on another machine", "unit": "ms"}}
    found = choose([blank, SMALL], ASKED)
    assert found["eligible"] == 1 and found["cell"] == "small"
    assert "the others lack a figure" in choose([blank], ASKED)["reason"]


def test_the_nearest_miss_says_by_how_much():
    found = choose([SMALL, LARGE], ASKED)
    # small misses macro-F1 alone: 0.040 of errors where 0.030 are allowed, a third more.
    assert (found["met"], found["cell"], found["meeting"]) == (False, "small", 0)
    assert found["distance"] == pytest.approx(1 / 3)
    f1 = next(entry for entry in found["limits"] if entry["limit"] == "min_f1")
    assert (f1["kept"], f1["missed_by"]) == (False, pytest.approx(0.01))
    kept = [entry for entry in found["limits"] if entry["limit"] != "min_f1"]
    assert all(entry["kept"] and entry["missed_by"] == 0 == entry["excess"] for entry in kept)
    # With a file that is 20 % too large the miss is smaller.
    close = cell("close", 840_000, 4.9, 0.98)
    nearer = choose([SMALL, LARGE, close], ASKED)
    assert (nearer["cell"], nearer["distance"]) == ("close", pytest.approx(0.2))


def test_of_two_misses_with_the_same_worst_the_one_that_misses_less_in_sum():
    one = cell("one", 840_000, 5.5, 0.98)
    two = cell("two", 840_000, 5.0, 0.98)
    assert choose([one, two], ASKED)["cell"] == choose([two, one], ASKED)["cell"] == "two"


@pytest.mark.parametrize(
    ("value", "limit", "score", "expected"),
    [(700, 700, False, 0), (770, 700, False, 0.1), (0.97, 0.97, True, 0), (0.99, 0.97, True, 0),
     (0.94, 0.97, True, 1.0), (0.0, 0.5, True, 1.0)],
)  # fmt: skip
def test_the_excess_over_a_limit(value, limit, score, expected):
    assert excess(value, limit, score=score) == pytest.approx(expected)


def test_sure_holds_the_worse_end_against_the_limit():
    limits = Limits(max_latency_ms=4.2, min_f1=0.97)
    assert choose([MIDDLE], limits)["met"]
    found = choose([MIDDLE], Limits(max_latency_ms=4.2, min_f1=0.97, sure=True))
    assert not found["met"]
    held = {entry["limit"]: entry["held"] for entry in found["limits"]}
    assert held == {"max_latency_ms": pytest.approx(4.4), "min_f1": pytest.approx(0.965)}


def test_a_smaller_cell_is_named_only_if_it_surely_loses_little():
    near = cell("near", 650_000, 4.0, 0.988)  # 0.002 less, well within the interval of large
    cells, wanted = [near, LARGE], Limits(min_f1=0.9)
    found = choose(cells, wanted, draws=drawn((near, 0.001), (LARGE, 0)))
    assert (found["cell"], found["smaller_alike"], found["margin"]) == ("large", "near", 0.005)
    drop = found["smaller_drop"]
    assert (drop["value"], drop["n"]) == (pytest.approx(0.002), 5000)
    assert drop["low"] == pytest.approx(0.002 - 0.00196, abs=2e-4)
    assert drop["high"] == pytest.approx(0.002 + 0.00196, abs=2e-4)
    # The same drop, not told as surely: it may be 0.006.
    unsure = choose(cells, wanted, draws=drawn((near, 0.002), (LARGE, 0)))
    assert unsure["smaller_alike"] is None
    assert unsure["smaller_drop"]["reason"] == (
        "none of the smaller cells that keep the limits (1) surely loses at most 0.005"
    )
    wider = choose(cells, wanted, draws=drawn((near, 0.002), (LARGE, 0)), margin=0.007)
    assert wider["smaller_alike"] == "near"
    few = choose(cells, wanted, draws=drawn((near, 0), (LARGE, 0), images=764))
    assert few["smaller_alike"] is None


def test_of_those_that_lose_little_the_smallest_that_keeps_the_limits_is_named():
    one, two, tiny = (
        cell(name, size, 1.0, 0.989) for name, size in (("one", 9), ("two", 8), ("tiny", 2))
    )
    slow = cell("slow", 1, 99.0, 0.989)
    cells = [one, two, SMALL, slow, LARGE]
    draws = drawn(*((each, 0.0001) for each in [*cells, tiny]))
    limits = Limits(min_f1=0.9, max_latency_ms=10.0)
    assert choose(cells, limits, draws=draws)["smaller_alike"] == "two"
    assert choose([*cells, tiny], limits, draws=draws)["smaller_alike"] == "tiny"
    assert choose([SMALL, LARGE], limits, draws=draws)["smaller_alike"] is None


def test_where_no_smaller_cell_is_named_there_is_a_reason():
    def reason(cells, limits=Limits(min_f1=0.9), prefer="f1", draws=None):  # noqa: B008
        found = choose(cells, limits, prefer, draws=draws)
        assert found["smaller_alike"] is None
        return found["smaller_drop"]["reason"]

    untested = "not tested: there are no joint draws of the images"
    assert reason(CELLS) == untested
    assert reason(CELLS, draws=drawn((SMALL, 0), (LARGE, 0))) == untested  # none of middle
    assert reason(CELLS, prefer="bytes") == "no smaller cell keeps the limits"
    assert reason([SMALL, LARGE], ASKED) == "no smaller cell keeps the limits"
    assert reason([], ASKED) == "no cell is finished"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"max_bytes": 0}, "--max-bytes is 0; allowed: more than 0"),
     ({"max_latency_ms": -1.0}, "--max-latency-ms is -1.0"),
     ({"max_latency_ms": float("nan")}, "--max-latency-ms is nan; allowed: more than 0"),
     ({"max_latency_ms": float("inf")}, "--max-latency-ms is inf; allowed: more than 0"),
     ({"min_f1": float("nan")}, "--min-f1 is nan; allowed: more than 0 and less than 1"),
     ({"min_f1": 1.0}, "--min-f1 is 1.0; allowed: more than 0 and less than 1"),
     ({"min_accuracy": 97.0}, "--min-accuracy is 97.0")],
)  # fmt: skip
def test_limits_that_nothing_or_everything_keeps_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        Limits(**wrong)


def test_no_limit_is_no_wish():
    assert not Limits() and not Limits(sure=True)
    assert Limits(min_accuracy=0.5)


CELL = st.builds(
    cell,
    st.uuids().map(str),
    st.integers(1, 3_000_000),
    st.floats(0.01, 50),
    st.floats(0.01, 0.98),
    st.sampled_from([True, True, False, None]),
)


@given(
    st.lists(CELL, max_size=8),
    st.integers(1, 3_000_000),
    st.floats(0.01, 50),
    st.floats(0.05, 0.95),
)
@settings(max_examples=200)
def test_the_choice_is_the_brute_force_one(cells, most, slowest, least):
    """The definition again, written down otherwise."""
    found = choose(cells, Limits(max_bytes=most, max_latency_ms=slowest, min_f1=least))
    passed = [c for c in cells if c["passed"]]
    keeping = [
        c
        for c in passed
        if c["size"]["value"] <= most
        and c["p50"]["value"] <= slowest
        and c["macro_f1"]["value"] >= least
    ]
    assert found["meeting"] == len(keeping)
    if not passed:
        assert found["cell"] is None and not found["met"]
    elif keeping:
        best = max(c["macro_f1"]["value"] for c in keeping)
        chosen = next(c for c in keeping if c["name"] == found["cell"])
        assert found["met"] and chosen["macro_f1"]["value"] == best
    else:
        # The least factor by which all limits must be loosened so that some cell keeps them.
        factors = {
            c["name"]: max(
                c["size"]["value"] / most,
                c["p50"]["value"] / slowest,
                (1 - c["macro_f1"]["value"]) / (1 - least),
            )
            for c in passed
        }
        assert not found["met"]
        assert math.isclose(factors[found["cell"]], min(factors.values()), rel_tol=1e-9)
        assert math.isclose(found["distance"] + 1, min(factors.values()), rel_tol=1e-9)
