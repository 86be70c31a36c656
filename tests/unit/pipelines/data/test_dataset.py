from __future__ import annotations

import json
from pathlib import Path

import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import IdSpace
from falconer.pipelines.errors import ArtifactError
from tests.support.datasets import checkerboard, write_dataset


def _tiny(root: Path) -> Dataset:
    return write_dataset(
        root,
        train=[(0, 1, 0), (1, 0, 1), (0, 0, 2)],
        n_users=2,
        n_items=2,
        folds={"test": [(0, [1, 0], [1]), (-1, [], [0, 1])]},
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    data = _tiny(tmp_path / "tiny")
    assert data.train_column("item").tolist() == [1, 0, 0]
    queries, truth = data.queries("test"), data.truth("test")
    assert queries.user.tolist() == [0, -1]
    assert [queries.history[row].tolist() for row in range(2)] == [[1, 0], []]
    assert [truth.items[row].tolist() for row in range(2)] == [[1], [0, 1]]
    assert data.query_keys("test").to_pylist() == ["u0", "new1"]
    assert data.items.column("key").to_pylist() == ["i0", "i1"]
    data.verify()


def test_same_content_gives_same_bytes(tmp_path: Path) -> None:
    assert (
        _tiny(tmp_path / "a" / "tiny").card.content == _tiny(tmp_path / "b" / "tiny").card.content
    )


def test_a_damaged_file_is_named_before_it_is_used(tmp_path: Path) -> None:
    data = _tiny(tmp_path / "tiny")
    path = data.path / "train" / "part-00000.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"part-00000\.parquet: damaged"):
        _ = Dataset.open(data.path).train
    with pytest.raises(ArtifactError, match=r"part-00000\.parquet: missing or damaged"):
        data.verify()


def test_a_missing_file_fold_or_column_is_named(tmp_path: Path) -> None:
    data = _tiny(tmp_path / "tiny")
    (data.path / "items.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"items\.parquet: missing"):
        _ = data.items
    with pytest.raises(ArtifactError, match="no fold 'valid'"):
        data.queries("valid")
    with pytest.raises(ArtifactError, match="no column 'price'"):
        data.train_column("price")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format_version": 99}, "format version 99"),
        ({"task": "ranking"}, "older release, which called the task labels ranking; rebuild it"),
        ({"n_items": "many"}, "damaged"),
        (None, "not a dataset"),
    ],
)
def test_a_directory_that_is_no_dataset_of_this_release_is_refused(
    tmp_path: Path, change: dict[str, object] | None, reason: str
) -> None:
    data = checkerboard(tmp_path / "board")
    card = data.path / "dataset.json"
    if change is None:
        card.unlink()
    else:
        card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(ArtifactError, match=reason):
        Dataset.open(data.path)


def test_an_id_space_descends_from_itself_and_its_ancestors_only() -> None:
    first, second = IdSpace(generations=("a",)), IdSpace(generations=("a", "b"))
    assert second.descends_from(first)
    assert first.descends_from(first)
    assert not first.descends_from(second)
    assert not IdSpace(generations=("c", "b")).descends_from(first)


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_blocks_of_queries_are_the_queries_in_parts(tmp_path: Path, size: int) -> None:
    rows = [(user if user % 3 else -1, list(range(user % 4)), [0]) for user in range(7)]
    data = write_dataset(
        tmp_path / "d", train=[(6, 3, 0)], n_users=7, n_items=4, folds={"test": rows}
    )
    blocks = list(data.query_blocks("test", size))
    queries, keys = data.queries("test"), data.query_keys("test")
    assert [len(block) for _, block in blocks] == [
        min(size, 7 - start) for start in range(0, 7, size)
    ]
    assert [key for part, _ in blocks for key in part.to_pylist()] == keys.to_pylist()
    for start, (_, block) in zip(range(0, 7, size), blocks, strict=True):
        expected = queries.slice(start, min(start + size, 7))
        assert block.user.tolist() == expected.user.tolist()
        for name in ("history", "history_times"):
            assert getattr(block, name).offsets.tolist() == getattr(expected, name).offsets.tolist()
            assert getattr(block, name).values.tolist() == getattr(expected, name).values.tolist()
        assert block.time.tolist() == expected.time.tolist()
    assert data.n_queries("test") == 7
    assert data.query_key_type("test") == keys.type
    truth = data.truth("test")
    for start, part in zip(range(0, 7, size), data.truth_blocks("test", size), strict=True):
        stop = min(start + size, 7)
        assert part.items.values.tolist() == truth.items.slice(start, stop).values.tolist()
        assert part.items.lengths.tolist() == truth.items.lengths[start:stop].tolist()
        assert part.n_outside.tolist() == truth.n_outside[start:stop].tolist()


@pytest.mark.parametrize(
    "name", ["train/../../x.parquet", "/x.parquet", "train//x.parquet", "./x"], ids=repr
)
def test_a_card_that_names_a_file_elsewhere_is_damaged(tmp_path: Path, name: str) -> None:
    data = _tiny(tmp_path / "data")
    (tmp_path / "x.parquet").write_bytes((data.path / "users.parquet").read_bytes())
    card = json.loads((data.path / "dataset.json").read_text())
    card["content"][name] = card["content"]["users.parquet"]
    (data.path / "dataset.json").write_text(json.dumps(card))
    with pytest.raises(ArtifactError, match=r"dataset\.json: damaged"):
        Dataset.open(data.path)


def test_a_card_without_train_files_is_damaged(tmp_path: Path) -> None:
    data = _tiny(tmp_path / "tiny")
    card = data.path / "dataset.json"
    card.write_text(card.read_text().replace("train/part", "other/part"))
    with pytest.raises(ArtifactError, match="names no train file"):
        Dataset.open(data.path).train_files()
