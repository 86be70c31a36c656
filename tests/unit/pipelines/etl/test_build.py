"""The ETL stage from end to end on a small shop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from falconer.pipelines.cli import app
from falconer.pipelines.config import to_toml
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import PipelineError
from falconer.pipelines.etl import build as stage
from falconer.pipelines.etl import in_memory
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.split import Part, split
from tests.support import shop

ENGINES = ("nvtabular", "polars")
FITTED = ("train/", "vocab/", "encoder/", "users.parquet", "items.parquet")
"""What must not change when test rows change."""


def contents(root: Path) -> dict[str, bytes]:
    """Relative path -> bytes of every file, hidden ones too."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_the_dataset_is_complete_and_whole(data: Dataset) -> None:
    data.verify()
    assert data.path.parts[-2:] == ("shop", data.card.dataset_id)
    assert data.train.column_names == [
        "user",
        "item",
        "ordinal",
        "time",
        "price",
        "store",
        "discount",
    ]
    types = [
        str(data.train.schema.field(name).type)
        for name in ("user", "item", "ordinal", "time", "price", "store")
    ]
    assert types == ["int32", "int32", "int64", "int64", "float", "int32"]
    assert data.users.column_names == ["id", "key", "label", "age"]
    assert data.items.column_names == ["id", "key", "label", "department"]
    for fold in ("valid", "test"):
        assert len(data.queries(fold)) == len(data.truth(fold)) == len(data.query_keys(fold))


def test_ids_lead_back_to_the_source(data: Dataset) -> None:
    source = shop.events().with_row_index("ordinal")
    keys = {
        kind: table.column("key").to_pylist()
        for kind, table in (("user", data.users), ("item", data.items))
    }
    for user, item, ordinal in zip(
        *(data.train_column(name) for name in ("user", "item", "ordinal")), strict=True
    ):
        row = source.row(int(ordinal), named=True)
        assert (keys["user"][user], keys["item"][item]) == (row["customer"], row["sku"])


def test_train_is_in_order_and_earlier_than_the_boundary(data: Dataset) -> None:
    times, ordinals = data.train_column("time").tolist(), data.train_column("ordinal").tolist()
    assert list(zip(times, ordinals, strict=True)) == sorted(zip(times, ordinals, strict=True))
    asked = data.queries("valid").time
    assert asked is not None
    assert max(times) < asked.min()


def test_labels_are_the_sources_or_else_the_key(data: Dataset) -> None:
    labels = dict(
        zip(
            data.items.column("key").to_pylist(),
            data.items.column("label").to_pylist(),
            strict=True,
        )
    )
    assert labels["i1"] == "Item i1"
    assert labels["i30"] == "i30"
    assert data.users.column("label").to_pylist() == [
        str(key) for key in data.users.column("key").to_pylist()
    ]


def test_counts_add_up(data: Dataset) -> None:
    counts = data.card.counts
    parts = {name: n for name, n in counts.items() if name.startswith("part ")}
    assert counts["rows_read"] == counts["events_kept"] == sum(parts.values()) == 400
    assert (
        counts["part train"]
        == counts["train_events"] + counts["dropped: train event outside the catalogue"]
    )
    assert counts["train_events"] == data.train.num_rows
    assert counts["test_queries"] == len(data.queries("test"))


def test_features_of_queries_are_those_of_their_users(data: Dataset) -> None:
    queries = data.queries("test")
    ages = data.users.column("age").to_numpy()
    assert queries.features["age"].tolist() == pytest.approx(ages[queries.user].tolist())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("protocol", shop.SPLITS)
def test_nothing_fitted_changes_when_test_rows_change(
    tmp_path: Path, protocol: str, engine: str
) -> None:
    events = shop.events()
    known = events.with_row_index("ordinal").rename(
        {"customer": "user", "sku": "item", "at": "time"}
    )
    recipe = shop.recipe(shop.write(tmp_path / "clean", events), split=protocol, engine=engine)
    held_out = split(
        known.with_columns(pl.col("ordinal").cast(pl.Int64)), recipe.split
    ).events.filter(pl.col("part").is_in([int(part) for part in (Part.VALID, Part.TEST)]))[
        "ordinal"
    ]
    wild = pl.int_range(pl.len()).is_in(held_out.implode())
    poisoned = events.with_columns(
        # A random split looks at user, item and time: other ones would be another draw.
        sku=pl.when(wild & (protocol != "random")).then(pl.lit("poison")).otherwise("sku"),
        price=pl.when(wild).then(9e9).otherwise("price"),
        store=pl.when(wild).then(pl.lit("nowhere")).otherwise("store"),
        discount=pl.when(wild).then(-1e9).otherwise("discount"),
    )
    other = shop.recipe(shop.write(tmp_path / "poisoned", poisoned), split=protocol, engine=engine)
    first, second = (Dataset.open(build(r, tmp_path / "out")) for r in (recipe, other))
    fitted = [
        {n: sha for n, sha in d.card.content.items() if n.startswith(FITTED)}
        for d in (first, second)
    ]
    assert fitted[0] == fitted[1]
    assert first.card.id_space == second.card.id_space
    truths = [d.card.content["truth/test.parquet"] for d in (first, second)]
    assert (truths[0] == truths[1]) == (protocol == "random")


