"""What `import falconer` offers, and at what cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

import falconer


def test_the_public_names_are_there_and_told() -> None:
    assert dir(falconer) == sorted(falconer.__all__)
    for name in falconer.__all__:
        assert getattr(falconer, name).__doc__


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        falconer.trian  # noqa: B018


def test_the_import_loads_nothing() -> None:
    code = (
        "import sys, falconer; "
        "sys.exit(bool({'polars', 'numpy', 'falconer.recsys'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
