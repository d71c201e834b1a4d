"""Tasks that several workers share, with tasks that cost nothing; the processes import no TensorFlow."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import TrialState

from edgecell.errors import ArtifactError, ConfigError
from edgecell.progress import Silent
from edgecell.tuning.claims import Claim, Claims
from edgecell.tuning.storage import RETRIES, Storage
from edgecell.tuning.study import PrunedError

KINDS = ("sqlite", "journal")
TASKS = [{"network": name, "precisions": ["int8"]} for name in "abcdef"]


def claims(folder: Path, kind: str = "journal", definition: dict | None = None) -> Claims:
    url = f"sqlite:///{folder}/study.db" if kind == "sqlite" else str(folder / "study.journal")
    storage = Storage(url, heartbeat_seconds=1, requeues=False)
    return Claims(storage, "s", definition or {"recipe": 1})


def run(study: Claims, tasks: list[dict], do: Callable[[Claim], float] = lambda claim: 0.5, **more):
    study.run(tasks, do, Silent(), **more)


def states(study: Claims) -> list[TrialState]:
    return [trial.state for trial in study.trials()]


@pytest.mark.parametrize("kind", KINDS)
def test_each_task_is_done_once_and_a_later_call_does_what_is_new(tmp_path, kind):
    seen = []

    def do(claim: Claim) -> float:
        seen.append(claim.task["network"])
        claim.note({"cpu": "a processor"})
        return 0.5

    study = claims(tmp_path, kind)
    run(study, TASKS[:3], do)
    assert seen == ["a", "b", "c"]
    again = claims(tmp_path, kind)
    run(again, TASKS[1:5], do)  # another grid on the same study
    assert seen == ["a", "b", "c", "d", "e"]
    run(again, [{"network": "a", "precisions": ["int8", "float16"]}], do)  # not the same task
    assert seen == ["a", "b", "c", "d", "e", "a"]
    done = again.done(TASKS)
    assert [trial is not None for trial in done] == [True] * 5 + [False]
    assert done[0] is not None and done[0].user_attrs["cpu"] == "a processor"


def test_a_task_that_is_given_up_is_over_and_keeps_its_reason(tmp_path):
    def do(claim: Claim) -> float:
        if claim.task["network"] == "b":
            raise PrunedError("the loss is no longer finite")
        return 0.5

    study = claims(tmp_path)
    run(study, TASKS[:3], do)
    run(study, TASKS[:3], lambda claim: pytest.fail("nothing was left to do"))
    trials = study.done(TASKS[:3])
    assert [t.state for t in trials if t] == [
        *(TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE)
    ]
    assert trials[1] is not None
    assert trials[1].user_attrs["reason"] == "the loss is no longer finite"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ArtifactError])
def test_a_task_that_is_broken_off_is_done_by_the_next_call(tmp_path, error):
    def do(claim: Claim) -> float:
        if claim.task["network"] == "b":
            raise error
        return 0.5

    study, seen = claims(tmp_path), []
    with pytest.raises(error):
        run(study, TASKS[:3], do)
    run(claims(tmp_path), TASKS[:3], lambda claim: seen.append(claim.task["network"]) or 0.5)
    assert seen == ["b", "c"]
    assert TrialState.WAITING not in states(study)


def test_done_tasks_are_done_again_only_where_that_is_asked_for(tmp_path):
    study, seen = claims(tmp_path), []
    run(study, TASKS[:3])
    first = study.done(TASKS[:3])
    run(study, TASKS[:3], lambda c: seen.append(c.task["network"]) or 0.9, again=[TASKS[1]])
    assert seen == ["b"]
    second = study.done(TASKS[:3])
    assert [a.number == b.number for a, b in zip(first, second, strict=True)] == [True, False, True]
    assert second[1].value == 0.9
    # Two workers that both know the old one to be gone do it once all the same.
    inner = claims(tmp_path)

    def do(claim: Claim) -> float:
        seen.append(claim.task["network"])
        with pytest.raises(TimeoutError):  # it waits for the one at work
            inner.run(
                [TASKS[2]], lambda c: pytest.fail("done twice"), Impatient(), again=[TASKS[2]]
            )
        return 0.7

    run(study, TASKS[:3], do, again=[TASKS[2]])
    assert seen == ["b", "c"]


class Impatient(Silent):
    """Gives up instead of waiting for other workers."""

    def say(self, line: str) -> None:
        assert line == "waiting for 1 trial(s) of other workers"
        raise TimeoutError


def test_a_worker_waits_for_its_own_tasks_only(tmp_path):
    other = claims(tmp_path)
    seen = []

    def do(claim: Claim) -> float:
        run(other, [TASKS[1]])  # returns, though TASKS[0] is still being done
        with pytest.raises(TimeoutError):
            other.run([TASKS[0]], lambda c: pytest.fail("taken already"), Impatient())
        seen.append(claim.task["network"])
        return 0.5

    run(claims(tmp_path), [TASKS[0]], do)
    assert seen == ["a"]


def test_of_two_that_take_the_same_task_the_later_steps_back(tmp_path, monkeypatch):
    first, second = claims(tmp_path), claims(tmp_path)
    stale = first.study.get_trials()  # what the second worker believes to be all trials
    real, calls = second.study.get_trials, []

    def get_trials(**options):
        if "states" in options:
            return real(**options)
        calls.append(1)
        return stale if len(calls) <= 3 else real(**options)

    def do(claim: Claim) -> float:
        monkeypatch.setattr(second.study, "get_trials", get_trials)
        with pytest.raises(TimeoutError):
            second.run([TASKS[0]], lambda c: pytest.fail("done twice"), Impatient())
        return 0.5

    run(first, [TASKS[0]], do)
    everything = first.study.get_trials()
    assert len(everything) == 2  # the second did make a trial
    assert states(first) == [TrialState.COMPLETE]


@pytest.mark.parametrize(("deaths", "tried"), [(RETRIES, True), (RETRIES + 1, False)])
def test_a_task_that_kills_its_workers_is_left_in_the_end_and_begun_anew_by_the_next_call(
    tmp_path, deaths, tried
):
    study, seen = claims(tmp_path), []
    real, left = study.storage.revive, [deaths]

    def revive(*arguments):
        """While this worker was busy, others took the task and died of it."""
        while left[0]:
            left[0] -= 1
            trial = study.study.ask()
            trial.set_user_attr("worker", "one that is gone")
            trial.set_user_attr("task", TASKS[0])
        return real(*arguments)

    study.storage.revive = revive
    run(study, [TASKS[0]], lambda claim: seen.append(claim.task) or 0.5)
    assert seen == ([TASKS[0]] if tried else [])
    assert (study.done([TASKS[0]]) == [None]) is not tried
    run(claims(tmp_path), [TASKS[0]])
    assert study.done([TASKS[0]])[0].state == TrialState.COMPLETE


def test_a_study_of_other_settings_is_refused(tmp_path):
    run(claims(tmp_path), TASKS[:1])
    with pytest.raises(ConfigError, match="begun with another recipe; give the same settings"):
        claims(tmp_path, definition={"recipe": 2})


# ------------------------------------------------------------------------ several processes

WORKER = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from test_claims import TASKS, claims, run

folder, kind, deadly = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]

def do(claim):
    with (folder / "done").open("a") as stream:
        stream.write(f"{{claim.task['network']}} {{os.getpid()}}\\n")
    if deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5)
    return 0.5

(folder / f"ready-{{os.getpid()}}").touch()
while not (folder / "go").exists():
    time.sleep(0.01)
run(claims(folder, kind), TASKS, do)
"""


