"""Lists for a whole fold: in blocks, in bounded memory, and going on after a kill with the same
bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries
from falconer.pipelines.errors import ArtifactError, ConfigError, PipelineError
from falconer.recsys.judging.stored import remove_reports
from falconer.recsys.lists import parquet as recommendations
from falconer.recsys.lists.held import held
from falconer.recsys.recommending import job as batch
from falconer.recsys.recommending.job import Job, write_lists
from falconer.recsys.recommending.top_k import top_k
from tests.support.datasets import write_dataset

N_USERS, N_ITEMS, BLOCK = 50, 30, 8
JOB = Job(fold="test", views=("all", "novel"), k=5, about={"run": "r"})


class Dice:
    """Scores that depend on the user alone; raises instead at its call number `stop`."""

    def __init__(self, stop: int | None = None, error: BaseException | None = None) -> None:
        self.items_known = np.ones(N_ITEMS, np.bool_)
        self.calls = 0
        self._stop, self._error = stop, error or KeyboardInterrupt()

    def score(self, queries: Queries) -> NDArray[np.float32]:
        if self.calls == self._stop:
            raise self._error
        self.calls += 1
        rows = [
            np.random.default_rng(int(user)).random(N_ITEMS, np.float32) for user in queries.user
        ]
        return np.stack(rows)

    def save(self, directory: Path) -> None:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "QUERIES_AT_ONCE", BLOCK)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    rows = [(user, [user % N_ITEMS, (user * 7) % N_ITEMS], [1]) for user in range(N_USERS)]
    train = [(user, item, 0) for user, history, _ in rows for item in history]
    return write_dataset(
        tmp_path_factory.mktemp("batch") / "data",
        train=train,
        n_users=N_USERS,
        n_items=N_ITEMS,
        folds={"test": rows},
    )


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed job writes."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "QUERIES_AT_ONCE", BLOCK)
        written = write_lists(Dice(), data, root, JOB)
    assert (written.n_queries, written.resumed_blocks) == (N_USERS, 0)
    assert 0 < written.seconds < 60
    return files(root)


def test_lists_are_those_of_the_ranking(
    data: Dataset, whole: dict[str, bytes], tmp_path: Path
) -> None:
    assert sorted(name for name in whole if name.endswith(".parquet")) == [
        "all/recommendations.parquet",
        "novel/recommendations.parquet",
    ]
    (tmp_path / "novel").write_bytes(whole["novel/recommendations.parquet"])
    expected = top_k(Dice(), data.queries("test"), n_items=N_ITEMS, k=5, view="novel")
    table = pq.read_table(tmp_path / "novel").to_pydict()
    assert table["user"] == [f"u{user}" for user in range(N_USERS) for _ in range(5)]
    assert table["item"] == [f"i{item}" for item in expected.items.ravel()]
    assert pq.ParquetFile(tmp_path / "novel").num_row_groups == -(-N_USERS // BLOCK)
    about = recommendations.about(tmp_path / "novel")
    assert about == {
        "run": "r",
        "dataset_id": data.card.dataset_id,
        "fold": "test",
        "view": "novel",
        "k": 5,
    }


@pytest.mark.parametrize("done", range(0, 7, 2))
def test_an_interrupted_job_goes_on_and_ends_with_the_same_bytes(
    data: Dataset,
    whole: dict[str, bytes],
    tmp_path: Path,
    done: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_lists(Dice(stop=done), data, tmp_path, JOB)
    assert not [name for name in files(tmp_path) if name.endswith(".parquet")]
    rest = Dice()
    assert write_lists(rest, data, tmp_path, JOB).resumed_blocks == done
    assert rest.calls == 7 - done
    assert files(tmp_path) == whole
    assert ("going on" in capsys.readouterr().out) == (done > 0)


def test_the_seconds_of_a_job_that_went_on_are_those_of_all_its_parts(
    data: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_lists(Dice(stop=4), data, tmp_path, JOB)
    noted = tmp_path / batch.JOURNAL / batch.SECONDS
    assert 0 < float(noted.read_text()) < 60
    noted.write_text("1000.0")
    assert 1000 < write_lists(Dice(), data, tmp_path, JOB).seconds < 1060
    with pytest.raises(KeyboardInterrupt):
        write_lists(Dice(stop=4), data, tmp_path, JOB)
    noted.write_text("damaged")
    assert 0 < write_lists(Dice(), data, tmp_path, JOB).seconds < 60


def test_a_job_killed_by_the_system_goes_on_too(
    data: Dataset, whole: dict[str, bytes], tmp_path: Path
) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        from falconer.pipelines.data.dataset import Dataset
        from falconer.recsys.recommending import job as batch
        from tests.unit.recsys.recommending.test_batch import Dice, JOB

        class Killed(Dice):
            def score(self, queries):
                if self.calls == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().score(queries)

        batch.QUERIES_AT_ONCE = {BLOCK}
        data = Dataset.open(Path({str(data.path)!r}))
        batch.write_lists(Killed(), data, Path({str(tmp_path)!r}), JOB)
    """
    root = Path(__file__).resolve().parents[4]
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=root, check=False)
    assert killed.returncode == -signal.SIGKILL
    remains = files(tmp_path)
    assert any(".partial/" in name for name in remains)
    assert not any(name.endswith(recommendations.FILE) for name in remains)
    assert write_lists(Dice(), data, tmp_path, JOB).resumed_blocks == 3
    assert files(tmp_path) == whole


