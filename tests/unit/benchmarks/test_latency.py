from __future__ import annotations

import gc

import numpy as np
import pytest

from benchmarks import latency, spread
from benchmarks.latency import MIN_ROUNDS, Pace, Timed
from edgecell.record import Measurement

MS = 1_000_000
IMAGES = np.zeros((3, 2, 2, 3), np.uint8)


class Machine:
    """A clock that only moves when a fake model runs: timing without time."""

    def __init__(self):
        self.now = 0
        self.calls = []
        self.rests = []

    def clock(self):
        return self.now

    def rest(self, seconds):
        self.rests.append(seconds)
        self.calls.append("rest")
        self.now += round(seconds * 1e9)

    def model(self, name, cost_ns, load_ns=0):
        machine = self

        class Fake:
            def __init__(self):
                machine.now += load_ns

            def invoke_once(self, image):
                assert image.shape == (2, 2, 3)
                machine.calls.append(name)
                machine.now += cost_ns() if callable(cost_ns) else cost_ns

        return Fake


def timed(machine, *models, progress=None, **pace):
    return latency.time_interleaved(
        [model() for model in models],
        [IMAGES] * len(models),
        Pace(**{"seconds": 0.0} | pace),
        clock=machine.clock,
        rest=machine.rest,
        progress=progress,
    )


def series(*turns):
    """Timed from the times (ms) of each turn."""
    starts = np.cumsum([0, *(len(turn) for turn in turns)])[:-1]
    return Timed(np.array([t * MS for turn in turns for t in turn], np.int64), starts)


def test_minimum_runs_and_seconds_hold_for_every_model():
    machine = Machine()
    slow, fast = timed(
        machine,
        machine.model("slow", 30 * MS),
        machine.model("fast", MS),
        runs=20,
        seconds=1.5,
    )
    assert len(slow.ns) >= 20
    assert min(slow.ns.sum(), fast.ns.sum()) >= 1.5e9
    assert set(slow.ns) == {30 * MS}
    assert set(fast.ns) == {MS}
    assert len(slow.turns) == len(fast.turns) >= MIN_ROUNDS


def test_either_stops_at_what_comes_first():
    machine = Machine()
    (fast,) = timed(machine, machine.model("fast", MS), runs=128, seconds=6.0, either=True)
    assert len(fast.ns) == 128  # 0.13 s
    (slow,) = timed(machine, machine.model("slow", 500 * MS), runs=128, seconds=6.0, either=True)
    assert slow.ns.sum() == 6e9  # 12 runs
    (both,) = timed(machine, machine.model("fast", MS), runs=128, seconds=6.0)
    assert len(both.ns) == 6000


def test_a_short_bench_has_rounds_too():
    machine = Machine()
    (timing,) = timed(machine, machine.model("a", MS / 10), runs=128)
    assert len(timing.turns) == MIN_ROUNDS
    assert list(timing.turns) == [16 * i for i in range(MIN_ROUNDS)]


def test_a_cool_down_rests_before_each_turn_and_warms_up_after_it():
    machine = Machine()
    (a, b) = timed(
        machine,
        machine.model("a", 10 * MS),
        machine.model("b", 10 * MS),
        runs=10,
        seconds=20.0,
        cooldown=1.5,
        warmup_runs=1,
    )
    assert len(a.turns) == len(b.turns) == 10  # of 2 s each
    assert machine.rests == [1.5] * 20
    after = machine.calls[machine.calls.index("rest") + 1 :]
    first = after[: after.index("rest")]
    assert first == ["a"] * (5 + 200)  # 50 ms untimed, 2 s timed
    assert not [name for name in machine.calls[:2] if name == "rest"]  # warm-up comes first


def test_models_take_turns_and_the_first_of_a_round_rotates():
    machine = Machine()
    timed(
        machine,
        machine.model("a", 10 * MS),
        machine.model("b", 10 * MS),
        runs=20,
        warmup_runs=1,
    )
    turns = [name for i, name in enumerate(machine.calls) if i == 0 or name != machine.calls[i - 1]]
    # warm-up a, b, then rounds (a b) (b a) (a b) … of 3 runs each (20 in 8 rounds, rounded up),
    # neighbours of a name merged; 7 rounds reach 20 runs
    assert "".join(turns) == "ab" + "abababab"
    assert machine.calls.count("a") == machine.calls.count("b") == 1 + 7 * (3 + 2)


