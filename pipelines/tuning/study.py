"""Search for a model's knobs: trials that are runs of their own, chosen by Optuna.

What is trained, and what a trained run is worth, is the caller's `Experiment`: any wing's models
are searched alike.

<runs>/<study>/
    study.db    Optuna's store, which an interrupted search goes on from
    best.toml   the best trial's recipe, all defaults frozen in
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from pydantic import Field

from falconer.pipelines import runs, tracking
from falconer.pipelines.config import Config
from falconer.pipelines.console import say
from falconer.pipelines.errors import ArtifactError, ConfigError, DataError, TrainingError
from falconer.pipelines.exclusive import exclusive
from falconer.pipelines.files import identity_of, sweep, write_text
from falconer.pipelines.models.recipe import setting
from falconer.pipelines.runs import Run, Watch
from falconer.pipelines.training.shard import current_shard
from falconer.pipelines.tuning.search_space import Knob

STORE, BEST = "study.db", "best.toml"
ERROR = "error"
"""Attribute of a trial: why its training failed. A failed trial without it was interrupted."""
FIRST_TRIALS = 5
"""Trials that must come to their end before one is stopped early, so that there is a median to fall
behind."""
FIRST_VALIDATIONS = 2
"""Validations of each trial that stop nothing: what learns slowly at first may be the best in the
end."""


class StudyConfig(Config):
    """How to search.

    Same seed, data and machine: same suggestions. A trial is stopped early where, at a validation,
    its best value so far is worse than the median of the earlier trials there; that needs a
    training that validates by the metric that decides.
    """

    trials: int = Field(default=20, ge=1)
    """Trials in all, those of an interrupted search and failed ones included; one that was
    interrupted itself is tried again."""
    timeout: float | None = Field(default=None, gt=0)
    """No trial but the first begins after so many seconds."""
    seed: int = Field(default=0, ge=0, lt=2**32)


class Goal(Config):
    """What decides between trials."""

    metric: str
    more_is_better: bool
    is_validated: bool
    """Whether a training's own validations give this value, under the metric's name."""
    facts: dict[str, Any] = Field(default_factory=dict)
    """What else says how the value comes about (the view); beside it in a run's `objective`."""
    data: str
    """The data that it is measured on, in words: behind the best value in `best.toml`."""


