"""All windows of a backtest from one pass over the source are the datasets of one build each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from falconer.pipelines.cli import app
from falconer.pipelines.config import to_toml
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.etl import in_memory
from falconer.pipelines.etl.build import build, build_windows
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.files import checksums
from tests.support import shop


def recipe(folder: Path, window: int = 0, **changes: Any) -> EtlRecipe:
    split = {"protocol": "rolling", "days": 3, "windows": 3, "window": window, "valid_days": 2}
    return shop.recipe(folder, split=split, **changes)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Each reading of the whole source."""
    found: list[object] = []
    read = in_memory.read

    def noted(source: Any) -> Any:
        found.append(source)
        return read(source)

    monkeypatch.setattr(in_memory, "read", noted)
    return found


@pytest.mark.parametrize(
    "changes",
    [{}, {"clean": {"deduplicate": "pairs_last"}, "catalogue": {"min_item_users": 2}}],
    ids=["plain", "thinned"],
)
def test_windows_are_the_bytes_of_builds_apart(
    tmp_path: Path, reads: list[object], changes: dict[str, Any]
) -> None:
    folder = shop.write(tmp_path / "shop", shop.events(900))
    together = build_windows(recipe(folder, **changes), tmp_path / "together")
    assert len(reads) == 1
    apart = [build(recipe(folder, window, **changes), tmp_path / "apart") for window in (2, 1, 0)]
    assert [one.name for one in together] == [one.name for one in apart]
    assert len(set(together)) == 3
    for here, there in zip(together, apart, strict=True):
        assert checksums(here) == checksums(there)


def test_a_window_that_is_there_is_kept_and_the_others_are_built(
    tmp_path: Path, reads: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shop.write(tmp_path / "shop", shop.events())
    build(recipe(folder, 1), tmp_path / "out")
    built = build_windows(recipe(folder), tmp_path / "out")
    assert len(reads) == 2
    assert capsys.readouterr().out.count("this dataset is there already") == 1
    assert build_windows(recipe(folder), tmp_path / "out") == built
    assert len(reads) == 2


def test_a_log_from_the_future_names_the_windows_as_builds_apart(tmp_path: Path) -> None:
    folder = shop.write(tmp_path / "shop", shop.events())
    late = shop.events(20).with_columns(at=4_000_000_000)
    shop.events().vstack(late.cast(shop.events().schema)).write_parquet(folder / "events.parquet")
    lenient = {"contract": {"max_rejected_share": 0.5}}
    together = build_windows(recipe(folder, **lenient), tmp_path / "together")
    apart = build(recipe(folder, 1, **lenient), tmp_path / "apart")
    assert checksums(together[1]) == checksums(apart)


def test_the_command_prints_the_newest_window_last(tmp_path: Path) -> None:
    folder = shop.write(tmp_path / "shop", shop.events())
    path = tmp_path / "shop.toml"
    path.write_text(to_toml(recipe(folder).model_dump(mode="json", exclude_none=True)))
    out = str(tmp_path / "out")
    done = CliRunner().invoke(app, ["etl", str(path), "--out", out, "--windows"])
    assert done.exit_code == 0, done.output
    newest = build(recipe(folder, 0), tmp_path / "alone").name
    assert done.output.splitlines()[-1] == str(tmp_path / "out" / "shop" / newest)
    refused = ["etl", str(path), "--out", out, "--windows", "--since", "2024-01-01"]
    assert CliRunner().invoke(app, refused).exit_code == 2
    with pytest.raises(ConfigError, match='protocol is "temporal", and only "rolling"'):
        build_windows(shop.recipe(folder), tmp_path / "out")
