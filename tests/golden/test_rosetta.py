"""Our values convert into other libraries': checked against what the libraries themselves said.

`make rosetta` asks the libraries, each in its own environment (`make oracles`), and compares value
by value; with FALCONER_ACCEPT=1 it records what they said. The other tests need no library.
"""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from falconer.recsys.metrics import METRICS
from falconer.recsys.metrics.conversions import Values
from falconer.recsys.metrics.translate import TRANSLATIONS, Translation
from tests.oracles import golden
from tests.oracles.cases import N_RANDOM, Case, degenerate_cases, random_cases

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = tuple(dict.fromkeys(row.library for row in TRANSLATIONS))
ACCEPT = "FALCONER_ACCEPT"


@cache
def cases() -> list[Case]:
    return [*random_cases(), *degenerate_cases()]


@cache
def our_values() -> list[Values]:
    return [golden.values_of(case) for case in cases()]


def in_their_terms(row: Translation) -> list[golden.Value]:
    return [golden.ours(row, values) for values in our_values()]


def rows_of(library: str) -> list[Translation]:
    return [row for row in TRANSLATIONS if row.library == library]


def mended(value: golden.Value, theirs: golden.Value) -> golden.Value:
    """Where the library refused a case there is nothing to compare with."""
    return theirs if theirs == "error" else value


@pytest.mark.parametrize("row", TRANSLATIONS, ids=lambda row: f"{row.library}-{row.theirs}")
def test_our_values_are_the_recorded_ones(row: Translation) -> None:
    record = golden.read(row.library)
    assert record["cases"] == golden.fingerprint(cases()), (
        "other cases were recorded: `make rosetta` with an accept"
    )
    theirs = record["values"][row.theirs]
    found = golden.digest(cases(), in_their_terms(row), row)
    assert theirs["n"] >= 1000
    assert theirs["n"] == found["n"]
    for key in ("mean", "weighted"):
        assert golden.same(row, found[key], theirs[key]), (key, found[key], theirs[key])
    for number, (ours, value) in enumerate(
        zip(found["degenerate"], theirs["degenerate"], strict=True)
    ):
        assert golden.same(row, mended(ours, value), value), (
            degenerate_cases()[number],
            ours,
            value,
        )


def test_records_are_small_and_of_libraries_in_the_table() -> None:
    files = sorted(golden.FOLDER.glob("*.json"))
    assert [path.stem for path in files] == sorted(LIBRARIES)
    assert sum(path.stat().st_size for path in files) < 50_000


def test_ndcg_is_not_one_number() -> None:
    """One list with its hit at rank 4 and two relevant items that are not in it: three values under
    one name."""
    place = next(
        number for number, case in enumerate(degenerate_cases()) if case["truth"] == [[3, 11, 10]]
    )
    names = {
        "ranx": "ndcg",
        "irspack": "ndcg",
        "implicit": "ndcg",
        "recbole": "NDCG",
        "recommenders": "ndcg_at_k",
    }
    said = {
        library: golden.read(library)["values"][name]["degenerate"][place]
        for library, name in names.items()
    }
    ours = METRICS["ndcg"].function(our_values()[N_RANDOM + place].ranked, 5)[0]
    assert list(said.values()) == pytest.approx([ours] * 5, abs=1e-9)
    others = {
        library: golden.read(library)["values"]["NDCG"]["degenerate"][place]
        for library in ("lenskit", "rectools")
    }
    assert len({round(value, 3) for value in (ours, *others.values())}) == 3


def test_a_wrong_conversion_is_noticed() -> None:
    row = next(row for row in TRANSLATIONS if (row.library, row.theirs) == ("rectools", "NDCG"))
    wrong = next(row for row in TRANSLATIONS if (row.library, row.theirs) == ("ranx", "ndcg"))
    found = golden.digest(cases(), in_their_terms(wrong), row)
    assert not golden.same(row, found["mean"], golden.read("rectools")["values"]["NDCG"]["mean"])


@cache
def answers(library: str, folder: Path) -> dict[str, Any]:
    """What the library says about every case."""
    python = ROOT / "build" / "oracles" / library / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"needs {python.relative_to(ROOT)}, which `make oracles` makes")
    asked, said = folder / "cases.json", folder / f"{library}.json"
    asked.write_text(json.dumps(cases()))
    script = ROOT / "tests" / "oracles" / "answers.py"
    subprocess.run(
        [python, script, library, asked, said], check=True, capture_output=True, cwd=folder
    )
    return dict(json.loads(said.read_text()))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("library", LIBRARIES)
def test_values_are_those_of_the_library_itself(
    library: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    said = answers(library, tmp_path_factory.mktemp(library))
    digests = {}
    for row in rows_of(library):
        theirs = said["values"][row.theirs]
        for number, (case, ours, value) in enumerate(
            zip(cases(), in_their_terms(row), theirs, strict=True)
        ):
            if golden.holds_for(row, case):
                assert number >= N_RANDOM or value != "error", (row.theirs, case)
                assert golden.same(row, mended(ours, value), value), (row.theirs, case, ours, value)
        digests[row.theirs] = golden.digest(cases(), theirs, row)
    if os.environ.get(ACCEPT) == "1":
        golden.write(library, said["version"], cases(), digests)
    record = golden.read(library)
    assert record["version"] == said["version"]
    assert set(record["values"]) == set(digests)
