"""The house's rooms: no circle, few floors, private names stay at home, and no module asks for too
much; each rule with a planted offence."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("pipelines", "recsys", "vision", "workflows")
MAX_FLOORS = 10
MAX_NAMES = 20
NCF = ("recsys/models/ncf/on_torch/", "recsys/models/ncf/on_tensorflow/")
Sources = Mapping[str, str]
"""Path -> text of each module."""


@pytest.fixture(scope="module")
def sources() -> Sources:
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
    }


def imports(text: str) -> Iterator[tuple[str, str]]:
    """(module, name) of each `from falconer... import name`, inside functions too."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("falconer."):
            yield from (
                (str(node.module).removeprefix("falconer."), alias.name) for alias in node.names
            )


def room(module: str) -> str:
    """The folder or module right below `recsys`."""
    return module.split(".")[1]


def arrows(sources: Sources) -> dict[str, set[str]]:
    """Room of recsys -> the others that it imports from."""
    found: dict[str, set[str]] = {}
    for path, text in sources.items():
        if not path.startswith("recsys/") or path == "recsys/__init__.py":
            continue
        own = room(path.removesuffix(".py").replace("/", "."))
        wanted = {
            room(module if "." in module else f"{module}.{name}")
            for module, name in imports(text)
            if module.split(".")[0] == "recsys"
        }
        found.setdefault(own, set()).update(wanted - {own})
    return found


def floors(found: Mapping[str, set[str]]) -> list[set[str]]:
    """Rooms from the ground up, each above all that it imports; `AssertionError` for a circle."""
    left, built = dict(found), list[set[str]]()
    while left:
        standing = {name for name, below in left.items() if not below & left.keys()}
        assert standing, f"a circle among {', '.join(sorted(left))}"
        built.append(standing)
        left = {name: below for name, below in left.items() if name not in standing}
    return built


def borrowed(sources: Sources) -> list[str]:
    """Private names or modules that a module takes from another package's folder."""
    return [
        f"{path}: {module}.{name}"
        for path, text in sources.items()
        for module, name in imports(text)
        if any(part.startswith("_") for part in (*module.split("."), name))
        and not name.startswith("__")
    ]


def greedy(sources: Sources) -> list[str]:
    """Modules of NCF that import too many of the project's names."""
    return [
        path
        for path, text in sources.items()
        if path.startswith(NCF) and len(list(imports(text))) > MAX_NAMES
    ]


def with_line(sources: Sources, path: str, line: str) -> Sources:
    assert path in sources
    return {**sources, path: f"{sources[path]}\n\ndef offend():\n    {line}\n"}


def test_recsys_has_few_floors_and_no_circle(sources: Sources) -> None:
    built = floors(arrows(sources))
    assert len(built) <= MAX_FLOORS, built
    assert len(arrows(sources)) > MAX_FLOORS


@pytest.mark.parametrize(
    "path", ["recsys/contracts.py", "recsys/metrics/ranked.py", "recsys/lists/ids.py"]
)
def test_a_circle_is_found(path: str, sources: Sources) -> None:
    spoiled = with_line(sources, path, "from falconer.recsys.stages import train")
    with pytest.raises(AssertionError, match=f"a circle among .*{path.split('/')[1][:5]}"):
        floors(arrows(spoiled))


def test_a_tower_is_found() -> None:
    tower = {f"recsys/r{n}.py": f"from falconer.recsys.r{n + 1} import x" for n in range(11)}
    assert len(floors(arrows({**tower, "recsys/r11.py": ""}))) == 12 > MAX_FLOORS


def test_private_names_stay_at_home(sources: Sources) -> None:
    assert borrowed(sources) == []


@pytest.mark.parametrize(
    "line",
    [
        "from falconer.recsys.metrics.tables import _found",
        "from falconer.recsys._hidden import top_k",
    ],
)
def test_a_borrowed_private_name_is_found(line: str, sources: Sources) -> None:
    assert len(borrowed(with_line(sources, "recsys/cli.py", line))) == 1


def test_ncf_asks_for_few_names(sources: Sources) -> None:
    assert len([path for path in sources if path.startswith(NCF)]) > 6
    assert greedy(sources) == []


def test_a_greedy_module_is_found(sources: Sources) -> None:
    many = ", ".join(f"x{n}" for n in range(MAX_NAMES + 1))
    line = f"from falconer.recsys.contracts import {many}"
    for path in (f"{NCF[0]}scorer.py", f"{NCF[1]}network.py"):
        assert greedy(with_line(sources, path, line)) == [path]


def strangers(tests: Path) -> list[str]:
    """The folders of tests that are called as no folder of the packages."""
    folders = sorted(
        path for path in tests.rglob("*") if path.is_dir() and path.name[0] not in "._"
    )
    return [
        path.relative_to(tests).as_posix()
        for path in folders
        if not (ROOT / path.relative_to(tests)).is_dir()
    ]


def test_unit_tests_mirror_the_packages() -> None:
    assert not strangers(ROOT / "tests" / "unit")


def test_a_folder_of_tests_without_a_package_is_found(tmp_path: Path) -> None:
    for name in ("recsys/metrics", "recsys/nowhere", "pipelines/etl/__pycache__"):
        (tmp_path / name).mkdir(parents=True)
    assert strangers(tmp_path) == ["recsys/nowhere"]
