"""The loop with objectives that cost nothing; the processes here import no TensorFlow."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from edgecell.errors import ArtifactError, BusyError, ConfigError, DataError
from edgecell.progress import Silent
from edgecell.tuning.search import (
    Attempt,
    Search,
    make_pruner,
    make_sampler,
    values_of,
)
from edgecell.tuning.space import parse_space
from edgecell.tuning.storage import RETRIES, Storage, retried_from, retry
from edgecell.tuning.study import PrunedError, storage_errors

SPACE = parse_space(
    '[space]\n"train.learning_rate" = {low = 1e-4, high = 1e-1, log = true}\n'
    '"train.label_smoothing" = {low = 0.0, high = 0.5, step = 0.1}\n',
    "s",
)
KINDS = ("sqlite", "journal")


def url(kind: str, folder: Path) -> str:
    return f"sqlite:///{folder}/study.db" if kind == "sqlite" else str(folder / "study.journal")


def search(folder: Path, kind: str = "journal", **options) -> Search:
    settings = {"definition": {"recipe": 1}, "first": None, "pruner": "none", "sampler": "tpe"}
    settings |= options
    return Search(
        settings.get("storage") or Storage(url(kind, folder), settings.get("heartbeat", 20)),
        settings.get("name", "s"),
        settings.get("space", SPACE),
        settings["definition"],
        make_sampler(settings["sampler"], settings.get("seed", 0)),
        make_pruner(settings["pruner"], 10),
        settings["first"],
    )


def easy(attempt: Attempt) -> float:
    """Best at a learning rate of 0.01 without smoothing."""
    attempt.note({"val_loss": 0.5})
    rate, smoothing = attempt.values["train.learning_rate"], attempt.values["train.label_smoothing"]
    assert isinstance(rate, float) and isinstance(smoothing, float)
    return 1 - abs(rate - 0.01) - smoothing


def run(
    study: Search, trials: int, objective=easy, timeout=None, after=lambda number: None
) -> None:
    study.run(objective, trials, timeout, Silent(), after)


def drawn(study: Search) -> list[dict]:
    return [values_of(trial) for trial in study.trials()]


def states(study: Search) -> list[TrialState]:
    return [trial.state for trial in study.trials()]


@pytest.mark.parametrize("kind", KINDS)
def test_n_trials_are_n_in_all_and_a_later_call_goes_on(tmp_path, kind):
    seen: list[int] = []
    study = search(tmp_path, kind)
    run(study, 3, after=seen.append)
    assert seen == [0, 1, 2]
    again = search(tmp_path, kind)
    assert not again.is_new
    run(again, 3, after=seen.append)
    assert seen == [0, 1, 2]
    run(again, 5, after=seen.append)
    assert seen == [0, 1, 2, 3, 4]
    assert states(again) == [TrialState.COMPLETE] * 5
    best = again.best()
    assert best is not None and best.value == max(t.value for t in again.trials())


def test_the_seed_decides_and_a_break_changes_nothing(tmp_path):
    """14 trials: the first ten are drawn at random, the others follow from their figures."""
    folders = [tmp_path / name for name in ("one", "two", "cut", "other")]
    for folder in folders:
        folder.mkdir()
    one, two = search(folders[0]), search(folders[1])
    run(one, 14)
    run(two, 14)
    assert drawn(one) == drawn(two)
    assert len({tuple(values.values()) for values in drawn(one)}) == 14
    for trials in (3, 12, 14):  # each time as a new process would: with samplers that start anew
        run(search(folders[2]), trials)
    assert drawn(search(folders[2])) == drawn(one)
    other = search(folders[3], seed=1)
    run(other, 3)
    assert drawn(other) != drawn(one)[:3]


def test_tpe_learns_where_random_does_not(tmp_path):
    found = {}
    for sampler in ("tpe", "random"):
        study = search(tmp_path, sampler=sampler, name=sampler)
        run(study, 30)
        late = study.trials()[15:]
        found[sampler] = sum(trial.value for trial in late) / len(late)
    assert found["tpe"] > found["random"] + 0.05


def test_the_recipe_itself_is_the_first_trial(tmp_path):
    first = {"train.learning_rate": 0.005, "train.label_smoothing": 0.3}
    study = search(tmp_path, first=first)
    run(study, 2)
    assert drawn(study)[0] == first
    assert drawn(study)[1] != first


def test_a_study_of_other_settings_is_refused(tmp_path):
    run(search(tmp_path), 1)
    with pytest.raises(ConfigError, match="the study 's' was begun with another recipe; give"):
        search(tmp_path, definition={"recipe": 2})
    assert search(tmp_path, definition={"recipe": 2}, name="other").is_new


def test_steps_come_without_the_noise_of_adding_them_up(tmp_path):
    seen = []

    def objective(attempt: Attempt) -> float:
        seen.append(attempt.values["train.label_smoothing"])
        return easy(attempt)

    study = search(tmp_path)
    run(study, 12, objective)
    assert set(seen) <= {0.0, 0.1, 0.2, 0.3, 0.4, 0.5}
    assert 0.3 in seen  # 3 · 0.1 is 0.30000000000000004
    assert [values["train.label_smoothing"] for values in drawn(study)] == seen


def test_a_trial_given_up_counts_and_keeps_its_reason(tmp_path):
    def objective(attempt: Attempt) -> float:
        if attempt.number == 1:
            raise PrunedError("the loss is no longer finite")
        return easy(attempt)

    study = search(tmp_path)
    run(study, 3, objective)
    assert states(study) == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    assert study.trials()[1].user_attrs["reason"] == "the loss is no longer finite"
    assert study.best().number != 1


@pytest.mark.parametrize("pruner", ["median", "hyperband", "none"])
def test_bad_trials_are_given_up_early_by_their_epochs(tmp_path, pruner):
    """Two of three trials learn; every third stays where it began."""
    lasted = {}

    def objective(attempt: Attempt) -> float:
        slope = 0.09 if attempt.number % 3 else 0.001
        figures: dict[int, float] = {}
        for epoch in range(1, 11):
            figures[epoch] = 0.1 + slope * epoch
            lasted[attempt.number] = epoch
            if attempt.report(figures) and epoch < 10:
                raise PrunedError
        attempt.note({"val_loss": 1.0})
        return figures[10]

    study = search(tmp_path, pruner=pruner)
    run(study, 18, objective)
    good = [epochs for number, epochs in lasted.items() if number % 3]
    bad = [epochs for number, epochs in lasted.items() if number % 3 == 0]
    pruned = [t.number for t in study.trials() if t.state == TrialState.PRUNED]
    if pruner == "none":
        assert set(good + bad) == {10} and not pruned
    else:
        assert min(good[-3:]) == 10
        assert min(bad) < 5 and pruned and not any(number % 3 for number in pruned)
        assert len(study.trials()[pruned[0]].intermediate_values) == lasted[pruned[0]]
    assert study.best().number % 3


def test_the_same_values_are_not_trained_twice(tmp_path):
    trained = []
    narrow = parse_space("[space]\nmodel.alpha = [0.35, 0.5]\n", "s")

    def objective(attempt: Attempt) -> float:
        trained.append(attempt.values["model.alpha"])
        attempt.note({"val_loss": 0.5})
        if attempt.values["model.alpha"] == 0.35:
            raise PrunedError("as bad as that")
        return 0.75

    study = search(tmp_path, space=narrow)
    run(study, 8, objective)
    assert sorted(trained) == [0.35, 0.5]
    copies = [t for t in study.trials() if "same values as" in t.user_attrs.get("reason", "")]
    assert len(copies) == 6
    for trial in copies:
        original = next(t for t in study.trials() if t.params == trial.params)
        assert (trial.state, trial.value) == (original.state, original.value)
        assert trial.user_attrs["reason"] == f"same values as trial {original.number}"
        assert trial.user_attrs["val_loss"] == 0.5


def interrupted(attempt: Attempt) -> float:
    raise KeyboardInterrupt


def interrupted_under_an_error(attempt: Attempt) -> float:
    try:
        raise KeyboardInterrupt
    finally:
        raise AssertionError("Concurrent access?")


@pytest.mark.parametrize("stopped", [interrupted, interrupted_under_an_error])
def test_an_interrupt_leaves_the_trial_to_be_taken_up_again(tmp_path, stopped):
    def objective(attempt: Attempt) -> float:
        return stopped(attempt) if attempt.number == 1 else easy(attempt)

    study = search(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(study, 3, objective)
    again, taken = search(tmp_path), {}

    def resumed(attempt: Attempt) -> float:
        taken[attempt.number] = attempt.earlier
        return easy(attempt)

    run(again, 3, resumed)
    assert taken == {2: [1], 3: []}
    assert states(again) == [
        *(TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE)
    ]
    assert drawn(again)[1] == drawn(again)[2]


def test_an_interrupt_after_a_trial_was_told_leaves_it_finished(tmp_path, monkeypatch):
    study = search(tmp_path)
    optimize = study.study.optimize

    def interrupted_late(*args, **options) -> None:
        optimize(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(study.study, "optimize", interrupted_late)
    with pytest.raises(KeyboardInterrupt):
        run(study, 2)
    again = search(tmp_path)
    run(again, 2)
    assert states(again) == [TrialState.COMPLETE] * 2
    assert drawn(again)[0] != drawn(again)[1]


def test_an_error_of_the_data_ends_the_search_and_a_trial_of_its_own_makes_up_for_it(tmp_path):
    def objective(attempt: Attempt) -> float:
        if attempt.number == 1:
            raise DataError("an image is damaged")
        return easy(attempt)

    study = search(tmp_path)
    with pytest.raises(DataError, match="an image is damaged"):
        run(study, 3, objective)
    run(search(tmp_path), 3)
    assert states(study).count(TrialState.COMPLETE) == 3
    assert not any(map(retried_from, study.trials()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [ArtifactError, BusyError])
def test_a_full_disk_loses_no_trial_however_often_it_is_met(tmp_path, kind, error):
    recipe = {"train.learning_rate": 2e-3, "train.label_smoothing": 0.1}

    def full(attempt: Attempt) -> float:
        raise error("the disk is full")

    for _ in range(RETRIES + 2):
        with pytest.raises(error, match="the disk is full"):
            run(search(tmp_path, kind, first=recipe), 3, full)
    study = search(tmp_path, kind, first=recipe)
    run(study, 3)
    finished = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE]
    assert len(finished) == 3
    assert finished[0].params == recipe
    assert retried_from(finished[0]) is not None


def test_a_trial_is_queued_by_the_next_where_the_storage_is_on_the_full_disk(tmp_path, monkeypatch):
    def full(attempt: Attempt) -> float:
        raise ArtifactError("the disk is full")

    def no_room(*_: object, **__: object) -> None:
        raise StorageInternalError("no room")

    with monkeypatch.context() as patch:
        patch.setattr("edgecell.tuning.study.retry", no_room)
        with pytest.raises(ArtifactError, match="the disk is full"):
            run(search(tmp_path), 2, full)
    study = search(tmp_path)
    run(study, 2)
    assert states(study) == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert drawn(study)[0] == drawn(study)[1]


def test_no_trial_is_begun_after_the_timeout(tmp_path):
    study = search(tmp_path)

    def slow(attempt: Attempt) -> float:
        time.sleep(0.3)
        return easy(attempt)

    run(study, 50, slow, timeout=0.2)
    assert states(study) == [TrialState.COMPLETE]


def test_the_best_of_equals_is_the_one_with_the_lower_loss(tmp_path):
    losses = itertools.cycle([0.4, 0.2, 0.3])

    def objective(attempt: Attempt) -> float:
        attempt.note({"val_loss": next(losses)})
        return 0.9

    study = search(tmp_path)
    assert study.best() is None
    run(study, 3, objective)
    assert study.best().number == 1


def test_importance_names_the_setting_that_matters_or_says_why_not(tmp_path):
    def objective(attempt: Attempt) -> float:
        attempt.note({"val_loss": 0.5})
        return float(attempt.values["train.label_smoothing"])

    study = search(tmp_path)
    run(study, 3, objective)
    assert study.importances(0) == "needs 4 finished trials, there are 3"
    run(study, 16, objective)
    found = study.importances(0)
    assert isinstance(found, dict)
    assert set(found) == set(SPACE)
    assert found["train.label_smoothing"] > 0.9
    assert sum(found.values()) == pytest.approx(1.0)
    assert study.importances(0) == found
    flat = search(tmp_path, name="flat")
    run(flat, 5, lambda attempt: attempt.note({"val_loss": 1.0}) or 0.5)
    assert flat.importances(0) == "all finished trials have the same figure"


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        ("nonsense://x", ConfigError, "nonsense://… is no storage; allowed: sqlite:///PATH"),
        ("postgresql+psycopg://me:secret@h/d", ConfigError, r"needs a driver .* -e '.\[postgresql\]'"),
        ("sqlite:////proc/none/study.db", ArtifactError, "cannot open the storage sqlite"),
        ("/proc/none/study.journal", ArtifactError, "cannot open the journal /proc/none/study.journal"),
    ],
)  # fmt: skip
def test_a_storage_that_cannot_be_is_one_line_without_the_password(made, error, message):
    with pytest.raises(error, match=message) as caught:
        Storage(made, 20)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_a_half_line_that_a_full_disk_left_in_the_journal_is_cut(tmp_path):
    run(search(tmp_path), 1)
    with (tmp_path / "study.journal").open("ab") as stream:
        stream.write(b'{"op_code":5,"wor')
    again = search(tmp_path)
    run(again, 2)
    assert states(search(tmp_path)) == [TrialState.COMPLETE] * 2


def test_a_file_that_is_no_journal_stays_as_it_is(tmp_path):
    notes = tmp_path / "study.journal"
    notes.write_text("first thing\nsecond thing, no line's end")
    with pytest.raises(ArtifactError, match="cannot open the journal"):
        search(tmp_path)
    assert notes.read_text() == "first thing\nsecond thing, no line's end"


def test_a_damaged_journal_is_one_line(tmp_path):
    run(search(tmp_path), 1)
    path = tmp_path / "study.journal"
    path.write_bytes(path.read_bytes().replace(b"{", b"", 1))
    with pytest.raises(ArtifactError, match=r"cannot open the journal .*study\.journal"):
        search(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_storage_whose_disk_is_full_says_so_in_one_line(tmp_path, monkeypatch, kind):
    study = search(tmp_path, kind)
    whole = study.storage.backend.set_trial_state_values

    def no_room(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full(trial_id: int, state: TrialState, *args: object, **options: object) -> bool:
        if state == TrialState.RUNNING:
            return whole(trial_id, state, *args, **options)
        if kind == "journal":
            monkeypatch.setattr(os, "fsync", no_room)
            return whole(trial_id, state, *args, **options)
        cause = sqlite3.OperationalError("database or disk is full")
        try:
            raise OperationalError("UPDATE", {}, cause)
        except OperationalError as error:
            raise StorageInternalError("due to invalid data in the commit") from error

    monkeypatch.setattr(study.storage.backend, "set_trial_state_values", full)
    said = {
        "sqlite": "database or disk is full",
        "journal": r"study\.journal: No space left on device",
    }
    with pytest.raises(ArtifactError, match=f"the storage of the study failed: .*{said[kind]}"):
        run(study, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_storage_that_is_gone_is_one_line_and_its_trial_is_done_by_the_same_command(
    tmp_path, monkeypatch, kind
):
    """A database that restarts: the trial is not told, and how it stands cannot be asked."""
    study = search(tmp_path, kind)

    def gone(*_: object, **__: object) -> None:
        cause = OperationalError("SELECT", {}, ConnectionError("connection refused"))
        raise StorageInternalError("due to invalid data in the commit") from cause

    def objective(attempt: Attempt) -> float:
        for name in ("set_trial_state_values", "get_trial"):
            patch.setattr(study.storage.backend, name, gone)
        return easy(attempt)

    with monkeypatch.context() as patch, pytest.raises(ArtifactError) as caught:
        run(study, 2, objective)
    assert str(caught.value) == (
        "the storage of the study failed: connection refused; once it works again, the same command"
        " goes on"
    )
    again = search(tmp_path, kind)
    run(again, 2)
    assert states(again) == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert drawn(again)[0] == drawn(again)[1]


def test_a_connection_to_a_server_is_tried_before_it_is_used(tmp_path, monkeypatch):
    asked = {}

    def opened(url: str, *, engine_kwargs: dict, **_: object) -> None:
        asked[url.split(":")[0]] = engine_kwargs

    monkeypatch.setattr("edgecell.tuning.storage._Database", opened)
    Storage("postgresql+psycopg://USER:PASSWORD@HOST/NAME", 20)
    Storage(url("sqlite", tmp_path), 20)
    assert asked["postgresql+psycopg"] == {"pool_pre_ping": True}
    assert asked["sqlite"] == {"connect_args": {"timeout": 60}}


def test_a_heartbeat_that_fails_is_missed_and_the_next_one_tried(tmp_path, monkeypatch, capsys):
    storage = Storage(url("sqlite", tmp_path), 20)
    storage.backend.heartbeat_interval = 1  # as a server's
    whole, beats = RDBStorage.record_heartbeat, []

    def beat(self, trial_id: int) -> None:
        beats.append(trial_id)
        if len(beats) == 1:
            raise StorageInternalError("terminated")
        whole(self, trial_id)

    def objective(attempt: Attempt) -> float:
        time.sleep(1.3)
        return easy(attempt)

    monkeypatch.setattr(RDBStorage, "record_heartbeat", beat)
    run(search(tmp_path, storage=storage), 1, objective)
    assert len(beats) >= 2
    assert "Exception in thread" not in capsys.readouterr().err


def test_what_is_no_failure_of_the_storage_stays_what_it_is():
    with pytest.raises(AssertionError, match="a mistake"), storage_errors():
        raise AssertionError("a mistake")
    with pytest.raises(BusyError, match="another process"), storage_errors():
        try:
            raise StorageInternalError("gone")
        except StorageInternalError as error:
            raise BusyError("another process") from error


def test_a_worker_on_nfs_sees_whether_another_lives(tmp_path, monkeypatch):
    whole = fcntl.flock

    def flock(stream, how: int) -> None:
        # "In order to place an exclusive lock, the file must be opened for writing", flock(2) on NFS.
        if how & fcntl.LOCK_EX and not stream.writable():
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        whole(stream, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    path = str(tmp_path / "study.journal")
    with Storage(path, 20).worker():
        assert Storage(path, 20)._others()
    assert not Storage(path, 20)._others()


# ------------------------------------------------------------------------------------ kills

WRITES = (
    *("create_new_study", "set_study_user_attr", "create_new_trial", "set_trial_param"),
    *("set_trial_state_values", "set_trial_user_attr", "set_trial_system_attr"),
)


class Killed(BaseException):
    """Ends a worker wherever it is: neither Optuna nor edgecell catches it."""


DEATHS = (Killed, UnboundLocalError)
"""The second is Optuna's own, on its way out of a trial that it could not tell."""