def test_a_damaged_block_is_ranked_again(
    data: Dataset, whole: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_lists(Dice(stop=4), data, tmp_path, JOB)
    first, second, third, _ = sorted((tmp_path / batch.JOURNAL).glob("*.npz"))
    first.write_bytes(first.read_bytes()[:100])
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 1
    second.write_bytes(content)
    third.write_bytes(b"")
    rest = Dice()
    write_lists(rest, data, tmp_path, JOB)
    assert rest.calls == 3 + 3
    assert files(tmp_path) == whole


def test_another_job_does_not_go_on_with_this_ones_blocks(
    data: Dataset, whole: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_lists(
            Dice(stop=4),
            data,
            tmp_path,
            Job(fold="test", views=("all", "novel"), k=6, about={"run": "r"}),
        )
    assert write_lists(Dice(), data, tmp_path, JOB).resumed_blocks == 0
    assert files(tmp_path) == whole


def test_an_interrupted_job_leaves_old_lists_and_reports(data: Dataset, tmp_path: Path) -> None:
    for name in ("recommendations.parquet", "report.json", "per_query.parquet"):
        (tmp_path / "all").mkdir(exist_ok=True)
        (tmp_path / "all" / name).write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_lists(Dice(stop=3), data, tmp_path, JOB)
    assert {path.name: path.read_text() for path in (tmp_path / "all").iterdir()} == {
        "recommendations.parquet": "old",
        "report.json": "old",
        "per_query.parquet": "old",
    }
    outdate = replace(JOB, outdate=lambda folder: remove_reports(folder, "per_query.parquet"))
    write_lists(Dice(), data, tmp_path, outdate)
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == [
        "recommendations.parquet",
        "recommendations.sha256",
    ]


def test_two_jobs_at_once_are_refused(data: Dataset, tmp_path: Path) -> None:
    with (
        held(tmp_path),
        pytest.raises(ArtifactError, match="another process is writing or judging"),
    ):
        write_lists(Dice(), data, tmp_path, JOB)


def test_an_error_names_the_query_of_the_whole_fold(data: Dataset, tmp_path: Path) -> None:
    class Broken(Dice):
        def score(self, queries: Queries) -> NDArray[np.float32]:
            scores = super().score(queries)
            scores[queries.user == 21, 4] = np.nan
            return scores

    with pytest.raises(
        PipelineError, match=r"query 21 \(user 21\): the model scores item 4 as nan"
    ):
        write_lists(Broken(), data, tmp_path, JOB)


def test_a_folder_that_cannot_be_written_is_an_error_for_people(
    data: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PipelineError, match="cannot write there"):
        write_lists(Dice(), data, tmp_path / "file", JOB)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


class Products(Dice):
    """Whole numbers, so that a product is exact on any device."""

    def factors(
        self, queries: Queries
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        rng = np.random.default_rng(0)
        users, items = (
            rng.integers(-3, 4, (size, 4)).astype(np.float32) for size in (N_USERS, N_ITEMS)
        )
        return users[queries.user], items, np.zeros(N_ITEMS, np.float32)


def test_lists_ranked_by_torch_are_the_same(data: Dataset, tmp_path: Path) -> None:
    for name, device in (("ours", None), ("torch", "cpu")):
        write_lists(Products(), data, tmp_path / name, replace(JOB, device=device))
    assert files(tmp_path / "ours") == files(tmp_path / "torch")


def test_an_absent_device_is_an_error_for_people(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"device 'quantum': torch cannot use it here .*leave `device` out"
    ):
        write_lists(Products(), data, tmp_path, replace(JOB, device="quantum"))


def test_lists_are_no_longer_than_the_catalogue_needs(data: Dataset, tmp_path: Path) -> None:
    """A billion places of each query would be memory that no machine has."""
    write_lists(Dice(), data, tmp_path, replace(JOB, k=10**9))
    view = JOB.views[0]
    assert len(pq.read_table(tmp_path / view / recommendations.FILE, partitioning=None))