def test_a_slow_phase_of_the_machine_hits_all_models():
    machine = Machine()
    drifting = lambda: MS * (1 if machine.now < 1e9 else 2)  # noqa: E731
    a, b = timed(
        machine,
        machine.model("a", drifting),
        machine.model("b", drifting),
        runs=500,
        seconds=1,
    )
    # each block is 50 ms of about 2 s: the shares of the slow phase differ by less than two blocks
    assert abs(a.ns.mean() / b.ns.mean() - 1) < 0.06
    # one after the other they would have differed by 2
    assert spread.summarize(a)["drift"]["value"] == pytest.approx(1.0)
    # a round in which the machine slowed down in between gives another ratio; most do not
    assert spread.paired_ratio(a, b).value == 1.0


def test_warm_up_is_not_in_the_samples():
    machine = Machine()
    costs = iter([100 * MS] * 7)
    (times,) = timed(
        machine,
        machine.model("a", lambda: next(costs, MS)),
        runs=10,
        warmup_runs=7,
    )
    assert times.ns.max() == MS
    costs = iter([100 * MS] * 10)  # more than warm-up and settling: now they must show
    (times,) = timed(
        machine,
        machine.model("a", lambda: next(costs, MS)),
        runs=10,
        warmup_runs=7,
    )
    assert times.ns.max() == 100 * MS


def test_garbage_collection_is_off_and_comes_back():
    machine, states = Machine(), []

    def cost():
        states.append(gc.isenabled())
        return MS

    timed(machine, machine.model("a", cost), runs=5)
    assert not any(states)
    assert gc.isenabled()

    def broken():
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        timed(machine, machine.model("a", broken), runs=5)
    assert gc.isenabled()


def test_opening_is_timed_apart_from_running():
    machine = Machine()
    opened = latency.open_timed(
        machine.model("a", 3 * MS, load_ns=40 * MS), IMAGES[0], loads=3, clock=machine.clock
    )
    found = spread.summarize_opening(opened.load_ns, opened.first_ns)
    assert Measurement.from_json(found["load"]) == Measurement(40.0, "ms", n=3)
    assert Measurement.from_json(found["first"]) == Measurement(3.0, "ms", n=3)


def test_progress_ends_at_one():
    machine, shares = Machine(), []
    timed(machine, machine.model("a", MS), runs=200, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize(
    ("q", "expected"), [(0.5, 50), (0.9, 90), (0.99, 99), (1.0, 100), (0.001, 1)]
)
def test_percentile_is_an_order_statistic(q, expected):
    times = np.random.default_rng(0).permutation(np.arange(1, 101))
    assert spread.percentile_ns(times, q) == expected


def test_percentile_interval_covers_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        low, high = spread.percentile_interval_ns(rng.integers(0, 10**6, 200), 0.9)
        hits += low <= 900_000 <= high
    # coverage is at least 0.95; 400 trials have a standard error of 0.011, four of them are 0.044
    assert hits / 400 > 0.905
    assert spread.percentile_interval_ns(np.arange(50), 0.99) is None


def test_summary_is_ordered_and_complete():
    times = np.random.default_rng(0).integers(MS, 3 * MS, 300)
    found = spread.summarize(Timed(times, np.arange(0, 300, 50)))
    assert found["p50"]["value"] <= found["p90"]["value"] <= found["p99"]["value"]
    assert found["n"] == found["p50"]["n"] == 300
    assert found["rounds"] == 6
    assert found["mean"]["value"] == pytest.approx(times.mean() / MS)
    assert "reason" in spread.summarize(Timed(times[:2], np.array([0])))["drift"]


def test_the_ratio_is_paired_by_round():
    # The machine is three times slower from the fourth round on; the second model has longer turns.
    mine = series([2, 2, 9], [2], [2, 2], [6], [6, 6])
    other = series([1, 1], [1, 1, 7], [1], [3, 3, 3], [3])
    assert spread.paired_ratio(mine, other).value == 2.0
    # p50 over p50 would say 1: the two medians fall into different phases
    assert np.median(mine.ns) / np.median(other.ns) == 1.0
    assert spread.paired_ratio(other, mine).value == 0.5
    with pytest.raises(ValueError, match="shapes"):
        spread.paired_ratio(series([1], [2]), other)


def test_the_ratio_has_an_interval_once_there_are_rounds_for_it():
    rng = np.random.default_rng(0)
    few = series(*rng.uniform(1, 2, (5, 3)))
    assert spread.paired_ratio(few, few).low is None  # 2 * 0.5^5 = 6 %: five rounds cannot say 95 %
    many = series(*rng.uniform(1, 2, (40, 3)))
    ratio = spread.paired_ratio(many, series(*rng.uniform(1, 2, (40, 3))))
    assert ratio.low < ratio.value < ratio.high
    assert ratio.n == 40