def mortal(storage: Storage, moment: int, *, before: bool) -> Storage:
    """The storage, whose worker dies just before, or just after, its write number ``moment``."""
    left = itertools.count(moment, -1)

    def dying(write):
        def call(*arguments, **options):
            last = next(left) == 1
            if last and before:
                raise Killed
            written = write(*arguments, **options)
            if last:
                raise Killed
            return written

        return call

    for name in WRITES:
        setattr(storage.backend, name, dying(getattr(storage.backend, name)))
    return storage


def killed_again_and_again(folder: Path, kind: str, trials: int, gap: int, **options) -> int:
    """Work with a kill at every ``gap``-th write of each process; how many there were."""
    for kills in range(200):
        storage = mortal(Storage(url(kind, folder), 20), gap, before=kills % 2 == 0)
        try:
            run(search(folder, kind, storage=storage, **options), trials)
        except DEATHS:
            continue
        return kills
    raise AssertionError("it never came to its end")


def finished(study: Search) -> list[tuple[dict, float | None]]:
    """Values and figures of the finished trials, in their order."""
    return [(values_of(t), t.value) for t in study.trials() if t.state == TrialState.COMPLETE]


FIRST = {"train.learning_rate": 0.005, "train.label_smoothing": 0.3}


@pytest.mark.parametrize(
    ("kind", "sampler", "gap"),
    [
        ("journal", "tpe", 12),
        ("journal", "tpe", 13),
        ("journal", "random", 17),
        ("sqlite", "tpe", 14),
    ],
)
def test_a_search_that_is_killed_draws_what_an_undisturbed_one_draws(tmp_path, kind, sampler, gap):
    """13 trials, of which the last two or three follow from figures; killed before and after writes."""
    options = {"sampler": sampler, "first": FIRST}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    run(search(whole, **options), 13)
    assert killed_again_and_again(cut, kind, 13, gap, **options) >= 5
    assert finished(search(cut, kind, **options)) == finished(search(whole, **options))
    assert states(search(cut, kind, **options)).count(TrialState.FAIL) >= 5


