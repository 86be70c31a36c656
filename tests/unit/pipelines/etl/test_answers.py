"""What other packages answer is checked, files of one name are told apart, and who runs tasks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.identity import SourceChangedError, Sources
from falconer.pipelines.etl.raw import Raw
from falconer.pipelines.etl.sources.plugin import read_by_plugin
from falconer.pipelines.etl.split.parts import Assignment, FoldRule, Part
from falconer.pipelines.etl.split.plugin import by_plugin
from falconer.pipelines.etl.workers import Here, workers_of
from falconer.pipelines.etl.workers.processes import Processes

EVENTS = pl.DataFrame({"user": [0, 0, 1], "item": [1, 2, 3]})
FOLDS = {"test": FoldRule(Part.TEST, (Part.TRAIN,))}


def answered(answer: Any) -> Assignment:
    """What is made of a split protocol's answer on three events."""
    config = SimpleNamespace(
        protocol="mine", package="toy 1", assign=lambda events, candidates: answer
    )
    return by_plugin(config, EVENTS, None)  # type: ignore[arg-type]


def test_an_assignment_of_known_parts_is_taken_as_int8() -> None:
    parts = [int(Part.TRAIN), int(Part.VALID), int(Part.TEST)]
    found = answered(Assignment(pl.Series("any", parts), FOLDS, "Mine."))  # type: ignore[arg-type]
    assert found.part.to_list() == parts
    assert (found.part.name, found.part.dtype) == ("part", pl.Int8)


@pytest.mark.parametrize(
    ("part", "folds", "said"),
    [
        ([0, 1], FOLDS, "for each of the 3 events"),
        ([0, 1, 99], FOLDS, "`part` must hold one of 0 TRAIN"),
        ([0, 1, None], FOLDS, "`part` must hold one of 0 TRAIN"),
        ([0, 1, 1000], FOLDS, "`part` must hold one of 0 TRAIN"),
        ([0, 1, 2], {}, "`folds` has no rule for the fold test"),
    ],
    ids=["too few", "unknown part", "no part", "no int8", "no test"],
)
def test_what_is_no_assignment_of_the_events_is_refused(part: Any, folds: Any, said: str) -> None:
    with pytest.raises(DataError, match=f"split protocol mine of toy 1: .*{said}"):
        answered(Assignment(pl.Series(part), folds, "Mine."))


def test_an_answer_of_another_kind_is_named() -> None:
    with pytest.raises(DataError, match="gave list, and an Assignment is wanted"):
        answered([0, 1, 2])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (EVENTS, "gave DataFrame, and a Raw is wanted"),
        (Raw(events=EVENTS), "its events need a column `ordinal` int64"),
        (
            Raw(events=EVENTS.with_columns(ordinal=pl.lit(1.0))),
            "its events need a column `ordinal`",
        ),
    ],
    ids=["a frame", "no ordinal", "a float ordinal"],
)
def test_a_source_that_gives_no_tables_is_refused(answer: Any, said: str) -> None:
    source = SimpleNamespace(kind="mine", package="toy 1", read=lambda: answer)
    with pytest.raises(DataError, match=f"source mine of toy 1: {said}"):
        read_by_plugin(source)  # type: ignore[arg-type]


def test_files_of_one_name_are_numbered_and_a_change_is_seen(tmp_path: Path) -> None:
    paths = [tmp_path / day / "part.csv" for day in ("a", "b", "c")]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        path.write_text(f"{number}")
    other = tmp_path / "items.csv"
    other.write_text("i")
    recipe = SimpleNamespace(files=lambda: {str(path): path for path in [*paths, other]})
    sources = Sources(recipe)  # type: ignore[arg-type]
    names = sources.named()
    assert list(names) == ["part.csv", "part.csv (2)", "part.csv (3)", "items.csv"]
    assert len(set(names.values())) == 4
    sources.refuse_change()
    paths[1].write_text("more than before")
    with pytest.raises(SourceChangedError, match=r"part\.csv: changed while it was read"):
        sources.refuse_change()


def test_one_worker_is_this_process_and_more_are_others() -> None:
    with workers_of(1, None) as one, workers_of(2, None) as two:
        assert isinstance(one, Here)
        assert isinstance(two, Processes)
        assert (one.n, two.n, two.n_on_a_machine) == (1, 2, 2)
