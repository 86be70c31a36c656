"""No test is skipped in CI: what it needs must be there, or nobody would notice that it is not
run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MODULES = {
    "import_in_a_test": 'def test():\n    pytest.importorskip("no_such_package")\n',
    "import_of_a_module": 'pytest.importorskip("no_such_package")\ndef test():\n    pass\n',
    "mark": '@pytest.mark.skipif(True, reason="no browser")\ndef test():\n    pass\n',
    "data_mirror": "def test(data_mirror):\n    pass\n",
    "expected_failure": '@pytest.mark.xfail(reason="known")\ndef test():\n    assert False\n',
    "pass": "def test():\n    pass\n",
}


def outcome(tmp_path: Path, module: str, ci: str) -> tuple[int, str]:
    """Exit code and output of pytest on one module, with the project's conftest."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(f"import pytest\n{MODULES[module]}", encoding="utf-8")
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("FALCONER_DATA_MIRROR", "CI")
    }
    environment |= {"CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "--rootdir",
        ".",
    ]
    found = subprocess.run(
        [*command, "test_it.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.returncode, found.stdout


@pytest.mark.parametrize(
    "module", ["import_in_a_test", "import_of_a_module", "mark", "data_mirror"]
)
def test_a_skip_fails_in_ci(tmp_path: Path, module: str) -> None:
    code, text = outcome(tmp_path, module, "true")
    assert code in (1, 2), text
    assert "skipped in CI, where no test may be skipped" in text
    assert "passed" not in text


@pytest.mark.parametrize("module", ["import_in_a_test", "mark", "data_mirror"])
def test_a_skip_is_a_skip_elsewhere(tmp_path: Path, module: str) -> None:
    code, text = outcome(tmp_path, module, "")
    assert code == 0, text
    assert "1 skipped" in text


@pytest.mark.parametrize("module", ["expected_failure", "pass"])
def test_nothing_else_fails_in_ci(tmp_path: Path, module: str) -> None:
    code, text = outcome(tmp_path, module, "true")
    assert code == 0, text