@pytest.mark.parametrize("moment", range(1, 8))
@pytest.mark.parametrize("before", [True, False])
def test_a_kill_while_a_study_is_made_loses_no_trial(tmp_path, monkeypatch, moment, before):
    monkeypatch.setattr("edgecell.tuning.study.time.sleep", lambda seconds: None)
    run(search(tmp_path, name="whole", first=FIRST), 2)
    storage = mortal(Storage(url("journal", tmp_path), 20), moment, before=before)
    with pytest.raises(DEATHS):
        run(search(tmp_path, storage=storage, first=FIRST), 2)
    run(search(tmp_path, first=FIRST), 2)
    assert finished(search(tmp_path, first=FIRST)) == finished(search(tmp_path, name="whole"))


def test_of_two_that_queue_the_same_dead_trial_one_steps_back(tmp_path):
    study = search(tmp_path)
    trial = study.study.ask()
    trial.set_user_attr("worker", "one that is gone")
    assert study.storage.revive(study.study, "worker") == 1
    retry(study.study, study.study.trials[0])  # as if another had looked at the same moment
    seen = []
    run(study, 1, lambda attempt: seen.append(attempt.number) or easy(attempt))
    assert seen == [1]
    assert [t.state for t in study.study.trials] == [
        *(TrialState.FAIL, TrialState.COMPLETE, TrialState.FAIL)
    ]
    assert [t.number for t in study.trials()] == [0, 1]


