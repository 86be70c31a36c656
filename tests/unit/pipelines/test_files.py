from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from falconer.pipelines.errors import ArtifactError, ConfigError, PipelineError
from falconer.pipelines.files import (
    atomic_directory,
    atomic_file,
    canonical_json,
    identity_of,
    read_json,
    resumable_directory,
    scratch_folder,
    sweep,
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


def test_an_interruption_says_what_the_next_one_goes_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        with resumable_directory(tmp_path / "set") as (_, kept):
            (kept / "part").write_text("done")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert f"{tmp_path / '.set.kept'}: what is done stays there" in capsys.readouterr().err
    with resumable_directory(tmp_path / "set") as (_, kept):
        assert (kept / "part").read_text() == "done"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


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


@pytest.fixture
def mask_027() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_rights_of_what_is_linked_stay_as_they_are(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("kept for ever")
    theirs.chmod(0o440)
    with atomic_directory(tmp_path / "set") as partial:
        (partial / "ours").hardlink_to(theirs)
    assert (tmp_path / "set" / "ours").samefile(theirs)
    assert theirs.stat().st_mode & 0o777 == 0o440


@pytest.mark.usefixtures("mask_027")
def test_rights_are_those_of_new_files_whatever_a_library_gives(tmp_path: Path) -> None:
    weights = {"w": torch.zeros(3)}
    with atomic_file(tmp_path / "a.safetensors") as partial:
        save_file(weights, partial)
    with atomic_directory(tmp_path / "model") as partial:
        save_file(weights, partial / "b.safetensors")
        (partial / "b.safetensors").chmod(0o600)
    paths = ("a.safetensors", "model/b.safetensors", "model")
    assert [(tmp_path / path).stat().st_mode & 0o777 for path in paths] == [0o640, 0o640, 0o750]


KILLED = """
import os, signal, sys
from pathlib import Path
from falconer.pipelines.files import atomic_directory, atomic_file, scratch_folder
root = Path(sys.argv[1])
with atomic_directory(root / "set") as partial, atomic_file(root / "file") as file:
    (partial / "a").write_text("new")
    with scratch_folder() as scratch:
        (scratch / "b").write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_kill_leaves_is_swept_and_what_lives_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "falconer-notes.txt").touch()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    found = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "data")], check=False)
    assert found.returncode == -signal.SIGKILL
    assert len(list(tmp_path.rglob("*.partial"))) == 3
    (tmp_path / "data" / ".old.1234abcd.partial").touch()  # as earlier versions named them
    with atomic_file(tmp_path / "data" / "other") as living:
        sweep(tmp_path, depth=2)
        assert [path.parent for path in (living,)] == list((tmp_path / "data").glob(".*"))
        living.write_text("")
    with scratch_folder() as folder:
        assert sorted(scratch.iterdir()) == sorted([folder, scratch / "falconer-notes.txt"])


def test_two_that_make_the_same_directory_both_succeed(tmp_path: Path) -> None:
    gate, failures = threading.Barrier(8), []

    def make(number: int) -> None:
        try:
            with atomic_directory(tmp_path / "set", stays=lambda path: True) as partial:
                (partial / "a").write_text(str(number))
                gate.wait()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_replaced_directory_is_there_at_every_moment(tmp_path: Path) -> None:
    target = tmp_path / "set"
    with atomic_directory(target) as partial:
        (partial / "a").write_text("old")
    missing, over = [], threading.Event()

    def look() -> None:
        while not over.is_set():
            if not (target / "a").exists():
                missing.append(1)

    watcher = threading.Thread(target=look)
    watcher.start()
    for _ in range(50):
        with atomic_directory(target) as partial:
            (partial / "a").write_text("new")
    over.set()
    watcher.join()
    assert missing == []


def test_a_device_is_never_replaced(tmp_path: Path) -> None:
    """Whoever is root could: the pipe stands for /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="pipe: cannot write there"), atomic_file(pipe) as partial:
        partial.write_text("x")
    assert pipe.is_fifo()
    with pytest.raises(ConfigError, match="it is no file"), atomic_file(tmp_path):
        pass
