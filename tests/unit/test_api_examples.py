"""Every public name has an example, and the examples, run as one session, come out as they say."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path
from typing import Any

import pytest

import falconer
from falconer.pipelines.errors import ConfigError
from falconer.recsys.testing import checks, datasets
from falconer.workflows import notebook
from tests.support import documents

DOCS = Path(__file__).resolve().parents[2] / "docs"
ELLIPSIS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def in_order_of_source() -> list[str]:
    """The public names as their file has them, which is the order of a session."""
    lines = {name: inspect.getsourcelines(getattr(notebook, name))[1] for name in falconer.__all__}
    return sorted(lines, key=lines.__getitem__)


def test_the_public_names_work_as_one_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("api.md", "labels.md"):
        documents.execute(DOCS / name, tmp_path, first=2)  # the rows and the recipe
    monkeypatch.chdir(tmp_path)
    session: dict[str, Any] = {"falconer": falconer}
    runner = doctest.DocTestRunner(optionflags=ELLIPSIS)
    for name in in_order_of_source():
        (example,) = doctest.DocTestFinder(recurse=False).find(getattr(notebook, name), name)
        example.globs = session
        assert example.examples, f"{name} has no example"
        assert runner.run(example, clear_globs=False).failed == 0, capsys.readouterr().out
    with pytest.raises(ConfigError, match="k: input should be greater than or equal to 1"):
        falconer.recommend(session["run"], k=0)


@pytest.mark.parametrize("module", [checks, datasets], ids=["checks", "datasets"])
def test_the_examples_of_the_test_kit_come_out(module: object) -> None:
    found = doctest.testmod(module)  # type: ignore[arg-type]
    assert found.attempted > 0
    assert found.failed == 0