class Experiment(Protocol):
    """What is tried out: the training of a recipe with other settings."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def identity(self) -> Any:
        """All that decides the values, as JSON: another identity is another study."""

    @property
    def space(self) -> Mapping[str, Knob]:
        """The knobs and their values: "model.l2" -> `Knob`."""

    @property
    def goal(self) -> Goal:
        """What decides."""

    def train(
        self,
        settings: Sequence[str],
        *,
        runs_root: Path,
        run_id: str,
        watch: Watch | None,
        facts: Mapping[str, Any],
    ) -> Path:
        """Train a run with these overrides; returns its directory."""

    def value(self, run: Run) -> float:
        """What the trained run is worth, on data that chose nothing else."""


def search(experiment: Experiment, runs_root: Path, config: StudyConfig) -> Path:
    """Run the trials, going on with what an interrupted search left; returns the path of
    `best.toml`.

    Raises `ConfigError` in a process of several, `ArtifactError` where another process is searching
    there, and `TrainingError` where no trial came to its end.
    """
    if current_shard().world > 1:
        raise ConfigError("tune runs in one process: start it without torchrun")
    study = _Study(experiment, runs_root, config)
    busy = f"{study.directory}: another process is searching here at this moment"
    with exclusive(study.directory, ArtifactError(busy)):
        study.go_on()
        return study.finish()


class _Study:
    """One call of `search`."""

    def __init__(self, experiment: Experiment, runs_root: Path, config: StudyConfig) -> None:
        self._experiment, self._runs_root, self._config = experiment, runs_root, config
        self._space, self._goal = experiment.space, experiment.goal
        space = {key: knob.model_dump(mode="json") for key, knob in self._space.items()}
        identity = identity_of([experiment.identity, space, config.seed])
        self.name = f"tune-{runs.in_a_name(experiment.model)}-{identity[:8]}"
        self.directory = runs_root / self.name

    def go_on(self) -> None:
        """Run the trials that are left."""
        sweep(self._runs_root)  # no further trial may begin, which would do it
        self._study = self._opened()
        self._give_up_killed_trials()
        started, first = time.monotonic(), self._n_trials()
        if first < self._config.trials:
            say(
                f"{self._config.trials - first} trials to go, each a training; the time that is "
                "left follows the first (fewer --trials or a --timeout take less, and what Ctrl-C "
                "ends goes on with the same command)"
            )
        while (done := self._n_trials()) < self._config.trials:
            if done > first:
                left = (time.monotonic() - started) / (done - first) * (self._config.trials - done)
                say(f"{done}/{self._config.trials} trials, about {left:.0f} s left")
            self._one_trial()
            if (
                self._config.timeout is not None
                and time.monotonic() - started > self._config.timeout
            ):
                say(f"{self._config.timeout:g} seconds are over: no further trial")
                return

    def _n_trials(self) -> int:
        """Trials that need not be tried again."""
        trials = self._study.get_trials(deepcopy=False)
        return sum(not _was_interrupted(trial) for trial in trials)

    def _opened(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return optuna.create_study(
            storage=f"sqlite:///{(self.directory / STORE).resolve()}",
            study_name=self.name,
            direction="maximize" if self._goal.more_is_better else "minimize",
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=FIRST_TRIALS, n_warmup_steps=FIRST_VALIDATIONS
            ),
            load_if_exists=True,
        )

    def _give_up_killed_trials(self) -> None:
        """Trials under way belong to a process that was killed: so were their runs. The next trial
        is the same again, since the sampler knows nothing of them."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            say(f"trial {trial.number} was killed; it is tried again")
            for run in self._runs_of(trial.number):
                run.update(status="interrupted", error="killed during a search for knobs")
                tracking.mirror(run.path)
            self._study.tell(trial.number, state=TrialState.FAIL)

    def _run_id(self, number: int) -> str:
        return f"{self.name}-{number}"

    def _runs_of(self, number: int) -> list[Run]:
        """The trial's run, where it came so far as to begin one."""
        return [
            Run(path)
            for path in self._runs_root.glob(f"*-{self._run_id(number)}")
            if (path / runs.RUN_FILE).exists()
        ]

    def _one_trial(self) -> None:
        # A sampler of the trial's own, which looks at whole trials only: an interrupted search then
        # goes on with the suggestions of an undisturbed one.
        number = self._n_trials()
        self._study.sampler = optuna.samplers.TPESampler(
            seed=int(identity_of([self._config.seed, number])[:8], 16)
        )
        trial = self._study.ask()
        settings = [setting(key, suggested(trial, key, knob)) for key, knob in self._space.items()]
        say(f"trial {trial.number}: {', '.join(settings)}")
        self._study.tell(trial, *self._outcome(trial, settings))
        for run in self._runs_of(trial.number):
            tracking.mirror(run.path)

    def _outcome(self, trial: Trial, settings: list[str]) -> tuple[float | None, TrialState]:
        """The trial's value, and how it ended."""
        try:
            value = self._value(trial, settings)
        except runs.StoppedError:
            say(f"trial {trial.number}: stopped early")
            return None, TrialState.PRUNED
        except (
            ConfigError,
            DataError,
            TrainingError,
        ) as error:  # of this trial's knobs: others may do
            say(f"trial {trial.number}: failed: {error}")
            trial.set_user_attr(ERROR, str(error))
            return None, TrialState.FAIL
        except BaseException:
            self._study.tell(trial, state=TrialState.FAIL)
            raise
        say(f"trial {trial.number}: {self._goal.metric} {value:.4f}")
        return value, TrialState.COMPLETE

    def _value(self, trial: Trial, settings: list[str]) -> float:
        """Train a run with these settings, and judge it."""
        path = self._experiment.train(
            settings,
            runs_root=self._runs_root,
            run_id=self._run_id(trial.number),
            watch=_Pruning(trial, self._goal.metric) if self._goal.is_validated else None,
            facts={"study": self.name, "trial": trial.number, "selected_on": "valid"},
        )
        run = Run(path)
        value = self._experiment.value(run)
        run.update(objective={"metric": self._goal.metric, **self._goal.facts, "value": value})
        return value

    def finish(self) -> Path:
        """Print all trials, and write the best one's recipe."""
        trials = self._study.get_trials(deepcopy=False)
        done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        run_names = [" ".join(run.name for run in self._runs_of(trial.number)) for trial in trials]
        for line in _table(trials, self._space, self._goal.metric, run_names):
            say(line)
        if not done:
            raise TrainingError(
                f"{self.directory}: none of {len(trials)} trials came to its end; see the lines "
                "above"
            )
        best = self._study.best_trial
        (run,) = self._runs_of(best.number)
        config = (run.path / runs.CONFIG_FILE).read_text(encoding="utf-8")
        write_text(
            self.directory / BEST, f"{self._provenance(best, len(done), len(trials))}\n{config}"
        )
        say(f"best: trial {best.number}, {self._goal.metric} {best.value:.4f}, run {run.name}")
        return self.directory / BEST

    def _provenance(self, best: FrozenTrial, n_done: int, n_trials: int) -> str:
        return (
            f"# Trial {best.number} of {n_trials} (of which {n_done} came to their end), the best "
            f"by {self._goal.metric} on valid:\n# {best.value:.4f}, {self._goal.data}."
        )


def _was_interrupted(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and ERROR not in trial.user_attrs


class _Pruning:
    """Stops a run at a validation, where the study's pruner says that it is not worth going on."""

    def __init__(self, trial: Trial, metric: str) -> None:
        self._trial, self._metric, self._validations = trial, metric, 0

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        if self._metric not in values:
            return
        self._trial.report(values[self._metric], self._validations)
        self._validations += 1
        if self._trial.should_prune():
            raise runs.StoppedError(f"behind the other trials' median at step {step}")


def suggested(trial: Trial, key: str, knob: Knob) -> Any:
    """The sampler's value. Choices go by their place and text, since Optuna's store takes no
    lists."""
    if knob.low is None or knob.high is None:
        texts = [json.dumps(choice) for choice in knob.choices]
        return knob.choices[texts.index(trial.suggest_categorical(key, texts))]
    if knob.is_whole:
        return trial.suggest_int(key, int(knob.low), int(knob.high), log=knob.log)
    return trial.suggest_float(key, float(knob.low), float(knob.high), log=knob.log)


def _table(
    trials: Sequence[FrozenTrial], space: Mapping[str, Knob], metric: str, run_names: Sequence[str]
) -> Iterator[str]:
    """One line a trial: its number, how it ended, its value, its knobs and its run."""
    names = {TrialState.COMPLETE: "done", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed"}
    rows = [["trial", "", metric, *(key.removeprefix("model.") for key in space), "run"]]
    for trial, run_name in zip(trials, run_names, strict=True):
        value = f"{trial.value:.4f}" if trial.state == TrialState.COMPLETE else ""
        ended = "interrupted" if _was_interrupted(trial) else names[trial.state]
        knobs = [_short(trial.params.get(key, "")) for key in space]
        rows.append([str(trial.number), ended, value, *knobs, run_name])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
