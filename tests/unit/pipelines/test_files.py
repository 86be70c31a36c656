from __future__ import annotations

from pathlib import Path

import pytest

from falconer.pipelines.errors import ArtifactError, PipelineError
from falconer.pipelines.files import (
    atomic_directory,
    atomic_file,
    canonical_json,
    identity_of,
    read_json,
    write_json,
    write_text,
)


def test_a_failed_directory_leaves_nothing_and_keeps_what_existed(tmp_path: Path) -> None:
    target = tmp_path / "data" / "set"
    with atomic_directory(target) as partial:
        (partial / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        _interrupted(target)
    assert (target / "a").read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["set"]


def _interrupted(target: Path) -> None:
    with atomic_directory(target) as partial:
        (partial / "a").write_text("new")
        raise KeyboardInterrupt


def test_a_directory_is_invisible_until_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "set"
    with atomic_directory(target) as partial:
        (partial / "old").write_text("")
        assert not target.exists()
    with atomic_directory(target) as partial:
        (partial / "new").write_text("")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_file_leaves_nothing_and_keeps_what_existed(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(ValueError, match="midway"):
        _failing(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def _failing(target: Path) -> None:
    with atomic_file(target) as partial:
        partial.write_text("new")
        raise ValueError("midway")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(PipelineError, match=r"taken.*cannot write there"):
        write_text(tmp_path / "taken" / "a.txt", "")
    with (
        pytest.raises(PipelineError, match="cannot write there"),
        atomic_directory(tmp_path / "taken" / "set"),
    ):
        pass


def test_errors_of_the_block_are_not_taken_for_write_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_directory(tmp_path / "set"):
        (tmp_path / "absent.csv").read_text()


def test_json_reads_back_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": [1, 2.5, "é"]})
    assert read_json(path) == {"b": [1, 2.5, "é"]}
    path.write_text('{"b": [1,')
    with pytest.raises(ArtifactError, match=r"a\.json: damaged"):
        read_json(path)
    with pytest.raises(ArtifactError, match="not found"):
        read_json(tmp_path / "absent.json")


def test_identity_depends_on_the_value_and_not_on_key_order() -> None:
    assert identity_of({"a": 1, "b": 2}) == identity_of({"b": 2, "a": 1})
    assert identity_of({"a": 1}) != identity_of({"a": 2})
    with pytest.raises(ValueError, match="float"):
        canonical_json(float("nan"))
