from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from falconer.pipelines import tracking
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import Target, View
from falconer.pipelines.errors import ArtifactError, ConfigError, DataError, TrainingError
from falconer.pipelines.runs import Run
from falconer.pipelines.training.shard import Shard
from falconer.pipelines.tuning import study
from falconer.recsys import stages
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.models import saved
from falconer.recsys.models.ease.config import EaseConfig
from falconer.recsys.models.recipe import RECIPES, load_recipe, load_search
from falconer.recsys.tuning import study as tuning
from falconer.recsys.tuning.objective import objective_of
from falconer.recsys.tuning.study import TuneConfig
from tests.support import tiny
from tests.support.datasets import checkerboard, write_dataset, write_labels_dataset

EASE = """
name = "ease"
[model]
decay = 0.7
[search]
"model.l2" = { low = 0.1, high = 100000.0, log = true }
"model.max_items" = { low = 20, high = 30 }
"""
"""The board has 24 items: a trial with fewer max_items fails."""

NCF = """
name = "ncf"
[model]
dim = 4
mlp_dim = 4
hidden = [4]
batch_size = 512
training = { epochs = 6, learning_rate = 0.05, threads = 1 }
[search]
"model.training.learning_rate" = { low = 1e-6, high = 0.1, log = true }
"model.hidden" = { choices = [[8], [16, 8]] }
"""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return checkerboard(tmp_path_factory.mktemp("tuning") / "board", views=("novel", "all"))


def written(tmp_path: Path, text: str = EASE) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def trials_of(best: Path) -> list[optuna.trial.FrozenTrial]:
    store = f"sqlite:///{best.parent / study.STORE}"
    return optuna.load_study(study_name=best.parent.name, storage=store).trials


def params_of(best: Path) -> list[dict[str, Any]]:
    return [trial.params for trial in trials_of(best)]


