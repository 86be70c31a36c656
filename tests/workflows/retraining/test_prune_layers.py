"""Pruning beside datasets that are told as changes of others and share files with them as links."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from falconer.pipelines import stages as ground
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import write_json
from falconer.workflows.retraining import champions, decisions
from falconer.workflows.retraining.config import Pipeline
from falconer.workflows.retraining.delivery import deliver
from falconer.workflows.retraining.pipeline import retrain
from falconer.workflows.retraining.places import DATASET, DECISION, Places
from falconer.workflows.retraining.prune import prune, unneeded
from tests.support import orders, verdicts

DAYS_OF_FIRST = ("2023-12-03", "2023-12-04")
BY_DAY = """name = "orders"
{extends}
[source]
kind = "files"
events = "{folder}/days/date=*/*.csv"
partition = "date"
columns = {{ user = "customer", item = "sku", time = "bought_at" }}
[split]
protocol = "temporal"
test_days = 3
valid_days = 3
"""


def write_days(folder: Path, *, before: str) -> None:
    """The orders as a file a day, those before a day only."""
    header, *lines = (folder / "orders.csv").read_text().splitlines()
    days: dict[str, list[str]] = {}
    for line in lines:
        second = int(line.rpartition(",")[2])
        days.setdefault(datetime.fromtimestamp(second, UTC).date().isoformat(), []).append(line)
    for day in (day for day in days if day < before):
        (folder / "days" / f"date={day}").mkdir(parents=True, exist_ok=True)
        (folder / "days" / f"date={day}" / "day.csv").write_text("\n".join([header, *days[day]]))


def write_recipe(folder: Path, extends: Path | None = None) -> Path:
    line = f'extends = "{extends}"' if extends else ""
    path = folder / "by_day.toml"
    path.write_text(BY_DAY.format(folder=folder, extends=line))
    return path


def append_days(folder: Path) -> list[Path]:
    """A dataset in the pipeline's own folder, and then two days appended to it, as changes."""
    recipe = write_recipe(folder)
    write_days(folder, before=DAYS_OF_FIRST[0])
    found = [ground.etl(ground.load_recipe(recipe), folder / "retraining" / "data")]
    for day in (*DAYS_OF_FIRST[1:], orders.FIRST):
        write_days(folder, before=day)
        loaded = ground.load_recipe(recipe)
        found.append(ground.append(loaded, found[-1], folder / "retraining" / "data"))
    return found


class Shop:
    """A pipeline whose first window continues an appended dataset, and what is beside it; pruned,
    and then rolled back. Its tests change nothing."""

    def __init__(self, folder: Path) -> None:
        orders.write(folder)
        self.appended = append_days(folder)
        recipe = write_recipe(folder, self.appended[-1])
        write_days(folder, before="9999")
        data = {"recipe": str(recipe), "valid_days": 3}
        self.pipeline: Pipeline = orders.pipeline(folder, data=data, recommend={"k": 5})
        self.places = Places.of(self.pipeline)
        for window in (orders.FIRST, orders.SECOND):
            retrain(self.pipeline, self.pipeline.window(window))
        champions.promote(self.places, orders.SECOND, "popularity", reason="an override")
        first = Dataset.open(self.places.dataset(orders.FIRST))
        self.first, self.items_of_first = first.card, first.items
        by_hand = ground.load_recipe(recipe, [f"extends={str(first.path)!r}"])
        self.descendant = ground.etl(by_hand, self.places.root / "data")
        prune(self.pipeline, keep=1, dry=False)
        self.after = champions.rollback(self.places, reason="a trial").champion


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two decided windows on layered datasets, and a champion of the second by an override, which
    was taken back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("falconer.pipelines.etl.layering.WORTH", 1e9)
        return Shop(tmp_path_factory.mktemp("layers"))


def test_the_first_window_continues_the_dataset_that_the_recipe_names(shop: Shop) -> None:
    appended = Dataset.open(shop.appended[-1])
    assert [name for name in appended.card.content if name.startswith("layers/00002/")]
    assert shop.first.id_space.descends_from(appended.card.id_space)
    assert shop.items_of_first.slice(0, appended.n_items).equals(appended.items)


def test_what_a_descendant_shares_is_there_after_pruning(shop: Shop) -> None:
    places = shop.places
    for path in (*shop.appended, shop.descendant, places.dataset(orders.SECOND)):
        Dataset.open(path).verify()
    for window in (orders.FIRST, orders.SECOND):
        decisions.replay(places, window)
    assert shop.after.label == "personal_popularity"
    assert deliver(shop.pipeline, shop.pipeline.window(orders.SECOND))["counts"]["users"] > 100


def test_what_was_pruned_is_named(shop: Shop) -> None:
    with pytest.raises(
        ArtifactError, match=r"is not there any more; .* removes models that never served"
    ):
        champions.promote(shop.places, orders.FIRST, "popularity", reason="once more")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (None, "has no dataset: it was not run yet"),
        ({"path": "data/orders/gone", "parent": None}, "`falconer prune` removes those of old"),
    ],
    ids=["never had", "pruned"],
)
def test_lists_of_a_window_without_its_dataset_are_refused(
    shop: Shop, facts: dict[str, str] | None, message: str, tmp_path: Path
) -> None:
    pipeline = shop.pipeline.model_copy(update={"root": tmp_path / "retraining"})
    shutil.copytree(shop.places.registry, Places.of(pipeline).registry)
    shutil.copytree(shop.places.runs, Places.of(pipeline).runs)
    if facts:
        write_json(Places.of(pipeline).window(orders.FIRST) / DATASET, facts)
    with pytest.raises(ArtifactError, match=message):
        deliver(pipeline, pipeline.window(orders.FIRST))


def test_the_newest_dataset_stays_where_all_windows_since_were_refused(tmp_path: Path) -> None:
    pipeline = verdicts.pipeline_of(tmp_path / "retraining")
    places = Places.of(pipeline)
    verdicts.write_windows(places, ["keep", "keep", "refused", "refused"])
    for number, name in enumerate(["older", "newest"]):
        (places.data / name).mkdir(parents=True)
        facts = {"path": f"data/{name}", "parent": None}
        write_json(places.window(verdicts.window_name(number)) / DATASET, facts)
    for number in range(4):
        assert (places.window(verdicts.window_name(number)) / DECISION).exists()
    assert [path.name for path in unneeded(places, 1) if path.parent == places.data] == ["older"]
