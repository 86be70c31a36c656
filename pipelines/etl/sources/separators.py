"""Separators of several characters, such as `::`: read as if they were one."""

from __future__ import annotations

import io

UNIT = "\x1f"
"""Stands for the separator: the character that ASCII has for it."""


class OneSeparator(io.RawIOBase):
    """The bytes of a stream with each `separator` written as `UNIT`, a part at a time.

    `ValueError` where the stream holds that character itself.
    """

    def __init__(self, stream: io.BufferedIOBase, separator: str, size: int = 2**20) -> None:
        super().__init__()
        self._stream, self._separator, self._size = stream, separator.encode(), size
        self._carried, self._ready, self._ended = b"", b"", False

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer as far as there is something; 0 at the end."""
        while not self._ready and not self._ended:
            self._advance()
        n = min(len(buffer), len(self._ready))
        buffer[:n] = self._ready[:n]
        self._ready = self._ready[n:]
        return n

    def _advance(self) -> None:
        chunk = self._stream.read(self._size)
        if UNIT.encode() in chunk:
            raise ValueError(f"the character {UNIT!r} stands in it")
        self._ended = not chunk
        *whole, rest = (self._carried + chunk).split(self._separator)
        held = 0 if self._ended else _begun(rest, self._separator)
        self._carried, rest = rest[len(rest) - held :], rest[: len(rest) - held]
        self._ready = UNIT.encode().join([*whole, rest])


def _begun(rest: bytes, separator: bytes) -> int:
    """How many bytes at the end of `rest` may be the beginning of a separator."""
    lengths = range(min(len(rest), len(separator) - 1), 0, -1)
    return next((n for n in lengths if rest.endswith(separator[:n])), 0)