def test_a_search_leaves_runs_and_the_best_recipe(
    board: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, root = written(tmp_path), tmp_path / "runs"
    best = tuning.tune(recipe, board.path, root, TuneConfig(trials=5, metric="mrr@5"))
    trials = trials_of(best)
    runs = {Run.open(path).info["trial"]: Run.open(path) for path in root.glob("2*-ease-*")}
    assert len(runs) == len(trials) == 5
    for trial in trials:
        info = runs[trial.number].info
        assert (info["selected_on"], info["study"]) == ("valid", best.parent.name)
        assert info["status"] == ("finished" if trial.value is not None else "failed")
        if trial.value is None:
            assert trial.params["model.max_items"] < 24
            continue
        assert info["objective"] == {"metric": "mrr@5", "view": "novel", "value": trial.value}
        assert (
            tomllib.loads((runs[trial.number].path / "config.toml").read_text())["model"]["l2"]
            == trial.params["model.l2"]
        )
    done = [trial for trial in trials if trial.value is not None]
    assert 1 < len(done) < 5
    chosen = max(done, key=lambda trial: (trial.value, -trial.number))
    _, config = load_recipe(str(best))
    assert config == EaseConfig(
        decay=0.7, l2=chosen.params["model.l2"], max_items=chosen.params["model.max_items"]
    )
    assert "mrr@5" in best.read_text()
    stages.train(str(best), board.path, tmp_path / "again")
    printed = capsys.readouterr().out
    assert "model.max_items stops it" in printed
    table = [line for line in printed.splitlines() if line.split()[1:2] in (["done"], ["failed"])]
    assert len(table) == 5
    assert all(runs[number].name in line for number, line in enumerate(table))


@pytest.mark.parametrize(("metric", "view"), [("ndcg@10", None), ("recall@3", "all")])
def test_the_value_is_that_of_the_report(
    metric: str, view: View | None, board: Dataset, tmp_path: Path
) -> None:
    run = tiny.train("popularity", "numpy", board, tmp_path)
    run.update(dataset_path=str(board.path), label="knn")
    objective = objective_of(board, metric, view)
    assert objective.view is not None
    stages.recommend(run.path, fold="valid", views=(objective.view,))
    stages.evaluate(run.path, fold="valid", config=EvaluationConfig(k=(3, 10)))
    mean = json.loads((run.path / objective.view / "report.json").read_text())["metrics"][metric][
        "mean"
    ]
    assert objective.of(saved.load_model(run.model_directory, board)) == pytest.approx(
        mean, abs=1e-12
    )
    assert 0 < mean < 1


@pytest.mark.parametrize(
    ("target", "metric", "more"), [("binary", "roc_auc", True), ("rating", "rmse", False)]
)
def test_labels_are_searched_too(target: Target, metric: str, more: bool, tmp_path: Path) -> None:
    clicks = write_labels_dataset(tmp_path / "clicks", target=target)
    text = (
        'name = "label_mean"\n[search]\n'
        '"model.shrinkage" = { low = 1e-3, high = 1e6, log = true }\n'
    )
    best = tuning.tune(
        written(tmp_path, text), clicks.path, tmp_path / "runs", TuneConfig(trials=4)
    )
    values = [float(trial.value or np.nan) for trial in trials_of(best)]
    info = Run.open(next((tmp_path / "runs").glob("2*-0"))).info
    assert info["objective"] == {"metric": metric, "view": None, "value": values[0]}
    assert f"{max(values) if more else min(values):.4f}" in best.read_text().splitlines()[1]
    _, config = load_recipe(str(best))
    assert config.model_dump()["shrinkage"] in [
        trial.params["model.shrinkage"] for trial in trials_of(best)
    ]
    for knobs, match in (
        ({"metric": "ndcg@10"}, f"name one of .*{metric}"),
        ({"view": "all"}, "no views"),
    ):
        with pytest.raises(ConfigError, match=match):
            tuning.tune(
                written(tmp_path, text), clicks.path, tmp_path / "runs", TuneConfig(**knobs)
            )


def test_the_test_fold_is_never_read(tmp_path: Path) -> None:
    board = checkerboard(tmp_path / "board")
    for file in [*board.path.glob("queries/test*"), *board.path.glob("truth/test*")]:
        file.write_bytes(b"damaged")
    assert tuning.tune(
        written(tmp_path), board.path, tmp_path / "runs", TuneConfig(trials=2)
    ).is_file()


def test_one_seed_gives_one_sequence_of_suggestions(board: Dataset, tmp_path: Path) -> None:
    recipe = written(tmp_path)
    first = tuning.tune(recipe, board.path, tmp_path / "a", TuneConfig(trials=11))
    second = tuning.tune(recipe, board.path, tmp_path / "b", TuneConfig(trials=11))
    other = tuning.tune(recipe, board.path, tmp_path / "c", TuneConfig(trials=3, seed=1))
    assert params_of(first) == params_of(second)
    assert params_of(first)[:3] != params_of(other)
    assert len({repr(params) for params in params_of(first)}) == 11
    assert first.read_text().splitlines()[2:] == second.read_text().splitlines()[2:]


def test_a_search_goes_on_as_if_it_had_not_stopped(board: Dataset, tmp_path: Path) -> None:
    recipe = written(tmp_path)
    whole = tuning.tune(recipe, board.path, tmp_path / "whole", TuneConfig(trials=11))
    for trials in (4, 4, 11):
        parts = tuning.tune(recipe, board.path, tmp_path / "parts", TuneConfig(trials=trials))
        assert len(trials_of(parts)) == trials
    assert params_of(parts) == params_of(whole)
    assert [trial.value for trial in trials_of(parts)] == [
        trial.value for trial in trials_of(whole)
    ]


def test_another_space_or_dataset_is_another_study(board: Dataset, tmp_path: Path) -> None:
    other = checkerboard(tmp_path / "other", n=22)
    wider = EASE.replace("100000.0", "1000.0")
    found = {
        tuning.tune(
            written(tmp_path, text), data.path, tmp_path / "runs", TuneConfig(trials=1, **knobs)
        ).parent
        for text, data, knobs in (
            (EASE, board, {}),
            (wider, board, {}),
            (EASE, other, {}),
            (EASE, board, {"metric": "ndcg@5"}),
            (EASE, board, {"view": "all"}),
        )
    }
    assert len(found) == 5


def test_a_killed_trial_is_tried_again(
    board: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, root = (
        written(tmp_path, NCF.replace("epochs = 6", "epochs = 100000, patience = 100000")),
        tmp_path / "runs",
    )
    code = (
        "from pathlib import Path; from falconer.recsys.tuning import study as tuning; "
        f"tuning.tune({recipe!r}, Path({str(board.path)!r}), Path({str(root)!r}), "
        "tuning.TuneConfig(trials=1))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        while process.poll() is None and not list(root.glob("2*-ncf-*/metrics.jsonl")):
            time.sleep(0.1)
        assert process.poll() is None
        with pytest.raises(ArtifactError, match="another process"):
            tuning.tune(recipe, board.path, root, TuneConfig(trials=1))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()

    def train(*args: Any, **knobs: Any) -> Path:
        raise TrainingError("enough")

    monkeypatch.setattr(stages, "train", train)
    with pytest.raises(TrainingError, match="none of 2 trials"):
        tuning.tune(recipe, board.path, root, TuneConfig(trials=1))
    (run,) = (Run.open(path) for path in root.glob("2*-ncf-*"))
    assert run.info["status"] == "interrupted"


def test_a_trial_that_falls_behind_is_stopped_early(board: Dataset, tmp_path: Path) -> None:
    best = tuning.tune(written(tmp_path, NCF), board.path, tmp_path / "runs", TuneConfig(trials=12))
    trials = trials_of(best)
    stopped = [trial for trial in trials if trial.state == optuna.trial.TrialState.PRUNED]
    assert stopped
    for trial in stopped:
        (path,) = (tmp_path / "runs").glob(f"*-{best.parent.name}-{trial.number}")
        assert Run.open(path).info["status"] == "stopped"
        assert study.FIRST_VALIDATIONS < len(trial.intermediate_values) <= 6
        assert not (path / "model").exists()
    assert not any(trial.number < study.FIRST_TRIALS for trial in stopped)


def test_what_the_training_monitors_decides_where_nothing_is_said(
    board: Dataset, tmp_path: Path
) -> None:
    text = NCF.replace("epochs = 6", 'epochs = 1, monitor = "hit_rate@10"')
    best = tuning.tune(written(tmp_path, text), board.path, tmp_path / "runs", TuneConfig(trials=1))
    assert "the best by hit_rate@10 on valid" in best.read_text()


def test_every_trial_is_mirrored_however_it_ends(
    board: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrored: list[tuple[str, str]] = []

    def mirror(path: Path) -> None:
        info = Run.open(path).info
        mirrored.append((info["status"], str(info.get("objective", {}).get("metric"))))

    monkeypatch.setattr(tracking, "mirror", mirror)
    tuning.tune(written(tmp_path), board.path, tmp_path / "runs", TuneConfig(trials=5))
    assert {("finished", "ndcg@10"), ("failed", "None")} <= set(mirrored)


def test_another_view_than_the_trainings_own_stops_nothing(board: Dataset, tmp_path: Path) -> None:
    config = TuneConfig(trials=1, view="all")
    best = tuning.tune(written(tmp_path, NCF), board.path, tmp_path / "runs", config)
    assert [trial.intermediate_values for trial in trials_of(best)] == [{}]


def test_a_trial_whose_knobs_do_not_fit_together_fails_alone(
    board: Dataset, tmp_path: Path
) -> None:
    text = NCF.replace(
        "[search]",
        "pretraining = { epochs = 1, threads = 1 }\n[search]\n"
        '"model.variant" = { choices = ["gmf", "neumf"] }',
    )
    with pytest.raises(
        ConfigError, match="pretraining"
    ):  # gmf alone has no halves: the recipe cannot be searched so
        tuning.tune(written(tmp_path, text), board.path, tmp_path / "runs", TuneConfig(trials=1))


def test_a_failed_training_is_a_failed_trial(
    board: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = stages.train

    def train(*args: Any, **knobs: Any) -> Path:
        if knobs["facts"]["trial"] == 0:
            raise TrainingError("the loss of step 3 is nan")
        return real(*args, **knobs)

    monkeypatch.setattr(stages, "train", train)
    best = tuning.tune(written(tmp_path), board.path, tmp_path / "runs", TuneConfig(trials=2))
    assert [trial.state.name for trial in trials_of(best)] == ["FAIL", "COMPLETE"]
    assert "the loss of step 3 is nan" in capsys.readouterr().out


def test_an_interrupt_ends_the_search_and_the_trial(
    board: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*args: Any, **knobs: Any) -> Path:
        raise KeyboardInterrupt

    recipe = written(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(stages, "train", train)
        with pytest.raises(KeyboardInterrupt):
            tuning.tune(recipe, board.path, tmp_path / "runs", TuneConfig(trials=2))
    best = tuning.tune(recipe, board.path, tmp_path / "runs", TuneConfig(trials=2))
    assert [trial.state.name for trial in trials_of(best)] == ["FAIL", "COMPLETE", "COMPLETE"]
    whole = tuning.tune(recipe, board.path, tmp_path / "whole", TuneConfig(trials=2))
    assert params_of(best)[1:] == params_of(whole)
    assert params_of(best)[0] == params_of(best)[1]


def test_no_trial_begins_after_the_time_is_over(board: Dataset, tmp_path: Path) -> None:
    best = tuning.tune(
        written(tmp_path), board.path, tmp_path / "runs", TuneConfig(trials=1000, timeout=0.001)
    )
    assert len(trials_of(best)) == 1


def test_several_processes_are_refused(
    board: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "current_shard", lambda: Shard(rank=1, world=2))
    with pytest.raises(ConfigError, match="without torchrun"):
        tuning.tune(written(tmp_path), board.path, tmp_path / "runs")


def test_what_cannot_be_searched_is_refused(board: Dataset, tmp_path: Path) -> None:
    events = [(0, 0, 1), (0, 1, 2), (1, 1, 3)]
    rows = [(0, [0, 1], [2])]
    no_valid = write_dataset(
        tmp_path / "no-valid", train=events, n_users=2, n_items=3, folds={"test": rows}
    )
    for data, recipe, config, match in (
        (no_valid, written(tmp_path), TuneConfig(), "no fold valid"),
        (board, "ease", TuneConfig(), r"no search space; add one"),
        (board, written(tmp_path), TuneConfig(metric="ndgc@10"), "did you mean 'ndcg'"),
        (board, written(tmp_path), TuneConfig(metric="coverage@10"), "cannot choose knobs"),
        (board, written(tmp_path), TuneConfig(metric="ndcg"), "with a cut-off"),
        (board, written(tmp_path), TuneConfig(view="repeat"), "no query of fold valid"),
    ):
        with pytest.raises((ConfigError, DataError), match=match):
            tuning.tune(recipe, data.path, tmp_path / "runs", config)
    assert not (tmp_path / "runs").exists()


def test_a_search_space_changes_no_training(board: Dataset, tmp_path: Path) -> None:
    path = stages.train(written(tmp_path), board.path, tmp_path / "runs")
    frozen = tomllib.loads((path / "config.toml").read_text())
    assert set(frozen) == {"name", "backend", "model"}
    assert frozen["model"]["l2"] == EaseConfig().l2


@pytest.mark.parametrize(
    "path", [path for path in RECIPES.rglob("*.toml") if "[search]" in path.read_text()], ids=str
)
def test_every_space_of_our_recipes_is_one_of_its_model(path: Path) -> None:
    assert load_search(str(path))
