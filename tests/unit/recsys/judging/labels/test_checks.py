"""Checks of the protocol of the task `labels`: planted leaks are found, clean data raises no
alarm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from falconer.pipelines.data.dataset import Dataset, checksums, write_card, write_table
from falconer.recsys.judging.labels import checks
from tests.support import leak_grades, tagged
from tests.support.datasets import write_labels_dataset
from tests.support.leak_grades import suspected, with_hour


def changed(data: Dataset, root: Path, change: Callable[[str, pa.Table], pa.Table]) -> Dataset:
    """A copy of a dataset with each file of train, pairs and labels put through `change`."""
    for name in data.card.content:
        part = name.partition("/")[0]
        table = data.table(name)
        write_table(
            root, name, change(name, table) if part in ("train", "pairs", "labels") else table
        )
    write_card(root, data.card.model_copy(update={"content": checksums(root)}))
    return Dataset.open(root)


def findings(data: Dataset) -> list[str]:
    return [text for text in checks.warnings_of(data, "test") if text.startswith("leakage")]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("entities", [True, False])
def test_clean_data_raises_no_alarm(entities: bool, seed: int, tmp_path: Path) -> None:
    assert findings(write_labels_dataset(tmp_path / "clean", seed=seed, entities=entities)) == []


def test_repeats_that_the_data_has_by_nature_raise_no_alarm(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "data", entities=False, has_time=False)
    few = ("ordinal", "label", "device", "segment")
    data = changed(
        data,
        tmp_path / "few",
        lambda name, table: table.select([c for c in few if c in table.column_names]),
    )
    assert not any(
        "in train too" in text for text in findings(reduced(data, ("device", "segment")))
    )


def reduced(data: Dataset, names: tuple[str, ...]) -> Dataset:
    """The dataset with these features only on its card."""
    kept = tuple(feature for feature in data.card.features if feature.name in names)
    return Dataset(data.path, data.card.model_copy(update={"features": kept}))


@pytest.mark.parametrize("share", [0.02, 0.2, 1.0])
def test_rows_of_train_among_those_of_the_fold_are_found(share: float, tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "clean")
    n = int(share * len(data.labels("test")))

    def copied(name: str, table: pa.Table) -> pa.Table:
        if not name.endswith("test.parquet"):
            return table
        source = data.train.slice(5, n)
        columns = {
            one: pa.concat_arrays(
                [
                    (
                        source
                        if one in source.column_names and one != "ordinal"
                        else table.slice(0, n)
                    )[one].combine_chunks(),
                    table.slice(n)[one].combine_chunks(),
                ]
            )
            for one in table.column_names
        }
        return pa.table(columns)

    assert any(
        f"leakage: {n} of" in text for text in findings(changed(data, tmp_path / "leaky", copied))
    )


@pytest.mark.parametrize(("both", "found"), [(200, 0), (206, 0), (240, 0), (241, 1)])
def test_as_many_repeats_as_chance_gives_raise_no_alarm(
    both: int, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of train's rows repeat each other: of 400 rows 200 are expected, with a spread of 10."""
    train = np.concatenate([np.repeat(np.arange(250), 2), np.arange(1000, 1500)]).astype(np.uint64)
    rows = np.concatenate([np.arange(both) % 250, np.arange(5000, 5400 - both)]).astype(np.uint64)
    monkeypatch.setattr(checks, "_hashes", lambda checked: (train, rows))
    assert len(list(checks.rows_in_train(SimpleNamespace(fold="test")))) == found  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["label", "opposite", "noisy", "range", "missing"])
def test_a_feature_that_tells_the_label_is_found(kind: str, tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "clean", entities=False)
    random = np.random.default_rng(0)

    def leaking(label: Any) -> Any:
        values = {
            "label": label,
            "opposite": -3 * label,
            "noisy": label + random.normal(scale=0.1, size=len(label)),
            "range": np.where(
                label == 1,
                random.choice([-1.0, 1.0], len(label)),
                random.normal(scale=0.1, size=len(label)),
            ),
            "missing": np.where(label == 1, 0.0, random.normal(size=len(label)) + 9),
        }
        return values[kind].astype(np.float32)

    def change(name: str, table: pa.Table) -> pa.Table:
        if name.startswith("labels"):
            return table
        label = (
            table["label"].to_numpy()
            if "label" in table.column_names
            else data.labels(Path(name).stem)
        )  # type: ignore[arg-type]
        return table.set_column(table.column_names.index("hour"), "hour", pa.array(leaking(label)))

    found = findings(changed(data, tmp_path / kind, change))
    assert any("event feature hour alone reaches an AUC of" in text for text in found)


@pytest.mark.parametrize("flipped", leak_grades.NOISES)
def test_a_label_copied_with_noise_is_found(flipped: float, tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "clean", entities=False, n_rows=10_000)
    [found] = suspected(with_hour(data, tmp_path / "leaky", leak_grades.copied(flipped)))
    assert "event feature hour alone reaches an AUC of" in found
    assert found.startswith("leakage" if flipped == 0 else ("possible leakage", "leakage"))


def test_the_grades_of_the_check_in_small(tmp_path: Path) -> None:
    """docs/labels.md prints them for twenty seeds."""
    found = leak_grades.grades(tmp_path, 1000, seeds=2)
    assert found.pop("honest") == 0
    assert set(found.values()) == {2}


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_a_rating_copied_with_noise_is_found(noise: float, tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "clean", entities=False, target="rating", n_rows=10_000)

    def copied(label: Any, random: Any) -> Any:
        return label + random.normal(scale=noise * label.std(), size=len(label))

    [found] = suspected(with_hour(data, tmp_path / "leaky", copied))
    assert "event feature hour alone reaches a share of explained variance of" in found


def test_honest_features_raise_no_alarm_however_unequal(tmp_path: Path) -> None:
    """A feature of an AUC near 0.8 beside weak ones, and one near 0.5, twenty times: no false
    alarm."""
    alarms = []
    for seed in range(20):
        data = write_labels_dataset(tmp_path / f"{seed}", seed=seed, entities=False)
        alarms += suspected(with_hour(data, tmp_path / f"{seed}-own", leak_grades.honest(seed)))
    assert alarms == []


def test_train_rows_from_the_time_of_the_fold_are_found(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "clicks")
    assert any("no global time" in text for text in checks.warnings_of(data, "test"))
    split = data.card.split.model_copy(update={"protocol": "temporal"})
    promised = Dataset(data.path, data.card.model_copy(update={"split": split}))
    late = int((data.train_column("time") >= data.pairs("test").queries.time.min()).sum())
    assert late > 1
    assert f"leakage: {late:,} train rows are not earlier than the first row of the fold test" in (
        " ".join(findings(promised))
    )


def test_synthetic_data_is_called_so_in_every_report(tmp_path: Path) -> None:
    data = write_labels_dataset(tmp_path / "clicks")
    made = Dataset(
        data.path, data.card.model_copy(update={"notes": ("SYNTHETIC data: made up.", "Other.")})
    )
    assert checks.warnings_of(made, "test")[0] == "SYNTHETIC data: made up."
    assert not any("Other" in text for text in checks.warnings_of(made, "test"))


def test_features_of_items_beside_the_rows_are_no_columns_of_train(tmp_path: Path) -> None:
    found = checks.warnings_of(tagged.clicks(tmp_path / "clicks"), "test")
    assert not any("rows of the fold" in text for text in found)
