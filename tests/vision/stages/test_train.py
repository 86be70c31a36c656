"""From a folder to a trained classifier, its report and its answers; a kill changes no byte."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import pytest

from falconer.pipelines import runs
from falconer.pipelines.errors import ArtifactError, ConfigError, DataError
from falconer.vision.model import load_classifier
from falconer.vision.recipe import load_recipe
from falconer.vision.stages.evaluate import evaluate
from falconer.vision.stages.predict import predict
from falconer.vision.stages.train import notes_on, resume, train
from tests.support.pictures import SMALL, colour_folder, picture
from tests.support.small_training import FORKS


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("vision")
    colour_folder(place / "photos", n=20)
    return place


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    return trained(place)


def trained(place: Path, *overrides: str, run_id: str = "a") -> Path:
    return train(
        "small-pictures",
        str(place / "photos"),
        place / "runs",
        overrides=[*SMALL, *overrides],
        pictures=place / "pictures",
        run_id=run_id,
    )


def test_it_learns_colours_and_says_so(run: Path) -> None:
    out = evaluate(run, fold="test")
    report = json.loads((out / "report.json").read_text())
    assert report["n"] == 12
    assert report["metrics"]["top1"]["mean"] >= 0.9
    assert report["metrics"]["top1"]["low"] <= report["metrics"]["top1"]["high"]
    assert sum(map(sum, report["confusion"])) == 12
    page = (out / "report.html").read_text()
    assert "Surest mistakes" in page
    assert "Confusion matrix" in page


def test_the_model_alone_answers_other_pictures(run: Path, place: Path, tmp_path: Path) -> None:
    picture((210, 50, 30), 7, (90, 60)).save(tmp_path / "new.jpg")
    (tmp_path / "bad.png").write_text("no picture")
    card = load_classifier(run / "model").card
    assert card.classes == ("blue", "green", "red")
    out = predict(run / "model", [tmp_path, place / "photos" / "blue"], tmp_path / "p.csv")
    with out.open() as stream:
        lines = {Path(line["path"]).name: line for line in csv.DictReader(stream)}
    assert lines["new.jpg"]["answer"] == "red"
    assert lines["bad.png"]["problem"] == "no picture, whatever its name says"
    assert lines["3.png"]["answer"] == "blue"


def test_the_same_seed_gives_the_same_bytes(run: Path, place: Path) -> None:
    again = trained(place, run_id="b")
    assert weights(again) == weights(run)
    assert weights(trained(place, "seed=1", run_id="c")) != weights(run)


def test_a_killed_training_goes_on_to_the_same_bytes(run: Path, place: Path) -> None:
    process = FORKS.Process(target=die_while_training, args=(place,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (killed,) = (place / "runs").glob("*-killed")
    assert not (killed / "model").exists()
    resume(killed)
    assert weights(killed) == weights(run)
    assert (killed / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    with pytest.raises(ArtifactError, match="finished; there is nothing to resume"):
        resume(killed)


def die_while_training(place: Path) -> None:
    """Train in a process that ends in the second epoch, after it was validated once."""
    os.environ["FALCONER_TRACKING"] = "off"
    log = runs.Run.log_metrics

    def log_and_die(self: runs.Run, step: int, values: dict[str, float]) -> None:
        log(self, step, values)
        if step > 5:
            os.kill(os.getpid(), signal.SIGKILL)

    runs.Run.log_metrics = log_and_die  # type: ignore[assignment, method-assign]
    trained(place, run_id="killed")


def weights(run: Path) -> bytes:
    return (run / "model" / "weights.safetensors").read_bytes()


def test_an_unfinished_run_has_no_model(place: Path) -> None:
    with (
        runs.start(
            place / "runs", model="resnet18", backend="torch", config={}, run_id="open"
        ) as open_run,
        pytest.raises(ArtifactError, match="this run is running, so it has no model"),
    ):
        evaluate(open_run.path)


def test_a_damaged_model_is_refused(run: Path, tmp_path: Path) -> None:
    for file in (run / "model").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = bytearray(weights(run))
    content[-1] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="damaged"):
        load_classifier(tmp_path)


def test_classes_that_the_model_does_not_know_are_named(run: Path, place: Path) -> None:
    colour_folder(place / "others", n=3)
    (place / "others" / "red").rename(place / "others" / "purple")
    with pytest.raises(DataError, match="does not know: purple; it knows blue, green, red"):
        evaluate(run, data=str(place / "others"), pictures=place / "pictures")


def test_fewer_classes_are_judged_by_their_names(run: Path, place: Path) -> None:
    colour_folder(place / "fewer", n=10)
    for file in (place / "fewer" / "blue").iterdir():
        file.unlink()
    (place / "fewer" / "blue").rmdir()
    out = evaluate(run, data=str(place / "fewer"), pictures=place / "pictures")
    report = json.loads((out / "report.json").read_text())
    assert report["metrics"]["top1"]["mean"] >= 0.9


def test_an_unknown_part_to_unfreeze_is_named(place: Path) -> None:
    with pytest.raises(ConfigError, match="no part 'layer9'; known: stem, layer1"):
        trained(place, 'unfreezing=["layer9"]', run_id="d")


def test_a_recipe_that_can_hardly_learn_says_so() -> None:
    """Forty pictures make one step an epoch, and the rate would rise for longer than there are."""
    few = notes_on(load_recipe("small-pictures"), 40)
    assert len(few) == 1
    assert "40 pictures in batches of 128 make 30 steps in all" in few[0]
    assert notes_on(load_recipe("small-pictures"), 40_000) == []
    assert "its features are drawn at random" in notes_on(load_recipe("frozen-features"), 40_000)[0]
    weights = ["network.weights=w.safetensors"]
    assert notes_on(load_recipe("frozen-features", weights), 40_000) == []
