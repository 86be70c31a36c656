"""Rules about the project's own files."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 400
MAX_COLUMNS = 165
"""Of prose in documents; code has ruff's 100."""
INSTALLED = ROOT / "tests" / "support" / "stranger"
"""Another distribution, which a test installs: it is a package."""
WRITTEN = {".py", ".html", ".css", ".js", ".md", ".toml", ""}

FOREIGN = re.compile(
    r"/[w]ork/|/[r]oot/|/[h]ome/[a-z]|/[o]pt/|/[U]sers/|"  # a machine's own paths
    r"[p]ypi\.org|[p]ythonhosted\.org|[p]ypi\.nvidia|[r]egistry\.npmjs|[d]ownload\.pytorch|[d]eb\.debian|[l]ocalhost:\d{4}/simple"
)
"""Written so that this file does not match itself."""


def tracked() -> list[Path]:
    """Every file of the repository."""
    found = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in found.stdout.split("\0") if name and (ROOT / name).is_file()]


def lines_of(path: Path) -> list[str]:
    """A text file's lines; none of a binary file."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


def long_files(paths: list[Path]) -> dict[Path, int]:
    """Written files of more lines than are allowed, but for the licence's text."""
    written = [path for path in paths if path.suffix in WRITTEN and path.name != "LICENSE"]
    return {path: n for path in written if (n := len(lines_of(path))) > MAX_LINES}


def test_no_file_is_long() -> None:
    assert len(tracked()) > 20
    assert long_files(tracked()) == {}


def test_a_long_file_is_found(tmp_path: Path) -> None:
    planted = [tmp_path / name for name in ("long.py", "just.py", "LICENSE", "long.png")]
    for path, n in zip(planted, (401, 400, 401, 401), strict=True):
        path.write_text("x\n" * n, encoding="utf-8")
    assert long_files(planted) == {planted[0]: 401}


def long_lines(path: Path) -> list[int]:
    """Numbers of a document's lines of prose that are too long. Rows of tables, which cannot be
    wrapped, and code are none."""
    found, in_code = [], False
    for number, line in enumerate(lines_of(path), start=1):
        in_code ^= line.lstrip().startswith("```")
        prose = not in_code and not line.lstrip().startswith("|")
        if prose and len(line) > MAX_COLUMNS:
            found.append(number)
    return found


def test_no_line_of_prose_is_long() -> None:
    documents = [path for path in tracked() if path.suffix == ".md"]
    assert len(documents) > 10
    assert {path: found for path in documents if (found := long_lines(path))} == {}


def test_a_long_line_of_prose_is_found(tmp_path: Path) -> None:
    long, table = "x" * (MAX_COLUMNS + 1), f"| {'x' * MAX_COLUMNS} |"
    path = tmp_path / "page.md"
    path.write_text("\n".join([long[1:], table, "```sh", long, "```", long]), encoding="utf-8")
    assert long_lines(path) == [6]


def test_no_machine_path_and_no_registry_host() -> None:
    hits = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked()
        for number, line in enumerate(lines_of(path), start=1)
        if FOREIGN.search(line)
    ]
    assert hits == []


@pytest.mark.parametrize(
    "text", ["/wor" + "k/x", "https://py" + "pi.org/simple", "/roo" + "t/.cache"]
)
def test_foreign_text_is_found(text: str) -> None:
    assert FOREIGN.search(text)


def data_files(paths: list[Path]) -> list[str]:
    """Names of files that hold data, by their ending or by their size."""
    kinds = {".zip", ".gz", ".parquet", ".dat", ".npz", ".safetensors", ".db", ".sqlite", ".pkl"}
    return [path.name for path in paths if path.suffix in kinds or path.stat().st_size > 200_000]


def test_no_data_file_is_tracked() -> None:
    assert data_files(tracked()) == ["requirements.lock"]  # every hash of every platform


def test_a_data_file_is_found(tmp_path: Path) -> None:
    planted = [tmp_path / name for name in ("model.npz", "large.txt", "small.txt")]
    for path, size in zip(planted, (1, 200_001, 200_000), strict=True):
        path.write_bytes(b"x" * size)
    assert data_files(planted) == ["model.npz", "large.txt"]


def packages_of_tests(tests: Path) -> list[Path]:
    """Folders of tests that are packages: importmode is importlib, so only `tests` itself is one,
    and what tests install."""
    return [
        path
        for path in tests.rglob("__init__.py")
        if path.parent != tests and INSTALLED not in path.parents
    ]


def test_tests_are_unlike_packages() -> None:
    assert packages_of_tests(ROOT / "tests") == []


def test_a_package_of_tests_is_found(tmp_path: Path) -> None:
    planted = [tmp_path / "tests" / name for name in ("unit/__init__.py", "__init__.py")]
    for path in planted:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert packages_of_tests(tmp_path / "tests") == planted[:1]


def test_a_warning_is_an_error_without_exceptions() -> None:
    """Exceptions live beside the shim that needs them (`falconer.pipelines.compat`,
    `falconer.pipelines.tracking`), where a test of the shim tells when one can go; here they would
    hide warnings of everything else."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "pytest"
    ]["ini_options"]
    assert settings["filterwarnings"] == ["error"]
    assert settings["xfail_strict"] is True
    assert "--strict-markers" in settings["addopts"]
