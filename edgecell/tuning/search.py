"""A search: what chooses the next values, what gives trials up, which trial is the best."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from edgecell.progress import Progress
from edgecell.tuning.space import Space, Value
from edgecell.tuning.storage import DRAWN, Storage, attempts_before
from edgecell.tuning.study import WORKER, SharedStudy, storage_errors

SamplerName = Literal["tpe", "random"]
PrunerName = Literal["median", "hyperband", "none"]

_COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.WAITING)
_IMPORTANCE_FROM = 4


class Attempt:
    """One trial as the objective sees it: its values, and whom to tell about its epochs.

    ``earlier`` are the numbers of the trials that it is another attempt at, the first one first.
    """

    def __init__(self, trial: optuna.Trial, values: dict[str, Value], earlier: list[int]) -> None:
        self.number = trial.number
        self.values = values
        self.earlier = earlier
        self._trial = trial
        self._reported: set[int] = set()

    def report(self, figures: Mapping[int, float]) -> bool:
        """Tell the figure on val of each epoch so far; returns whether to give the trial up."""
        for epoch in sorted(set(figures) - self._reported):
            self._trial.report(figures[epoch], epoch)
            self._reported.add(epoch)
        return self._trial.should_prune()

    def note(self, facts: Mapping[str, Any]) -> None:
        """Keep facts about the trial in the study, for all workers' tables."""
        for key, value in facts.items():
            self._trial.set_user_attr(key, value)


Objective = Callable[[Attempt], float]