@pytest.mark.parametrize("engine", ENGINES)
def test_two_builds_give_the_same_bytes(tables: Path, tmp_path: Path, engine: str) -> None:
    recipe = shop.recipe(tables, engine=engine)
    first, second = (contents(build(recipe, tmp_path / name)) for name in ("one", "two"))
    assert first == second


def test_engines_give_the_same_dataset(tables: Path, tmp_path: Path) -> None:
    made = [Dataset.open(build(shop.recipe(tables, engine=engine), tmp_path)) for engine in ENGINES]
    floats = {"train/part-00000.parquet": ["price"], "users.parquet": ["age"]}
    for name, sha in made[0].card.content.items():
        if name in floats:
            first, second = (pl.DataFrame(d.table(name)) for d in made)
            assert first.drop(floats[name]).equals(second.drop(floats[name]))
            for column in floats[name]:
                assert first[column].to_list() == pytest.approx(
                    second[column].to_list(), rel=1e-6, abs=1e-7
                )
        elif name != "encoder/encoder.json":
            assert sha == made[1].card.content[name], name


def test_a_dataset_that_is_there_is_not_read_again(
    tables: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = shop.recipe(tables)
    path = build(recipe, tmp_path)
    monkeypatch.setattr(in_memory, "check", _interrupt)
    assert build(recipe, tmp_path) == path
    assert "there already" in capsys.readouterr().out


def test_a_damaged_dataset_is_built_anew(tables: Path, tmp_path: Path) -> None:
    recipe = shop.recipe(tables)
    path = build(recipe, tmp_path)
    before = contents(path)
    (path / "items.parquet").write_bytes(b"damage")
    assert contents(build(recipe, tmp_path)) == before


def test_the_address_depends_on_recipe_and_files_and_nothing_else(
    tables: Path, tmp_path: Path
) -> None:
    same = build(shop.recipe(tables), tmp_path)
    assert build(shop.recipe(tables), tmp_path / "elsewhere").name == same.name
    assert build(shop.recipe(tables, clean={"deduplicate": "events"}), tmp_path).name != same.name
    changed = shop.write(tmp_path / "changed", shop.events(seed=1))
    assert build(shop.recipe(changed), tmp_path).name != same.name


def _interrupt(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


STEPS = {
    "engine_of": stage,
    "check": in_memory,
    "clean": in_memory,
    "split": in_memory,
    "encode": in_memory,
    "write_table": in_memory,
    "write_queries": in_memory,
    "checksums": stage,
    "write_card": stage,
}


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupt_leaves_nothing_and_what_existed_stays(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    existing = build(shop.recipe(tables), tmp_path)
    before = contents(tmp_path)
    monkeypatch.setattr(STEPS[step], step, _interrupt)
    with pytest.raises(KeyboardInterrupt):
        build(shop.recipe(tables, split="leave_last"), tmp_path)
    assert contents(tmp_path) == before
    (existing / "items.parquet").write_bytes(b"damage")
    with pytest.raises(KeyboardInterrupt):
        build(shop.recipe(tables), tmp_path)
    assert (existing / "items.parquet").read_bytes() == b"damage"
    assert [path.name for path in (tmp_path / "shop").iterdir()] == [existing.name]


def test_an_interrupt_while_reading_leaves_nothing(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = shop.recipe(tables)
    monkeypatch.setattr(type(recipe.source), "read", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        build(recipe, tmp_path / "some" / "where")
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_is_a_file_is_refused_before_the_work(
    tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").write_text("in the way")
    recipe = shop.recipe(tables)
    monkeypatch.setattr(type(recipe.source), "read", _interrupt)
    with pytest.raises(PipelineError, match="cannot write there"):
        build(recipe, tmp_path / "out")
    assert contents(tmp_path) == {"out": b"in the way"}


def small(tmp_path: Path, rows: list[tuple[str, str, int]], **changes: Any) -> Dataset:
    """A dataset of events (customer, sku, day) alone."""
    folder = tmp_path / "small"
    folder.mkdir()
    table = pl.DataFrame(rows, schema=["customer", "sku", "day"], orient="row")
    table.with_columns(at=shop.START + pl.col("day") * shop.DAY).write_parquet(
        folder / "events.parquet"
    )
    columns = {"user": "customer", "item": "sku", "time": "at"}
    source = {"kind": "files", "events": str(folder / "events.parquet"), "columns": columns}
    features = {"engine": changes.pop("engine", "polars")}
    return Dataset.open(
        build(shop.recipe(folder, source=source, features=features, **changes), tmp_path / "out")
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_an_item_that_train_never_saw_is_counted(tmp_path: Path, engine: str) -> None:
    rows = [("u", "a", 0), ("u", "a", 5), ("u", "b", 8), ("v", "new", 9), ("v", "a", 9)]
    split_config = {"protocol": "temporal", "test_days": 2, "valid_days": 0}
    data = small(tmp_path, rows, split=split_config, engine=engine)
    assert data.items.column("key").to_pylist() == ["a"]
    assert data.query_keys("test").to_pylist() == ["u", "v"]
    assert data.queries("test").user.tolist() == [0, -1]
    assert data.truth("test").n_outside.tolist() == [1, 1]
    assert data.truth("test").items.lengths.tolist() == [0, 1]
    assert (
        "66.7% of the test events (2 of 3) are of items outside the catalogue"
        in data.card.notes[-1]
    )
    assert not data.has_fold("valid")


@pytest.mark.parametrize("engine", ENGINES)
def test_one_user(tmp_path: Path, engine: str) -> None:
    data = small(
        tmp_path,
        [("u", item, day) for day, item in enumerate("abcdab")],
        split={"protocol": "leave_last"},
        engine=engine,
    )
    assert data.n_users == 1
    assert data.card.counts["train_events"] == 4


@pytest.mark.parametrize("engine", ENGINES)
def test_one_item(tmp_path: Path, engine: str) -> None:
    data = small(
        tmp_path,
        [(user, "a", day) for user in "uv" for day in range(4)],
        split={"protocol": "leave_last"},
        engine=engine,
    )
    assert data.n_items == 1
    assert data.card.split.views == ("all", "repeat", "novel")


def test_rare_items_fall_out_of_train_and_history(tmp_path: Path) -> None:
    rows = [("u", "a", 0), ("v", "a", 1), ("u", "rare", 2), ("u", "a", 9), ("u", "rare", 9)]
    split_config = {"protocol": "temporal", "test_days": 1, "valid_days": 0}
    data = small(tmp_path, rows, split=split_config, catalogue={"min_item_users": 2})
    assert data.items.column("key").to_pylist() == ["a"]
    assert data.card.counts["dropped: train event outside the catalogue"] == 1
    assert data.queries("test").history[0].tolist() == [0]
    assert data.truth("test").n_outside.tolist() == [1]


def test_counts_on_all_events_are_noted(tmp_path: Path) -> None:
    rows = [(user, "a", day) for user in "uv" for day in range(4)] + [("u", "rare", 0)]
    data = small(
        tmp_path,
        rows,
        split={"protocol": "leave_last"},
        catalogue={"min_item_users": 2, "counted_on": "all"},
    )
    assert data.card.counts["dropped: rare user or item, counted on all events"] == 1
    assert any("test included" in note for note in data.card.notes)


def test_rejected_rows_are_kept_with_their_reason(tmp_path: Path) -> None:
    events = shop.events().with_columns(
        sku=pl.when(pl.int_range(pl.len()) == 7).then(None).otherwise("sku")
    )
    recipe = shop.recipe(shop.write(tmp_path / "shop", events))
    data = Dataset.open(build(recipe, tmp_path / "out"))
    rejected = data.table("rejected/events.parquet")
    assert rejected.column("row").to_pylist() == [7]
    assert data.card.counts["events_kept"] == 399


def test_the_command_prints_where_the_time_went_and_the_path_last(
    tables: Path, tmp_path: Path
) -> None:
    file = tmp_path / "shop.toml"
    file.write_text(to_toml(shop.recipe(tables).model_dump(mode="json")))
    arguments = [
        "etl",
        str(file),
        "--out",
        str(tmp_path / "data"),
        "--set",
        "split.test_days=5",
        "--set",
        "name=other",
    ]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    lines = done.stdout.splitlines()
    assert done.exit_code == 0
    data = Dataset.open(Path(lines[-1]))
    assert data.path.parent == tmp_path / "data" / "other"
    assert data.card.split.parameters["test_days"] == 5
    assert "where the time went" in lines
    for step in ("import engine", "read", "check", "clean", "split", "fit", "encode", "write"):
        assert any(line.strip().startswith(step) and " s " in line for line in lines), step
