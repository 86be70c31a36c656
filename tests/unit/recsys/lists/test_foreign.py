"""Lists of other systems are judged like our own, and damaged ones give one clear error."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import DataError
from falconer.recsys import stages
from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.judging.lists import judge as evaluation
from falconer.recsys.lists import formats as foreign
from falconer.recsys.lists.stored import _ordered, _tied
from tests.support.datasets import checkerboard

QUICK = EvaluationConfig(k=(1, 5), resamples=100)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return checkerboard(
        tmp_path_factory.mktemp("board") / "data", n=8, repeats=1, views=("all", "novel")
    )


def rows_of(data: Dataset, seed: int = 0) -> list[tuple[str, str, int, float]]:
    """(user, item, rank, score) of four random items for every user."""
    rng = np.random.default_rng(seed)
    users, items = data.query_keys("test").to_pylist(), data.items["key"].to_pylist()
    return [
        (user, items[item], rank, 1 / rank)
        for user in users
        for rank, item in enumerate(rng.permutation(len(items))[:4], start=1)
    ]


def trec(rows: list[tuple[str, str, int, float]]) -> str:
    return "".join(
        f"{user} Q0 {item} {rank}\t{score!r}  my-run\n" for user, item, rank, score in rows
    )


FORMATS = {
    "trec": trec,
    "recbole score": lambda rows: (
        "item_id:token\tuser_id:token\tscore:float\n"
        + "".join(f"{item}\t{user}\t{score}\n" for user, item, _, score in rows)
    ),
    "recbole rank": lambda rows: (
        "user_id:token\titem_id:token\trank:float\ttimestamp:float\n"
        + "".join(f"{user}\t{item}\t{rank}\t7\n" for user, item, rank, _ in rows)
    ),
    "csv rank": lambda rows: (
        "user,item,rank\r\n" + "".join(f"{u},{i},{r}\r\n" for u, i, r, _ in rows)
    ),
    "csv score": lambda rows: (
        'note,"user","item",score\n' + "".join(f'"a, b",{u},{i},{s}\n' for u, i, _, s in rows)
    ),
    "csv semicolons": lambda rows: (
        "\ufeffuser;item;score\n" + "".join(f"{u};{i};{s}\n" for u, i, _, s in rows)
    ),
    "tsv": lambda rows: "user\titem\trank\n" + "".join(f"{u}\t{i}\t{r}\n" for u, i, r, _ in rows),
}


@pytest.fixture(scope="module")
def expected(
    board: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, evaluation.Estimate]:
    import pyarrow as pa

    user, item, rank, _ = zip(*rows_of(board), strict=True)
    path = tmp_path_factory.mktemp("ours") / "lists.parquet"
    pq.write_table(pa.table({"user": user, "item": item, "rank": rank}), path)
    stages.evaluate(path, board.path, config=QUICK)
    return evaluation.read(path.with_name("lists-report") / "all").report.metrics


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_judged_like_parquet(
    name: str,
    zipped: bool,
    board: Dataset,
    tmp_path: Path,
    expected: dict[str, evaluation.Estimate],
) -> None:
    rows = rows_of(board)
    np.random.default_rng(1).shuffle(rows)
    content = FORMATS[name](rows).encode()
    path = tmp_path / "their.lists"
    path.write_bytes(gzip.compress(content) if zipped else content)
    out = stages.evaluate(path, board.path, config=QUICK)
    found = evaluation.read(out / "all").report
    assert found.metrics == expected
    assert (out.name, found.label) == ("their-report", "their")


def test_the_score_decides_a_trec_run_and_its_rank_is_not_looked_at(
    board: Dataset, tmp_path: Path
) -> None:
    rows = [(user, item, 5 - rank, score) for user, item, rank, score in rows_of(board)]
    (tmp_path / "run").write_text(trec(rows))
    with foreign.as_parquet(tmp_path / "run") as path:
        assert pq.read_schema(path).names == ["user", "item", "score"]


WRONG = {
    "empty": ("", "is empty, or begins with an empty line"),
    "header only": ("user,item,rank\n", "has no rows"),
    "no user": ("customer,item,rank\nu1,i1,1\n", "has no column user, only customer, item, rank"),
    "no order": ("user,item\nu1,i1\n", "has no column rank or score, only user, item"),
    "recbole without score": ("user_id:token\titem_id:token\nu1\ti1\n",
    "has no column rank or score"),
    "a word for a rank": ("user,item,rank\nu1,i1,first\n", "cannot be read .*first"),
    "fields missing": ("user,item,rank\nu1,i1,1\nu1,i2\n",
    "cannot be read .*Expected 3 columns, got 2"),
    "short trec line": ("u1 Q0 i1 1 0.5 t\nu1 Q0 i2 2\n",
    "line 2: not `query Q0 document rank score tag`"),
    "a digit of another script": ("u1 Q0 i1 1 0.5 t\nu1 Q0 i2 2 \xef\xbc\x94 t\n",
    "line 2: not `query Q0"),
    "a word for a trec score": ("u1 Q0 i1 1 0.5 t\nu1 Q0 i2 2 high t\n", "line 2: not `query Q0"),
    "nan score": ("u1 Q0 i1 1 nan t\n", "row 0: score is NaN or empty"),
    "empty rank": ("user,item,rank\nu1,i1,\n", "row 0: rank is NaN or empty"),
    "empty user": ("user,item,rank\n,i1,1\n", "row 0: user is empty"),
    "strangers": ("user,item,rank\nx,i1,1\n", "not one user is in the dataset"),
    "unknown items": ("user,item,rank\nu1,x,1\n", "not one item is in the dataset"),
    "no text": ("\xff\xfe\x00\x01", "is UTF-16"),
    "damaged text": ("user,item,rank\nu1,\xff\xfe,1\n", "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_damaged_files_give_one_error_that_names_them(
    case: str, board: Dataset, tmp_path: Path
) -> None:
    text, message = WRONG[case]
    path = tmp_path / "lists.txt"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message) as caught:
        stages.evaluate(path, board.path, config=QUICK)
    assert str(caught.value).startswith(str(path))
    assert "falconer-" not in str(caught.value)
    assert not (tmp_path / "lists-report").exists()


def test_values_that_a_damaged_page_points_outside_of_are_refused(
    board: Dataset, tmp_path: Path
) -> None:
    path, places = tmp_path / "lists.parquet", list(range(8))
    items = [f"i{1 + place % 3}" for place in places]  # 0, 1, 2, 0, ... of two bits each
    pq.write_table(
        pa.table({"user": ["u1"] * 8, "item": items, "rank": places}), path, compression="none"
    )
    whole = path.read_bytes()
    assert whole.count(b"\x24\x49") == 1
    path.write_bytes(whole.replace(b"\x24\x49", b"\xff\xff"))  # 3, of which there is none
    with pytest.raises(DataError, match="not a whole parquet file"):
        stages.evaluate(path, board.path, config=QUICK)


def test_a_cut_gzip_file_is_refused(board: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "lists.csv.gz"
    path.write_bytes(gzip.compress(FORMATS["csv rank"](rows_of(board)).encode())[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        stages.evaluate(path, board.path, config=QUICK)


def test_repeated_unknown_and_missing_are_counted(board: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "lists.csv"
    path.write_text("user,item,score\nu0,i0,0.1\nu0,i0,0.9\nu0,strange,0.5\nnobody,i1,0.5\n")
    report = evaluation.read(stages.evaluate(path, board.path, config=QUICK) / "all").report
    text = "\n".join(report.warnings)
    assert "rows of users that are not asked about in this fold: 1 (such as 'nobody')" in text
    assert "rows of items that are not in the catalogue: 1 (such as 'strange')" in text
    assert "items that stand in a list already: 1" in text
    assert report.n_without_list == 7


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_is_read_or_refused_in_words(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "lists"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        with foreign.as_parquet(path) as converted:
            assert pq.read_metadata(converted).num_rows >= 0
    except DataError as refusal:
        said = str(refusal)
    else:
        return
    assert said.startswith(str(path))


def test_a_damaged_csv_is_refused_and_the_process_ends_as_it_should(tmp_path: Path) -> None:
    """A reader with threads that ended by an error aborted the process behind its message."""
    rows = "".join(f"u{number},i{number % 7},{number}\n" for number in range(300))
    (tmp_path / "lists.csv").write_text(f"user,item,rank\n{rows}a,b\n")
    code = (
        "from pathlib import Path\n"
        "from falconer.pipelines.errors import DataError\n"
        "from falconer.recsys.lists.formats import as_parquet\n"
        "try:\n"
        "    with as_parquet(Path('lists.csv')):\n"
        "        pass\n"
        "except DataError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "lists.csv: cannot be read" in ended.stdout


def test_infinite_scores_that_are_equal_are_ties() -> None:
    laid = np.zeros(4, [("query", np.int32), ("item", np.int32), ("order", np.float64)])
    laid["order"] = [-np.inf, -np.inf, 0.0, np.inf]
    assert _tied(laid) == 1
    assert not _ordered(laid["query"], laid["order"])
    assert _ordered(laid["query"][1:], laid["order"][1:])