# ------------------------------------------------------------------------ several processes

WORKER = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from test_search import easy, search
from edgecell.progress import Silent

folder, kind, trials, deadly = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]

def objective(attempt):
    with (folder / "done").open("a") as stream:
        stream.write(f"{{attempt.number}} {{(attempt.earlier or [None])[-1]}} {{os.getpid()}}\\n")
    if deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.15)
    return easy(attempt)

while not (folder / "go").exists():
    time.sleep(0.01)
search(folder, kind, heartbeat=1).run(objective, trials, None, Silent())
"""


def start(folder: Path, kind: str, trials: int, *deadly: str) -> subprocess.Popen:
    code = WORKER.format(here=str(Path(__file__).parent))
    command = [sys.executable, "-c", code, str(folder), kind, str(trials), *deadly]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def finish(*workers: subprocess.Popen, code: int = 0) -> None:
    for worker in workers:
        _, said = worker.communicate(timeout=120)
        assert worker.returncode == code, said[-3000:]


def done(folder: Path) -> list[list[str]]:
    """Number, the trial it repeats, and process of everything that was worked on."""
    return [line.split() for line in (folder / "done").read_text().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_share_a_study(tmp_path, kind):
    """Both make the storage and the study at the same moment, too."""
    workers = [start(tmp_path, kind, 12) for _ in range(2)]
    time.sleep(0.5)
    (tmp_path / "go").touch()
    finish(*workers)
    study = search(tmp_path, kind)
    assert states(study) == [TrialState.COMPLETE] * 12
    numbers, _, processes = zip(*done(tmp_path), strict=True)
    assert len(numbers) == len(set(numbers)) == 12
    assert len(set(processes)) == 2
    assert len({tuple(values.values()) for values in drawn(study)}) == 12


@pytest.mark.parametrize("kind", KINDS)
def test_the_trial_of_a_killed_process_is_marked_failed_and_repeated(tmp_path, kind):
    (tmp_path / "go").touch()
    finish(start(tmp_path, kind, 3, "deadly"), code=-signal.SIGKILL)
    study = search(tmp_path, kind)
    assert states(study) == [TrialState.RUNNING]
    finish(start(tmp_path, kind, 3))
    assert sorted(states(study)) == [TrialState.COMPLETE] * 3 + [TrialState.FAIL]
    killed, retried = study.trials()[0], next(t for t in study.trials() if retried_from(t) == 0)
    assert killed.state == TrialState.FAIL and retried.state == TrialState.COMPLETE
    assert values_of(killed) == values_of(retried)
    assert [str(retried.number), "0"] in [line[:2] for line in done(tmp_path)]


def test_a_trial_that_kills_its_workers_is_not_repeated_for_ever(tmp_path):
    study = search(tmp_path)
    for _ in range(RETRIES + 1):
        trial = study.study.ask()
        trial.set_user_attr("worker", "one that is gone")
        trial.suggest_float("train.learning_rate", 1e-4, 1e-1, log=True)
        assert study.storage.revive(study.study, "worker") == 1
    assert states(study) == [TrialState.FAIL] * (RETRIES + 1)
    assert len({trial.params["train.learning_rate"] for trial in study.trials()}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_whose_worker_died_before_it_could_sign_is_found(tmp_path, kind):
    """At once where nobody else is at work, who could be about to sign; otherwise after a while."""
    study, other = search(tmp_path, kind), Storage(url(kind, tmp_path), 20)
    study.study.ask()
    with study.storage.worker():
        with other.worker():
            assert study.storage.revive(study.study, "worker") == 0
            study.storage.grace_seconds = 0
            assert study.storage.revive(study.study, "worker") == 1
            study.storage.grace_seconds = 60
        assert states(study) == [TrialState.FAIL, TrialState.WAITING]
        study.study.ask()
        assert study.storage.revive(study.study, "worker") == 1
    assert states(study) == [TrialState.FAIL, TrialState.FAIL, TrialState.WAITING]


def test_a_worker_that_lives_keeps_its_trial(tmp_path):
    """The partner of the test above: nobody takes over from a slow worker."""
    other = search(tmp_path)
    seen = []

    def objective(attempt: Attempt) -> float:
        assert other.storage.revive(other.study, "worker") == 0
        seen.append(states(other))
        return easy(attempt)

    run(search(tmp_path), 1, objective)
    assert seen == [[TrialState.RUNNING]]


def test_of_two_workers_that_see_one_trial_left_one_steps_back(tmp_path):
    first, second = search(tmp_path), search(tmp_path)

    def objective(attempt: Attempt) -> float:
        # While the last trial runs here, another worker that still believes there is one left.
        surplus = second._each(lambda _: pytest.fail("one trial too many"), 1)
        assert second._one(surplus, "w") is None
        return easy(attempt)

    run(first, 1, objective)
    assert states(first) == [TrialState.COMPLETE]
    assert [t.state for t in first.study.trials] == [TrialState.COMPLETE, TrialState.FAIL]
