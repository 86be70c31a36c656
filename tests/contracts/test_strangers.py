"""A package that brings a model, a metric, a source, a split protocol and a feature operator:
installed from a folder, its model checked by the kit as ours are, and all of it used by the
commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from falconer.pipelines import plugins, stages
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import PipelineError
from falconer.pipelines.etl.features import Encoder
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.metrics import explain, summary
from falconer.recsys.models.recipe import load_recipe

STRANGER = Path(__file__).parents[1] / "support/stranger"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the package was installed."""
    source, target = tmp_path_factory.mktemp("source") / "toy", tmp_path_factory.mktemp("site")
    shutil.copytree(STRANGER, source)
    command = "-m pip install --quiet --no-deps --no-build-isolation --no-index --target"
    subprocess.run([sys.executable, *command.split(), str(target), str(source)], check=True)
    return target


def falconer(site: Path, *arguments: str, code: int = 0, cwd: Path | None = None) -> str:
    """What a command prints, with the package to be found."""
    return python(site, "-m", "falconer.workflows.cli", *arguments, code=code, cwd=cwd)


def python(site: Path, *arguments: str, code: int = 0, cwd: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site), "FALCONER_TRACKING": "off"}
    command = [sys.executable, "-P", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)
    assert found.returncode == code, found.stdout + found.stderr
    return found.stdout if code == 0 else found.stderr


def test_the_kit_checks_it_as_ours_are_checked(installed: Path, tmp_path: Path) -> None:
    code = "from falconer.recsys.testing import check_model; from pathlib import Path; "
    python(installed, "-c", f"{code}check_model('co_counts', Path({str(tmp_path)!r}))")


def test_every_command_treats_it_like_ours(installed: Path, board: Dataset, tmp_path: Path) -> None:
    assert "co_counts" in falconer(installed, "models")
    recipe, data, root = str(STRANGER / "co_counts.toml"), str(board.path), str(tmp_path / "runs")
    run = Path(
        falconer(installed, "train", recipe, "--data", data, "--runs", root).splitlines()[-1]
    )
    frozen = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    assert frozen["package"] == "toy-recommender 0.3"
    assert json.loads((run / "run.json").read_text())["package"] == "toy-recommender 0.3"
    assert json.loads((run / "model/model.json").read_text())["package"] == "toy-recommender 0.3"
    ours = falconer(installed, "train", "ease", "--data", data, "--runs", root).splitlines()[-1]
    for one in (str(run), ours):
        falconer(installed, "recommend", one, "--k", "10")
        falconer(installed, "evaluate", one, "--set", "resamples=100")
    page = tmp_path / "page.html"
    printed = falconer(installed, "compare", str(run), ours, "--out", str(page))
    assert "co_counts" in printed
    assert page.is_file()
    best = falconer(
        installed, "tune", recipe, "--data", data, "--runs", root, "--trials", "2"
    ).splitlines()[-1]
    falconer(installed, "train", best, "--data", data, "--runs", root)
    assert "has no graph" in falconer(installed, "export", str(run), code=2)


