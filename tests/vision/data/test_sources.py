"""Folders and tables of pictures: their classes, folds and faults."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.errors import DataError
from falconer.vision.config import PicturesConfig
from falconer.vision.data.named import open_source
from falconer.vision.data.prepared import Prepared, prepare
from tests.support.pictures import COLOURS, colour_folder, picture

CONFIG = PicturesConfig(size=16, share=1.0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return colour_folder(tmp_path / "photos", n=10)


def prepared(data: Path, **knobs: object) -> Prepared:
    config = CONFIG.model_copy(update=knobs)
    return prepare(open_source(str(data)), config, data.parent / "prepared")


def rows_of(found: Prepared, fold: str) -> int:
    return found.card.counts[fold]


def test_each_class_is_divided_and_stays_so(photos: Path) -> None:
    found = prepared(photos)
    assert found.card.classes == tuple(COLOURS)
    assert found.card.counts == {"train": 21, "valid": 3, "test": 6}
    for fold in ("train", "valid", "test"):
        assert len(set(found.labels[found.rows(fold)].tolist())) == 3  # type: ignore[arg-type]
    before = {n: f for n, f in zip(found.names, found.folds, strict=True) if f == 2}
    picture((9, 9, 9), 1).save(photos / "red" / "new.png")
    after = prepared(photos)
    kept = dict(zip(after.names, after.folds, strict=True))
    assert sum(kept[name] == fold for name, fold in before.items()) >= len(before) - 1


def test_prepared_again_it_is_the_same_directory(photos: Path) -> None:
    first = prepared(photos)
    content = (first.path / "pixels.bin").read_bytes()
    stamp = (first.path / "pixels.bin").stat().st_mtime_ns
    second = prepared(photos)
    assert second.path == first.path
    assert (second.path / "pixels.bin").stat().st_mtime_ns == stamp
    for file in first.path.iterdir():
        file.unlink()
    first.path.rmdir()
    assert (prepared(photos).path / "pixels.bin").read_bytes() == content
    assert prepared(photos, size=20).path != first.path


def test_decoding_in_processes_gives_the_same_bytes(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = prepared(photos)
    content = (alone.path / "pixels.bin").read_bytes()
    for file in alone.path.iterdir():
        file.unlink()
    alone.path.rmdir()
    monkeypatch.setattr("falconer.vision.data.prepared.WORTH_PROCESSES", 1)
    monkeypatch.setattr("falconer.vision.data.prepared.IN_FLIGHT", 3)
    assert (prepared(photos).path / "pixels.bin").read_bytes() == content


def test_folders_may_name_the_folds(tmp_path: Path) -> None:
    colour_folder(tmp_path / "photos" / "train", n=4)
    colour_folder(tmp_path / "photos" / "val", n=2)
    for number, path in enumerate(sorted((tmp_path / "photos" / "val").rglob("*.png"))):
        picture((1, 2, 3), 1000 + number).save(path)
    found = prepared(tmp_path / "photos")
    assert found.card.classes == tuple(COLOURS)
    assert rows_of(found, "test") == 0
    assert rows_of(found, "train") == 12


def test_bad_files_are_set_aside_by_name(photos: Path) -> None:
    (photos / "red" / "empty.jpg").touch()
    (photos / "red" / "text.jpg").write_text("hello")
    (photos / "blue" / ".hidden.png").write_text("hello")
    (photos / "blue" / "notes.txt").write_text("hello")
    found = prepared(photos)
    assert dict(found.card.rejected) == {
        "red/empty.jpg": "an empty file",
        "red/text.jpg": "no picture, whatever its name says",
    }
    assert len(found) == 30


def test_copies_are_kept_once_and_contradictions_not_at_all(photos: Path) -> None:
    content = (photos / "red" / "0.png").read_bytes()
    (photos / "red" / "copy.png").write_bytes(content)
    other = (photos / "blue" / "0.png").read_bytes()
    (photos / "green" / "blue.png").write_bytes(other)
    rejected = dict(prepared(photos).card.rejected)
    assert rejected["red/copy.png"] == "the same picture as red/0.png"
    assert rejected["green/blue.png"] == rejected["blue/0.png"]
    assert "under several labels: blue/0.png, green/blue.png" in rejected["blue/0.png"]


def test_a_copy_never_crosses_folds(tmp_path: Path) -> None:
    colour_folder(tmp_path / "photos" / "train", n=4)
    colour_folder(tmp_path / "photos" / "test", n=4)
    with pytest.raises(DataError, match="no picture to train on of blue, green, red"):
        prepared(tmp_path / "photos")


def test_a_link_to_outside_is_set_aside(photos: Path, tmp_path: Path) -> None:
    picture((5, 5, 5), 3).save(tmp_path / "secret.png")
    (photos / "red" / "link.png").symlink_to(tmp_path / "secret.png")
    assert dict(prepared(photos).card.rejected) == {
        "red/link.png": "a link to outside of the folder"
    }


def test_an_empty_class_is_named(photos: Path) -> None:
    (photos / "white").mkdir()
    with pytest.raises(DataError, match=r"no pictures .* below white"):
        open_source(str(photos))


def test_a_class_of_bad_files_only_is_named(photos: Path) -> None:
    (photos / "white").mkdir()
    (photos / "white" / "a.png").touch()
    with pytest.raises(
        DataError, match=r"to train on of white; 1 pictures were set aside: white/a"
    ):
        prepared(photos)


def test_one_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos" / "red").mkdir(parents=True)
    with pytest.raises(DataError, match=r"1 class \(red\), and a classifier needs two or more"):
        open_source(str(tmp_path / "photos"))


def test_names_that_differ_by_case_are_refused(photos: Path) -> None:
    (photos / "Red").mkdir()
    picture((1, 1, 1), 1).save(photos / "Red" / "a.png")
    with pytest.raises(DataError, match="'Red' and 'red' differ by case only"):
        open_source(str(photos))


def test_an_unknown_place_lists_the_names(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"neither a folder of pictures, nor a CSV file, .* fashion"
    ):
        open_source(str(tmp_path / "nowhere"))


def test_a_table_of_labels(photos: Path) -> None:
    lines = ["path,label,fold"]
    lines += [f"red/{n}.png,warm,train" for n in range(5)]
    lines += [f"blue/{n}.png,cold,train" for n in range(5)]
    lines += ["green/0.png,cold,test", "../secret.png,cold,", "green/1.png,,", "no.png,warm,"]
    lines += ["green/2.png,cold,someday"]
    (photos / "labels.csv").write_text("\n".join(lines))
    source = open_source(str(photos / "labels.csv"))
    assert source.classes == ("cold", "warm")
    assert len(source.pictures) == 11
    reasons = {one.name: one.reason for one in source.rejected}
    assert reasons == {
        "labels.csv, line 13: ../secret.png": "outside of the table's folder",
        "labels.csv, line 14": "green/1.png: no label",
        "labels.csv, line 15: no.png": "no such file",
        "labels.csv, line 16": "green/2.png: fold is 'someday', and train, valid or test is wanted",
    }


def test_a_table_of_tags_with_clips(photos: Path) -> None:
    lines = ["path,tags", "red,warm|bright", "green/0.png,bright", "blue/1.png,", "blue/2.png,cold"]
    (photos / "tags.csv").write_text("\n".join(lines))
    source = open_source(str(photos / "tags.csv"))
    assert source.task == "tags"
    assert source.classes == ("bright", "cold", "warm")
    frames = [one for one in source.pictures if one.group == "red"]
    assert len(frames) == 10
    assert frames[0].labels == (0, 2)
    assert source.pictures[-2].labels == ()


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("file,label\n1,2\n")
    with pytest.raises(DataError, match="needs the column path and one of label and tags; it has"):
        open_source(str(tmp_path / "a.csv"))


def idx(values: np.ndarray) -> bytes:  # type: ignore[type-arg]
    head = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.astype(np.uint8).tobytes()


def idx_folder(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(1)
    for part, n in (("train", 30), ("t10k", 10)):
        pixels = rng.integers(0, 256, (n, 5, 6))
        labels = np.arange(n) % 3
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


def test_mnist_files_are_read(tmp_path: Path) -> None:
    source = open_source(str(idx_folder(tmp_path / "digits")))
    assert source.classes == ("0", "1", "2")
    assert [one.fold for one in source.pictures].count("test") == 10
    assert source.pictures[31].labels == (1,)
    assert source.pictures[0].pixels is not None
    assert source.pictures[0].pixels.shape == (5, 6, 1)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\x08\x03\0\0\0\x09", gzip.compress(b"x")[:9]],
    ids=["empty", "header alone", "cut gzip"],
)
def test_damaged_mnist_files_are_named(tmp_path: Path, content: bytes) -> None:
    folder = idx_folder(tmp_path / "digits")
    (folder / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        open_source(str(folder))
