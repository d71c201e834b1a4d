from __future__ import annotations

import gc

import numpy as np
import pytest

from benchmarks import latency
from edgecell.record import Measurement

MS = 1_000_000
IMAGES = np.zeros((3, 2, 2, 3), np.uint8)


class Machine:
    """A clock that only moves when a fake model runs: timing without time."""

    def __init__(self):
        self.now = 0
        self.calls = []

    def clock(self):
        return self.now

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


def timed(machine, *models, **options):
    return latency.time_interleaved(
        [model() for model in models], [IMAGES] * len(models), clock=machine.clock, **options
    )


def test_minimum_runs_and_seconds_hold_for_every_model():
    machine = Machine()
    slow, fast = timed(
        machine,
        machine.model("slow", 30 * MS),
        machine.model("fast", MS),
        min_runs=20,
        min_seconds=1.5,
    )
    assert len(slow) >= 20
    assert min(slow.sum(), fast.sum()) >= 1.5e9
    assert set(slow) == {30 * MS}
    assert set(fast) == {MS}


def test_models_take_turns_and_the_first_of_a_round_rotates():
    machine = Machine()
    timed(
        machine,
        machine.model("a", 10 * MS),
        machine.model("b", 10 * MS),
        min_runs=20,
        min_seconds=0,
        warmup_runs=1,
    )
    turns = [name for i, name in enumerate(machine.calls) if i == 0 or name != machine.calls[i - 1]]
    # warm-up a, b, then rounds (a b) (b a) (a b) (b a) of 5 runs each, neighbours of a name merged
    assert "".join(turns) == "ab" + "ababa"
    assert machine.calls.count("a") == machine.calls.count("b") == 1 + 4 * (5 + 2)


def test_a_slow_phase_of_the_machine_hits_all_models():
    machine = Machine()
    drifting = lambda: MS * (1 if machine.now < 1e9 else 2)  # noqa: E731
    a, b = timed(
        machine,
        machine.model("a", drifting),
        machine.model("b", drifting),
        min_runs=500,
        min_seconds=1,
    )
    # each block is 50 ms of about 2 s: the shares of the slow phase differ by less than two blocks
    assert abs(a.mean() / b.mean() - 1) < 0.06
    # one after the other they would have differed by 2
    assert latency.summarize(a)["drift"]["value"] == pytest.approx(1.0)


def test_warm_up_is_not_in_the_samples():
    machine = Machine()
    costs = iter([100 * MS] * 7)
    (times,) = timed(
        machine,
        machine.model("a", lambda: next(costs, MS)),
        min_runs=10,
        min_seconds=0,
        warmup_runs=7,
    )
    assert times.max() == MS
    costs = iter([100 * MS] * 12)  # more than warm-up and settling: now they must show
    (times,) = timed(
        machine,
        machine.model("a", lambda: next(costs, MS)),
        min_runs=10,
        min_seconds=0,
        warmup_runs=7,
    )
    assert times.max() == 100 * MS


def test_garbage_collection_is_off_and_comes_back():
    machine, states = Machine(), []

    def cost():
        states.append(gc.isenabled())
        return MS

    timed(machine, machine.model("a", cost), min_runs=5, min_seconds=0)
    assert not any(states)
    assert gc.isenabled()

    def broken():
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        timed(machine, machine.model("a", broken), min_runs=5)
    assert gc.isenabled()


def test_opening_is_timed_apart_from_running():
    machine = Machine()
    opened = latency.open_timed(
        machine.model("a", 3 * MS, load_ns=40 * MS), IMAGES[0], loads=3, clock=machine.clock
    )
    found = latency.summarize_opening(opened)
    assert Measurement.from_json(found["load"]) == Measurement(40.0, "ms", n=3)
    assert Measurement.from_json(found["first"]) == Measurement(3.0, "ms", n=3)


def test_progress_ends_at_one():
    machine, shares = Machine(), []
    timed(machine, machine.model("a", MS), min_runs=200, min_seconds=0, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize(
    ("q", "expected"), [(0.5, 50), (0.9, 90), (0.99, 99), (1.0, 100), (0.001, 1)]
)
def test_percentile_is_an_order_statistic(q, expected):
    times = np.random.default_rng(0).permutation(np.arange(1, 101))
    assert latency.percentile_ns(times, q) == expected


def test_percentile_interval_covers_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        low, high = latency.percentile_interval_ns(rng.integers(0, 10**6, 200), 0.9)
        hits += low <= 900_000 <= high
    # coverage is at least 0.95; 400 trials have a standard error of 0.011, four of them are 0.044
    assert hits / 400 > 0.905
    assert latency.percentile_interval_ns(np.arange(50), 0.99) is None


def test_summary_is_ordered_and_complete():
    times = np.random.default_rng(0).integers(MS, 3 * MS, 300)
    found = latency.summarize(times)
    assert found["p50"]["value"] <= found["p90"]["value"] <= found["p99"]["value"]
    assert found["n"] == found["p50"]["n"] == 300
    assert found["mean"]["value"] == pytest.approx(times.mean() / MS)
    assert "reason" in latency.summarize(times[:2])["drift"]
