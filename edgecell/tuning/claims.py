"""Tasks that workers share: each is done once, those of dead workers are done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from edgecell.progress import Progress
from edgecell.tuning.storage import RETRIES
from edgecell.tuning.study import SharedStudy

Task = Mapping[str, Any]
"""What is to be done, as JSON; two equal ones are the same task."""

_TASK = "task"
_OVER = (TrialState.COMPLETE, TrialState.PRUNED)


class Claim:
    """One task as its worker sees it, and where to note facts for everybody's tables."""

    def __init__(self, trial: optuna.Trial, task: Task) -> None:
        self.number, self.task = trial.number, task
        self._trial = trial

    def note(self, facts: Mapping[str, Any]) -> None:
        """Keep facts, JSON values, in the study."""
        for key, value in facts.items():
            self._trial.set_user_attr(key, value)


class Claims(SharedStudy):
    """A study whose trials are claims on tasks; the storage must not requeue.

    A worker makes a trial, writes the task into it and looks at the trials with lower numbers: where
    one of them has the same task, it steps back. Workers may differ in the tasks they are after.
    """

    def run(
        self,
        tasks: Sequence[Task],
        do: Callable[[Claim], float],
        progress: Progress,
        *,
        again: Sequence[Task] = (),
    ) -> None:
        """Do the tasks that nobody does or has done, and wait for those of other workers.

        Those of ``again`` are done though they were done before now. A task whose workers die again
        and again is left after ``RETRIES`` repetitions. See :meth:`SharedStudy.work`.
        """
        begun = len(self.study.get_trials(deepcopy=False))
        # The number from which on a trial counts as one that does the task.
        old = zip(again, self.done(again), strict=True)
        first = [(task, trial.number + 1) for task, trial in old if trial is not None]
        wanted: list[Task] = []

        def since(task: Task) -> int:
            return next((number for other, number in first if other == task), 0)

        def more(trials: list[FrozenTrial]) -> bool:
            if any(trial.state == TrialState.RUNNING and _task(trial) is None for trial in trials):
                return False  # somebody is about to say what it takes
            wanted[:] = [
                task
                for task in tasks
                if not _is_taken(task, trials[since(task) :])
                and _deaths(task, trials[begun:]) <= RETRIES
            ]
            return bool(wanted)

        def call(trial: optuna.Trial) -> float:
            task = wanted[0]
            trial.set_user_attr(_TASK, dict(task))
            earlier = self.study.get_trials(deepcopy=False)[: trial.number]
            unsaid = any(t.state == TrialState.RUNNING and _task(t) is None for t in earlier)
            if unsaid or _is_taken(task, earlier[since(task) :]):
                self.step_back(trial)
            return do(Claim(trial, task))

        def concerns(trial: FrozenTrial) -> bool:
            return _task(trial) is None or _task(trial) in tasks

        self.work(call, more, None, progress, concerns=concerns)

    def done(self, tasks: Sequence[Task]) -> list[FrozenTrial | None]:
        """For each task the trial that finished it or gave it up last, None where there is none."""
        over = [trial for trial in self.trials() if trial.state in _OVER]
        return [next((t for t in reversed(over) if _task(t) == task), None) for task in tasks]


def _task(trial: FrozenTrial) -> Task | None:
    return trial.user_attrs.get(_TASK)


def _is_taken(task: Task, trials: Sequence[FrozenTrial]) -> bool:
    """Whether one of them does the task or has done it."""
    kept = (*_OVER, TrialState.RUNNING)
    return any(trial.state in kept and _task(trial) == task for trial in trials)


def _deaths(task: Task, trials: Sequence[FrozenTrial]) -> int:
    return sum(
        trial.state == TrialState.FAIL
        and _task(trial) == task
        and not SharedStudy.stepped_back(trial)
        for trial in trials
    )
