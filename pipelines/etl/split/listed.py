"""A list of ids in a text file."""

from __future__ import annotations

from pathlib import Path

MOST_BYTES = 64 << 20
"""Of a file of ids: some millions of them."""


def read_ids(path: Path) -> tuple[str, ...]:
    """The ids in a UTF-8 text file, one a line, blanks around them and empty lines left out;
    `ValueError` where it cannot be read."""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ValueError(
                f"{path}: has {size:,} bytes; a list of ids has at most {MOST_BYTES:,}"
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8; it must hold an id a line") from error
    return tuple(dict.fromkeys(filter(None, (line.strip() for line in text.split("\n")))))