def start(folder: Path, kind: str, *deadly: str) -> subprocess.Popen:
    code = WORKER.format(here=str(Path(__file__).parent))
    command = [sys.executable, "-c", code, str(folder), kind, *deadly]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(*workers: subprocess.Popen, code: int = 0) -> None:
    for worker in workers:
        _, said = worker.communicate(timeout=200)
        assert worker.returncode == code, said[-3000:]


def worked(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "done").read_text().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_share_the_tasks_and_do_none_twice(tmp_path, kind):
    workers = [start(tmp_path, kind) for _ in range(2)]
    while len(list(tmp_path.glob("ready-*"))) < 2:
        assert all(worker.poll() is None for worker in workers)
        time.sleep(0.05)
    (tmp_path / "go").touch()
    finish(*workers)
    networks, processes = zip(*worked(tmp_path), strict=True)
    assert sorted(networks) == list("abcdef")
    assert len(set(processes)) == 2
    study = claims(tmp_path, kind)
    done = study.done(TASKS)
    assert all(trial is not None and trial.state == TrialState.COMPLETE for trial in done)
    assert len({trial.user_attrs["worker"] for trial in done if trial}) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_task_of_a_killed_process_is_done_by_another(tmp_path, kind):
    (tmp_path / "go").touch()
    finish(start(tmp_path, kind, "deadly"), code=-signal.SIGKILL)
    finish(start(tmp_path, kind))
    networks, processes = zip(*worked(tmp_path), strict=True)
    assert networks[0] == "a" and processes[0] not in processes[1:]
    assert len(set(processes)) == 2
    # A journal's lock goes with its process. A heartbeat is missed 3 s later: 'a' comes again after as
    # many of the others as a slow or a quick machine has done until then.
    assert [name for name in networks[1:] if name != "a"] == list("bcdef")
    assert networks[1:].count("a") == 1
    assert kind == "sqlite" or networks[1] == "a"
    assert sorted(states(claims(tmp_path, kind))) == [TrialState.COMPLETE] * 6 + [TrialState.FAIL]
