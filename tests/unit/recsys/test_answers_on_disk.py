"""Lists and their reports belong together: checksums, reads noted first, ties, byte order marks."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import ArtifactError, DataError
from falconer.recsys import stages
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.lists import judge as judging
from falconer.recsys.judging.lists import relevance
from falconer.recsys.lists import parquet
from falconer.recsys.lists.held import held

QUICK = EvaluationConfig(k=(5,), resamples=100, metrics=("ndcg",))


@pytest.fixture
def run(board: Dataset, tmp_path: Path) -> Path:
    path = stages.train("popularity", board.path, tmp_path / "runs")
    return stages.recommend(path, views=("all",))


def test_lists_that_changed_since_they_were_written_are_not_judged(run: Path) -> None:
    lists = run / "all" / parquet.FILE
    content = bytearray(lists.read_bytes())
    content[len(content) // 2] ^= 1
    lists.write_bytes(content)
    with pytest.raises((ArtifactError, DataError), match=r"changed since|not a whole parquet"):
        stages.evaluate(run, config=QUICK)


def test_a_report_on_other_lists_is_not_compared(run: Path, tmp_path: Path) -> None:
    stages.evaluate(run, config=QUICK)
    report = run / "all" / "report.json"
    values = json.loads(report.read_text())
    report.write_text(json.dumps(values | {"answers": "0" * 64}))
    with pytest.raises(ArtifactError, match="of different answers; evaluate anew"):
        stages.compare([run], out=tmp_path / "page.html")
    report.write_text(json.dumps(values))
    (run / "all" / "recommendations.sha256").unlink()
    lists = run / "all" / parquet.FILE
    pq.write_table(pq.ParquetFile(lists).read(), lists, compression="none")
    with pytest.raises(ArtifactError, match="not what the report beside it was made of"):
        stages.compare([run], out=tmp_path / "page.html")


def test_recommending_while_judging_is_refused(run: Path) -> None:
    with held(run):
        for command in (stages.recommend, stages.evaluate):
            with pytest.raises(ArtifactError, match="another process is writing or judging"):
                command(run)


def test_a_look_at_the_test_fold_is_noted_before_it_is_taken(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(judging, "judge", killed)
    with pytest.raises(KeyboardInterrupt):
        stages.evaluate(run, config=QUICK)
    assert len((run.parent / "test-reads.jsonl").read_text().splitlines()) == 1


def test_ties_stand_by_the_sources_item_id_whatever_is_popular(tmp_path: Path) -> None:
    users, items = pa.array(["u"]), pa.array(["c", "a", "b"])  # "c" is the most popular
    path = tmp_path / "ties.parquet"
    table = {"user": ["u"] * 3, "item": ["c", "b", "a"], "score": [1.0, 1.0, 1.0]}
    pq.write_table(pa.table(table), path)
    found = parquet.read(path, user_keys=users, item_keys=items, k=3)
    assert [items[int(one)].as_py() for one in found.items[0]] == ["a", "b", "c"]
    assert any("score of the place before: 2;" in warning for warning in found.warnings)


def test_a_file_is_judged_in_the_views_of_its_dataset(board: Dataset, tmp_path: Path) -> None:
    keys, items = board.query_keys("test"), board.items.column("key").to_pylist()
    lines = [f"{key} Q0 {items[0]} 1 0.5 tag" for key in keys.to_pylist()]
    path = tmp_path / "lists.run"
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode())
    out = stages.evaluate(path, board.path, config=QUICK)
    judged = {folder.name for folder in out.iterdir()}
    assert judged == {
        view for view in board.card.split.views if relevance.has_relevant(board, "test", view)
    }
    report = judging.read(out / sorted(judged)[0]).report
    assert not any("not asked about" in warning for warning in report.warnings)


def test_utf_16_is_named_as_such(board: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "lists.run"
    path.write_text("u Q0 i 1 0.5 tag\n", encoding="utf-16")
    with pytest.raises(DataError, match="is UTF-16; write it as UTF-8"):
        stages.evaluate(path, board.path, config=QUICK)
