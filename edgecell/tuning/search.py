"""The loop of a search: take a trial, have it trained, tell the study; as one of several workers."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, cast

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from edgecell.errors import ArtifactError, ConfigError
from edgecell.progress import Progress
from edgecell.tuning.space import Space, Value
from edgecell.tuning.storage import Storage, retried_from, retry

SamplerName = Literal["tpe", "random"]
PrunerName = Literal["median", "hyperband", "none"]

_DEFINITION = "edgecell"
_SURPLUS = "surplus"
_WORKER = "worker"
_POLL_SECONDS = 2.0
_COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.WAITING)
_IMPORTANCE_FROM = 4

optuna.logging.set_verbosity(optuna.logging.ERROR)


class PrunedError(Exception):
    """Raised by an objective whose trial is not worth finishing; the message says why."""


class _TakenError(Exception):
    """The trial is not ours: one too many, or given to another worker while we were silent."""


class Attempt:
    """One trial as the objective sees it: its values, and whom to tell about its epochs."""

    def __init__(
        self, trial: optuna.Trial, values: dict[str, Value], retried_from: int | None
    ) -> None:
        self.number = trial.number
        self.values = values
        self.retried_from = retried_from
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


class SeededByNumber(BaseSampler):
    """A sampler whose draws are a function of (seed, number of the trial, trials so far).

    Optuna's own start their generator with the process: a search that goes on after a break, or a
    second worker with the same seed, would draw the first trials again.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._inner = make(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Start the generator anew."""
        mixed = np.random.SeedSequence([self._seed, trial.number]).generate_state(1)
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


def make_sampler(name: SamplerName, seed: int) -> BaseSampler:
    """Tree-structured Parzen estimators (Bergstra et al. 2011), or independent random draws."""
    if name == "random":
        return SeededByNumber(lambda s: RandomSampler(seed=s), seed)
    return SeededByNumber(lambda s: TPESampler(seed=s), seed)


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


class Search:
    """A study that is the same for all workers: same space, same settings, same images."""

    def __init__(
        self,
        storage: Storage,
        name: str,
        space: Space,
        definition: Mapping[str, Any],
        sampler: BaseSampler,
        pruner: BasePruner,
        first: dict[str, Value] | None = None,
    ) -> None:
        """Make the study, or join it; ``first`` are the values of its first trial.

        Raises:
            ConfigError: the study is there and differs in ``definition``. ArtifactError: the storage
                is damaged.
        """
        self.storage, self.space, self.name = storage, space, name
        with _storage_errors():
            try:
                self.study = optuna.create_study(
                    storage=storage.backend,
                    study_name=name,
                    direction="maximize",
                    sampler=sampler,
                    pruner=pruner,
                )
                self.is_new = True
                if first is not None:
                    self.study.enqueue_trial(dict(first))
                self.study.set_user_attr(_DEFINITION, dict(definition))
            except DuplicatedStudyError:
                self.is_new = False
                self.study = optuna.load_study(
                    storage=storage.backend, study_name=name, sampler=sampler, pruner=pruner
                )
                self._check(definition)

    def _check(self, definition: Mapping[str, Any]) -> None:
        for _ in range(10):  # its maker may still be writing
            found = self.study.user_attrs.get(_DEFINITION)
            if found is not None:
                break
            time.sleep(0.5)
        else:  # its maker died
            self.study.set_user_attr(_DEFINITION, dict(definition))
            return
        differing = [key for key in definition if found.get(key) != definition[key]]
        if differing:
            raise ConfigError(
                f"the study '{self.name}' was begun with another {', another '.join(differing)}; give"
                " the same settings, or start anew with another --study or --output"
            )

    @staticmethod
    def exists(storage: Storage, name: str) -> bool:
        """Whether the storage holds a study of this name."""
        with _storage_errors():
            return name in optuna.get_all_study_names(storage.backend)

    def run(
        self,
        objective: Objective,
        trials: int,
        timeout: float | None,
        progress: Progress,
        after: Callable[[int], None] = lambda number: None,
    ) -> None:
        """Work until ``trials`` trials of the study are done, by whomever, or time is over.

        ``after`` gets the number of each trial of this worker when it is over. A trial that this
        process is in when the time is over is finished. An interrupt leaves the trial to be taken up
        again.
        """
        begun = time.monotonic()
        waiting_said = False
        with self.storage.worker() as worker, _storage_errors():
            while timeout is None or time.monotonic() - begun < timeout:
                died = self.storage.revive(self.study, _WORKER)
                if died:
                    progress.say(f"{died} trial(s) of a worker that died: queued again")
                states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
                if states.count(TrialState.WAITING) or _counted(states) < trials:
                    number = self._one(objective, trials, worker)
                    if number is not None:
                        after(number)
                    waiting_said = False
                elif states.count(TrialState.RUNNING):
                    if not waiting_said:
                        running = states.count(TrialState.RUNNING)
                        progress.say(f"waiting for {running} trial(s) of other workers")
                        waiting_said = True
                    time.sleep(_POLL_SECONDS)
                else:
                    return

    def _one(self, objective: Objective, trials: int, worker: str) -> int | None:
        """Take a trial and finish it; its number, or None where it was not ours in the end."""
        taken: list[optuna.Trial] = []
        lost = False

        def call(trial: optuna.Trial) -> float:
            nonlocal lost
            taken.append(trial)
            try:
                self.storage.sign(trial, _WORKER, worker)
                self._refuse_surplus(trial, trials)
                values = {key: _suggest(trial, key, found) for key, found in self.space.items()}
                everything = self.study.get_trials(deepcopy=False)
                same = _same_values(everything, trial.number)
                if same is not None:
                    return _as_before(trial, same)
                return objective(Attempt(trial, values, retried_from(everything[trial.number])))
            except PrunedError as reason:
                if str(reason):
                    trial.set_user_attr("reason", str(reason))
                raise optuna.TrialPruned from reason
            except (UpdateFinishedTrialError, _TakenError) as error:
                lost = True
                raise _TakenError from error

        try:
            self.study.optimize(call, n_trials=1, catch=(_TakenError,))
        except KeyboardInterrupt:
            if taken:
                retry(self.study, self.study.trials[taken[0].number], limit=None)
            raise
        except UpdateFinishedTrialError:
            lost = True  # told too late: another worker took us for dead and repeats the trial
        return taken[0].number if taken and not lost else None

    def _refuse_surplus(self, trial: optuna.Trial, trials: int) -> None:
        """Two workers may both have seen one trial left; the one with the higher number steps back."""
        earlier = self.study.get_trials(deepcopy=False)[: trial.number]
        if _counted([other.state for other in earlier]) >= trials:
            trial.set_user_attr(_SURPLUS, True)
            raise _TakenError

    def trials(self) -> list[FrozenTrial]:
        """All trials but those that a worker stepped back from."""
        with _storage_errors():
            found = self.study.get_trials(deepcopy=False)
        return [trial for trial in found if _SURPLUS not in trial.user_attrs]

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
        with warnings.catch_warnings():
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
        if key != _WORKER:
            trial.set_user_attr(key, value)
    trial.set_user_attr("reason", f"same values as trial {same.number}")
    if same.state == TrialState.PRUNED:
        raise optuna.TrialPruned
    assert same.value is not None
    return same.value


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except StorageInternalError as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"the storage of the study failed: {reason}") from error
