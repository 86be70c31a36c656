"""Sizes of memory and disk as people write them."""

from __future__ import annotations

import re

from falconer.pipelines.errors import ConfigError

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def bytes_of(size: str) -> int:
    """Bytes of a size such as "4GB" or "800 MB"; raises `ConfigError` where it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?B)", size.strip(), re.IGNORECASE)
    if found is None:
        raise ConfigError(f"memory_limit = {size!r}: a size like '4GB' or '800MB' is wanted")
    return int(float(found[1]) * UNITS[found[2].upper()])