class SeededByPlace(BaseSampler):
    """A sampler whose draws are a function of (seed, place of the trial, trials so far).

    Optuna's own start their generator with the process: a search that goes on after a break, or a
    second worker with the same seed, would draw the first trials again. The place, see :func:`place`,
    is that of an undisturbed search: another attempt at a trial has the number of a later one.

    ``trials`` gives all trials of the study; the one that Optuna hands over may be a part of it.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._inner = make(seed)
        self.trials: Callable[[], list[FrozenTrial]] = list

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Start the generator anew."""
        state = [self._seed, place(trial, self.trials())]
        mixed = np.random.SeedSequence(state).generate_state(1)
        self._inner = self._make(int(mixed[0]))
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As the sampler inside."""
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler inside."""
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """As the sampler inside."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)


def place(trial: FrozenTrial, trials: list[FrozenTrial]) -> int:
    """Which trial this is, counted from 0, where no trial had died; another attempt is the first one."""
    first = (attempts_before(trial) or [trial.number])[0]
    return sum(not attempts_before(other) for other in trials[:first])


def is_twin(trial: FrozenTrial, trials: list[FrozenTrial]) -> bool:
    """Whether an earlier trial is another attempt at the same one: two workers had queued it at once."""
    tried = attempts_before(trial)
    return bool(tried) and any(
        attempts_before(other) == tried and not SharedStudy.stepped_back(other)
        for other in trials[: trial.number]
    )


def make_sampler(name: SamplerName, seed: int) -> SeededByPlace:
    """Tree-structured Parzen estimators (Bergstra et al. 2011), or independent random draws."""
    if name == "random":
        return SeededByPlace(lambda s: RandomSampler(seed=s), seed)
    return SeededByPlace(lambda s: TPESampler(seed=s), seed)


def make_pruner(name: PrunerName, epochs: int) -> BasePruner:
    """What gives bad trials up by their figure on val after each epoch.

    median: worse than the median of the earlier trials at the same epoch, after five whole trials
    and a fifth of the epochs. hyperband: Li et al. 2018, from the first epoch on.
    """
    if name == "none":
        return NopPruner()
    if name == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=max(2, epochs), reduction_factor=3)
    return MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, epochs // 5))


class Search(SharedStudy):
    """A study whose trials are drawn from a space, the same for all its workers."""

    def __init__(
        self,
        storage: Storage,
        name: str,
        space: Space,
        definition: Mapping[str, Any],
        sampler: SeededByPlace,
        pruner: BasePruner,
        first: dict[str, Value] | None = None,
    ) -> None:
        """Make the study, or join it; ``first`` are the values of its first trial.

        Raises:
            ConfigError, ArtifactError: as :class:`SharedStudy`.
        """
        self.space = space
        queued = () if first is None else (first,)
        super().__init__(storage, name, definition, sampler=sampler, pruner=pruner, first=queued)
        sampler.trials = lambda: self.study.get_trials(deepcopy=False)

    def run(
        self,
        objective: Objective,
        trials: int,
        timeout: float | None,
        progress: Progress,
        after: Callable[[int], None] = lambda number: None,
    ) -> None:
        """Work until ``trials`` trials of the study are done, by whomever, or time is over.

        See :meth:`SharedStudy.work`.
        """

        def more(everything: list[FrozenTrial]) -> bool:
            states = [trial.state for trial in everything]
            return TrialState.WAITING in states or _counted(states) < trials

        self.work(self._each(objective, trials), more, timeout, progress, after)

    def _each(self, objective: Objective, trials: int) -> Callable[[optuna.Trial], float]:
        """What is done with a trial that was taken."""

        def call(trial: optuna.Trial) -> float:
            self._refuse_surplus(trial, trials)
            values = {key: _suggest(trial, key, found) for key, found in self.space.items()}
            trial.set_user_attr(DRAWN, True)
            everything = self.study.get_trials(deepcopy=False)
            same = _same_values(everything, trial.number)
            if same is not None:
                return _as_before(trial, same)
            return objective(Attempt(trial, values, attempts_before(everything[trial.number])))

        return call

    def _refuse_surplus(self, trial: optuna.Trial, trials: int) -> None:
        """Two workers may both have seen one trial left; the one with the higher number steps back."""
        everything = self.study.get_trials(deepcopy=False)
        earlier = [other.state for other in everything[: trial.number]]
        if _counted(earlier) >= trials or is_twin(everything[trial.number], everything):
            self.step_back(trial)

    def best(self) -> FrozenTrial | None:
        """The finished trial with the highest figure on val; at a tie the lower val loss."""
        finished = [t for t in self.trials() if t.state == TrialState.COMPLETE]
        return max(
            finished, key=lambda t: (t.value, -t.user_attrs["val_loss"], -t.number), default=None
        )

    def importances(self, seed: int) -> dict[str, float] | str:
        """Share of the variance of the figure on val that each setting explains, or why there is none.

        Functional ANOVA over a random forest (Hutter et al. 2014), on finished trials.
        """
        finished = [t for t in self.trials() if t.state == TrialState.COMPLETE]
        if len(finished) < _IMPORTANCE_FROM:
            return f"needs {_IMPORTANCE_FROM} finished trials, there are {len(finished)}"
        if len({trial.value for trial in finished}) < 2:
            return "all finished trials have the same figure"
        with warnings.catch_warnings(), storage_errors():
            warnings.simplefilter("ignore")
            found = get_param_importances(
                self.study, evaluator=FanovaImportanceEvaluator(seed=seed)
            )
        return {key: float(found[key]) for key in found}


def _counted(states: list[TrialState]) -> int:
    return sum(state in _COUNTED for state in states)


def _suggest(trial: optuna.Trial, key: str, found: BaseDistribution) -> Value:
    if isinstance(found, IntDistribution):
        return trial.suggest_int(key, found.low, found.high, step=found.step, log=found.log)
    if isinstance(found, FloatDistribution):
        value = trial.suggest_float(key, found.low, found.high, step=found.step, log=found.log)
        return _plain(value)
    assert isinstance(found, CategoricalDistribution)
    return cast(Value, trial.suggest_categorical(key, found.choices))


def _plain(value: float) -> float:
    """Steps add up to 0.30000000000000004; recipes are read by people."""
    return float(f"{value:.12g}")


def values_of(trial: FrozenTrial) -> dict[str, Value]:
    """The values that the trial was trained with."""
    return {k: _plain(v) if isinstance(v, float) else v for k, v in trial.params.items()}


def _same_values(trials: list[FrozenTrial], number: int) -> FrozenTrial | None:
    """An earlier trial that finished or was given up with just these values."""
    params = trials[number].params
    return next(
        (
            other
            for other in trials[:number]
            if other.state in (TrialState.COMPLETE, TrialState.PRUNED) and other.params == params
        ),
        None,
    )


def _as_before(trial: optuna.Trial, same: FrozenTrial) -> float:
    """What a repetition with the same seed would give, without doing it."""
    for key, value in same.user_attrs.items():
        if key != WORKER:
            trial.set_user_attr(key, value)
    trial.set_user_attr("reason", f"same values as trial {same.number}")
    if same.state == TrialState.PRUNED:
        raise optuna.TrialPruned
    assert same.value is not None
    return same.value
