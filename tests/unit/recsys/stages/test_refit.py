"""A finished run's model, trained anew on train and validation together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.refit import with_validation
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.pipelines.etl.build import build
from falconer.pipelines.runs import Run
from falconer.recsys import stages
from falconer.recsys.stages import RecommendConfig
from tests.support import shop
from tests.support.judging import QUICK

TINY = (
    *("model.hidden=[8]", "model.dim=4", "model.training.epochs=4", "model.batch_size=8"),
    'model.training.device="cpu"',
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("refit")
    tables = shop.write(root, shop.events())
    return build(shop.recipe(tables, split="leave_last"), root / "data")


def parts(data: Dataset) -> list[tuple[int, int]]:
    """(user, item) of train and, since each query of valid has one answer, of validation."""
    train = zip(data.train_column("user").tolist(), data.train_column("item").tolist(), strict=True)
    queries, truth = data.queries("valid"), data.truth("valid")
    known = [row for row in range(len(queries)) if len(truth.items[row])]
    return [*train, *((int(queries.user[row]), int(truth.items[row][0])) for row in known)]


def test_train_holds_both_in_order_of_time(dataset: Path) -> None:
    data = Dataset.open(dataset)
    with with_validation(data) as both:
        columns = [both.train_column(name) for name in ("user", "item", "time")]
        assert sorted(zip(*(one.tolist() for one in columns[:2]), strict=True)) == sorted(
            parts(data)
        )
        assert (np.diff(columns[2]) >= 0).all()
        assert both.train.schema == data.train.schema
        assert not both.has_fold("valid")
        assert both.has_fold("test")
        assert [path.is_file() for path in both.train_files()] == [True]


def test_a_plain_model_counts_both(dataset: Path, tmp_path: Path) -> None:
    first = stages.train("popularity", dataset, tmp_path)
    run = stages.refit(first, tmp_path)
    data = Dataset.open(dataset)
    counts = np.bincount([item for _, item in parts(data)], minlength=data.n_items)
    [saved] = (run / "model").glob("*.npz")
    with np.load(saved) as arrays:
        assert any(np.array_equal(arrays[name], counts) for name in arrays.files)


@pytest.fixture(scope="module")
def neural(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose best epoch on validation is not its last."""
    runs = tmp_path_factory.mktemp("runs")
    run = stages.train("vae_cf", dataset, runs, overrides=TINY)
    info = json.loads((run / "run.json").read_text())
    assert set(info["chosen_epochs"]) == {""}
    info["chosen_epochs"] = {"": 2.0}
    (run / "run.json").write_text(json.dumps(info))
    return run


def weights(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "model").glob("*.safetensors")}


def test_a_neural_model_trains_as_many_epochs_as_were_chosen(neural: Path, tmp_path: Path) -> None:
    run = stages.refit(neural, tmp_path)
    lines = Run.open(run).read_lines("metrics.jsonl")
    assert [line["epoch"] for line in lines] == [1.0, 2.0]
    assert all(set(line) == {"step", "epoch", "loss", "learning_rate"} for line in lines)
    assert (run / "config.toml").read_bytes() == (neural / "config.toml").read_bytes()
    assert weights(run) != weights(neural)


def test_an_interrupted_refit_goes_on_to_the_same_bytes(
    neural: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stages.refit(neural, tmp_path / "whole")
    log_metrics = Run.log_metrics

    def interrupted(self: Run, step: int, values: dict[str, float]) -> None:
        log_metrics(self, step, values)
        if values["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log_metrics", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stages.refit(neural, tmp_path / "cut")
    [cut] = (tmp_path / "cut").iterdir()
    resumed = stages.resume(cut)
    assert weights(resumed) == weights(whole)
    names = ("metrics.jsonl", "train-events.parquet")
    assert [(resumed / name).read_bytes() for name in names] == [
        (whole / name).read_bytes() for name in names
    ]


def test_test_is_never_looked_at(dataset: Path, tmp_path: Path) -> None:
    first = stages.train("item_knn", dataset, tmp_path)
    hidden = sorted(dataset.glob("*/test.parquet"))
    assert hidden
    kept = {path: path.read_bytes() for path in hidden}
    try:
        for path in hidden:
            path.unlink()
        stages.refit(first, tmp_path)
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


def test_a_refit_is_judged_on_test_and_compared_as_what_it_is(
    dataset: Path, tmp_path: Path
) -> None:
    first = stages.train("item_knn", dataset, tmp_path)
    run = stages.refit(first, tmp_path)
    for one in (first, run):
        stages.recommend(one, config=RecommendConfig(k=10))
        stages.evaluate(one, config=QUICK)
    report = json.loads((run / "all" / "report.json").read_text())
    assert report["label"] == "item_knn refit"
    assert report["protocol"]["training"].startswith("on train and validation")
    page = stages.compare([first, run], out=tmp_path / "page.html").read_text()
    assert "<td>train and validation</td>" in page
    assert "may be the data and not the model" in page
    with pytest.raises(ArtifactError, match=r"was trained on .* that fold valid"):
        stages.recommend(run, fold="valid", config=RecommendConfig(k=10))


def test_what_cannot_be_fitted_anew_is_refused(dataset: Path, tmp_path: Path) -> None:
    first = stages.train("popularity", dataset, tmp_path)
    again = stages.refit(first, tmp_path)
    with pytest.raises(ArtifactError, match="is fitted on train and validation already"):
        stages.refit(again, tmp_path)
    tables = shop.write(tmp_path / "tables", shop.events())
    apart = build(shop.recipe(tables, split="held_out_users"), tmp_path / "data")
    with pytest.raises(ArtifactError, match="holds no validation events"):
        stages.refit(stages.train("popularity", apart, tmp_path), tmp_path)
    with pytest.raises(ArtifactError, match="is not the dataset of"):
        stages.refit(first, tmp_path, data_path=apart)


def test_a_schedule_that_follows_validation_is_refused(neural: Path, tmp_path: Path) -> None:
    plateau = (
        *TINY,
        'model.training.schedule={kind="plateau"}',
        'model.training.monitor="ndcg@10"',
        "model.training.epochs=1",
    )
    dataset = Path(json.loads((neural / "run.json").read_text())["dataset_path"])
    run = stages.train("vae_cf", dataset, tmp_path, overrides=plateau)
    with pytest.raises(ConfigError, match="plateau"):
        stages.refit(run, tmp_path)