def test_a_recipe_may_name_module_and_attribute(
    installed: Path, board: Dataset, tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('name = "toyrecs.config:MODEL"\n', encoding="utf-8")
    arguments = ["train", str(recipe), "--data", str(board.path), "--runs", str(tmp_path / "runs")]
    run = Path(falconer(installed, *arguments).splitlines()[-1])
    assert ":" not in run.name
    falconer(installed, "recommend", str(run), "--k", "5")
    frozen = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    assert (frozen["name"], frozen["package"]) == ("toyrecs.config:MODEL", "toy-recommender 0.3")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("co_conts", "did you mean 'co_counts'"),
        ("toyrecs.config:MODELL", "has no 'MODELL'"),
        ("toyrecs.config:CoCountsConfig", "registry.Model is wanted"),
        ("toyrecsys.config:MODEL", "no module 'toyrecsys'"),
    ],
)
def test_a_wrong_name_is_refused_in_one_line(name: str, said: str, beside: Path) -> None:
    with pytest.raises(PipelineError) as refusal:
        load_recipe(name)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_recipe_of_another_version_is_refused(beside: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "old.toml"
    recipe.write_text('name = "co_counts"\npackage = "toy-recommender 0.2"\n', encoding="utf-8")
    with pytest.raises(PipelineError, match=r"was written with toy-recommender 0\.2"):
        load_recipe(str(recipe))


def test_a_model_of_ours_is_found_without_reading_entry_points(installed: Path) -> None:
    code = (
        "from falconer.pipelines import plugins; plugins.installed = None; "
        "from falconer.recsys.models.recipe import load_recipe; load_recipe('popularity')"
    )
    python(installed, "-c", code)


@pytest.fixture(scope="module")
def receipts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe whose source, split and operator are the package's, and its data."""
    folder = tmp_path_factory.mktemp("receipts")
    shutil.copy(STRANGER / "receipts.toml", folder)
    lines = [
        " ".join([f"u{n % 20}", *(f"{'abc'[i % 3]}{(n * i) % 7}" for i in range(1, 6))])
        for n in range(40)
    ]
    (folder / "receipts.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def beside(installed: Path, receipts: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package to be found in this process, which is in the recipe's folder."""
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.chdir(receipts)
    return receipts


def test_source_split_operator_and_metric_from_raw_lines_to_a_report(
    installed: Path, receipts: Path
) -> None:
    data = falconer(installed, "etl", "receipts.toml", cwd=receipts).splitlines()[-1]
    card = json.loads((receipts / data / "dataset.json").read_text(encoding="utf-8"))
    whose = "toy-recommender 0.3"
    config = card["config"]
    assert config["source"]["package"] == whose
    assert config["split"] == {"views": None, "package": whose, "protocol": "last_ones", "n": 2}
    assert config["features"]["item"]["shelf"] == {"package": whose, "kind": "listed"}
    assert card["split"]["parameters"]["package"] == whose
    assert [(one["name"], one["cardinality"]) for one in card["features"]] == [("shelf", 3)]
    assert card["counts"]["part test"] == 40
    run = falconer(installed, "train", "ease", "--data", data, cwd=receipts).splitlines()[-1]
    falconer(installed, "recommend", run, "--k", "5", cwd=receipts)
    asked = 'metrics=["ndcg","waited","toyrecs.metrics:METRIC"]'
    words = ["--set", asked, "--set", "k=[1,5]", "--set", "resamples=100"]
    falconer(installed, "evaluate", run, *words, cwd=receipts)
    report = json.loads((receipts / run / "all/report.json").read_text(encoding="utf-8"))
    waited, same = (report["metrics"][f"{name}@1"] for name in ("waited", "toyrecs.metrics:METRIC"))
    assert waited == same
    assert "package toy-recommender 0.3" in waited["definition"]
    assert waited["mean"] == pytest.approx(1 - report["metrics"]["ndcg@1"]["mean"])


def test_what_an_operator_learnt_is_read_again(beside: Path) -> None:
    data = stages.etl(stages.load_recipe("receipts.toml"), beside / "again")
    encoding = Encoder.of_dataset(Dataset.open(data)).encodings["item"]["shelf"]
    assert encoding.state == ["a", "b", "c"]
    assert encoding.lineage == Dataset.open(data).card.features[0].lineage


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("source.kind=reciepts", "did you mean 'receipts'"),
        ("split.protocol=last_one", "did you mean 'last_ones'"),
        ("features.item.shelf.kind=listd", "did you mean 'listed'"),
        ("source.kind=toyrecs.elt:Receipts", "no module 'toyrecs.elt'"),
        ("source.kind=toyrecs.etl:Receipt", "has no 'Receipt'"),
        ("source.kind=toyrecs.etl:Listed", "a subclass of falconer.pipelines.etl.sources.plugin.S"),
        ("split.protocol=toyrecs.etl:Part", "split.config.SplitPlugin is wanted"),
        ("features.item.shelf.kind=toyrecs.metrics:METRIC", "is MetricPlugin, and a subclass of"),
        ("split.nn=3", "nn: unknown key; did you mean 'n'"),
        ("split.n=0", "n: input should be greater than or equal to 1"),
        ('split.package="toy-recommender 0.2"', "was written with toy-recommender 0.2"),
        ("task=labels", "split by random, temporal, rolling or given"),
    ],
    ids=lambda text: text.replace(" ", "-").replace("/", "-")[:40],
)
def test_a_wrong_table_of_a_package_is_refused(override: str, said: str, beside: Path) -> None:
    overrides = [override, "target.kind=binary", "target.column=label"]
    with pytest.raises(PipelineError) as refusal:
        stages.load_recipe("receipts.toml", overrides if "labels" in override else overrides[:1])
    assert said in str(refusal.value)


def test_the_card_has_what_a_protocol_says_of_targets_and_validation(beside: Path) -> None:
    card = Dataset.open(stages.etl(stages.load_recipe("receipts.toml"), beside / "data")).card
    assert (card.split.targets, card.split.validation) == ("a user's last 2", "none")


def test_answers_that_are_none_are_told_with_the_package(
    beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = stages.load_recipe("receipts.toml")
    shelf = recipe.features.item["shelf"]
    for thing, method, answer, said in (
        (recipe.source, "read", "a frame", "gave str, and a Raw is wanted"),
        (recipe.split, "assign", None, "gave NoneType, and an Assignment is wanted"),
        (shelf, "apply", None, "must give a Polars series of"),
        (shelf, "apply", [7], "must give ids from -1 to 2, and row 0 has 7"),
    ):
        with monkeypatch.context() as patched:
            gives = (
                (lambda self, column, state: column.is_null().cast(int) + 7)
                if answer == [7]
                else (lambda *_, answer=answer: answer)
            )
            patched.setattr(type(thing), method, gives)
            with pytest.raises(PipelineError, match=said) as refusal:
                stages.etl(recipe, beside / "none")
            assert "of toy-recommender 0.3" in str(refusal.value)


def test_a_metric_that_is_none_is_refused(beside: Path) -> None:
    assert "package toy-recommender 0.3" in explain("waited@5")
    for name, said in (
        ("wated", "did you mean 'waited'"),
        ("toyrecs.metrics:first_hit", "plugins.MetricPlugin is wanted"),
        ("toyrecs.metric:METRIC", "no module 'toyrecs.metric'"),
    ):
        with pytest.raises(PipelineError, match=said):
            explain(name)
        with pytest.raises(ValueError, match=r"toyrecs\.metric|unknown: wated"):
            EvaluationConfig(metrics=(name,))
    chosen = EvaluationConfig(metrics=("waited", "mrr", "waited", "ndcg")).metrics
    assert chosen == ("ndcg", "mrr", "waited")


def test_names_that_clash_are_told(
    beside: Path, installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = 'ndcg: toy-recommender 0.3 brings this name and falconer has its own; write "toyrecs'
    assert ours in summary()
    assert "toyrecs.metrics:METRIC" not in explain("ndcg")
    other = tmp_path / "other-1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (other / "entry_points.txt").write_text("[falconer.sources]\nreceipts = other.etl:SOURCE\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    both = 'other 1 and toy-recommender 0.3 bring this name; write "other.etl:SOURCE" or "toyrecs'
    assert "receipts" not in plugins.installed("falconer.sources")
    with pytest.raises(PipelineError, match=both):
        stages.load_recipe("receipts.toml")
    assert both in str(plugins.clashes("falconer.sources", ()))
