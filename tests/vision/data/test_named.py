"""Published collections by name: what is read, and what is said where they are absent or
damaged."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.errors import DataError
from falconer.vision.data.cifar10 import PARTS, RECORD
from falconer.vision.data.digits import read_digits_file
from falconer.vision.data.named import open_source

PICTURES_A_FILE = 3


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FALCONER_DATA_MIRROR", str(tmp_path))
    monkeypatch.setattr("falconer.vision.data.named.DEBIAN", tmp_path / "system")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def records(first_label: int) -> bytes:
    """Three pictures, whose red is their label, green 100 and blue the column."""
    found = b""
    for label in range(first_label, first_label + PICTURES_A_FILE):
        planes = np.zeros((3, 32, 32), np.uint8)
        planes[0], planes[1], planes[2] = label, 100, np.arange(32)
        found += bytes([label]) + planes.tobytes()
    return found


CONTENTS = {name: records(number) for number, (_, name) in enumerate(PARTS)}


def archive(path: Path, contents: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("form", ["archive", "folder"])
def test_cifar10_is_read_from_its_binary_form(mirror: Path, form: str) -> None:
    if form == "archive":
        archive(mirror / "cifar-10-binary.tar.gz", CONTENTS)
    else:
        (mirror / "cifar-10-batches-bin").mkdir()
        for name, content in CONTENTS.items():
            (mirror / "cifar-10-batches-bin" / name).write_bytes(content)
    source = open_source("cifar10")
    assert len(source.pictures) == 6 * PICTURES_A_FILE
    assert [one.fold for one in source.pictures].count("test") == PICTURES_A_FILE
    assert source.classes[0] == "airplane"
    last = source.pictures[-1]
    assert (last.name, last.labels) == ("test_batch/00002", (7,))
    assert last.pixels is not None
    assert last.pixels.shape == (32, 32, 3)
    assert last.pixels[5, 31].tolist() == [7, 100, 31]


@pytest.mark.parametrize(
    ("part", "content", "said"),
    [
        ("data_batch_3.bin", None, "cannot be read"),
        ("data_batch_3.bin", b"", "has 0 bytes"),
        ("test_batch.bin", bytes(RECORD - 1), "whole pictures of 3,073 are wanted"),
        ("test_batch.bin", b"\x0a" + bytes(RECORD - 1), "has the label 10"),
    ],
    ids=["missing", "empty", "cut off", "label"],
)
def test_damaged_cifar10_is_named(
    mirror: Path, part: str, content: bytes | None, said: str
) -> None:
    contents = {name: own for name, own in CONTENTS.items() if name != part}
    if content is not None:
        contents[part] = content
    archive(mirror / "cifar-10-binary.tar.gz", contents)
    with pytest.raises(DataError, match=rf"{said}.*(?s:.)*cs\.toronto\.edu"):
        open_source("cifar10")


def test_an_archive_that_is_none_is_named(mirror: Path) -> None:
    (mirror / "cifar-10-binary.tar.gz").write_bytes(gzip.compress(b"x" * 600))
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz: cannot be read"):
        open_source("cifar10")


def test_pickles_are_not_opened_and_it_is_said_what_to_get(mirror: Path) -> None:
    (mirror / "cifar-10-python.tar.gz").write_bytes(b"never looked at")
    with pytest.raises(DataError, match=r"holds pickles.*cifar-10-binary\.tar\.gz \(163 MB\)"):
        open_source("cifar10")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "bccd-cells"])
def test_what_is_absent_says_where_it_was_looked_for(mirror: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"not found in {mirror}"):
        open_source(name)


def test_the_digits_are_those_of_scikit_learn() -> None:
    source = open_source("digits")
    assert source.classes == tuple("0123456789")
    assert len(source.pictures) == 1797
    first = source.pictures[0]
    assert first.labels == (0,)
    assert first.pixels is not None
    assert first.pixels[0, :, 0].tolist() == [0, 0, 79, 207, 143, 15, 0, 0]


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DataError, match="pip install scikit-learn"):
        open_source("digits")


@pytest.mark.parametrize(
    "lines",
    [["1,2,3"], [",".join(["17"] * 65)], ["not,numbers"], []],
    ids=["few columns", "above 16", "text", "empty"],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_a_damaged_file_of_digits_is_named(tmp_path: Path, lines: Sequence[str]) -> None:
    path = tmp_path / "digits.csv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    with pytest.raises(DataError, match=r"digits\.csv\.gz: no file of digits, or damaged"):
        read_digits_file(path)
