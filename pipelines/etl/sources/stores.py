"""Object stores: what an address such as `s3://bucket/day=*/x.csv` means, and copies of that.

Arrow's file systems do it. Credentials come from the environment alone: for S3 `AWS_ACCESS_KEY_ID`
and the like, and `AWS_ENDPOINT_URL` for a store of one's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from falconer.pipelines.errors import DataError

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)/?(.*)", re.S)
SCHEMES = ("s3", "gs", "abfs", "abfss")
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
WILD = re.compile(r"[*?\[]")
TOKEN = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|.", re.S)
"""Of a pattern: what is wild, and other characters one by one."""
PIECE = 8 * 2**20
"""Bytes that are copied at a time."""
LONGEST = 255
"""Bytes of a file's name."""
CONNECT, ANSWER, TRIES = 5, 60, 3
"""Seconds that a store has to be reached and to answer, and how often it is asked."""

Mark = tuple[int, int]
"""Size and time of change (nanoseconds) of an object."""


@dataclass(frozen=True)
class Address:
    """`scheme://name/key`, whose key may be a pattern."""

    scheme: str
    name: str
    key: str

    @classmethod
    def of(cls, path: str) -> Address | None:
        """None for a path of this machine. Raises `DataError` for an address that nothing reads, or
        that holds a password."""
        if (found := ADDRESS.fullmatch(path)) is None:
            return None
        scheme, name, key = found[1].lower(), found[2], found[3]
        if ":" in name:  # no bucket is called so, and a password may hold a slash before the "@"
            raise DataError(
                f"an address {scheme}://... holds a password, which would be seen wherever the "
                "recipe is: give credentials in the environment (AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY)"
            )
        if scheme not in SCHEMES:
            raise DataError(f"{path}: an address must begin with {', '.join(SCHEMES)} and ://")
        if not name or not key:
            raise DataError(f"{path}: is no address like {scheme}://NAME/KEY")
        return cls(scheme, name, key)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.name}/{self.key}"


@dataclass(frozen=True)
class Store:
    """A bucket or container, and where it is in Arrow's file system."""

    files: Any
    base: str

    @classmethod
    def of(cls, address: Address) -> Store:
        """Reaches nothing yet. Raises `DataError` where the address cannot be."""
        from pyarrow import fs

        if address.scheme == "s3":
            return cls(fs.S3FileSystem(**_s3_options()), address.name)
        with _refusals_named(address):
            files, base = fs.FileSystem.from_uri(f"{address.scheme}://{address.name}")
            if not base.rstrip("/"):
                raise ValueError(
                    "abfs addresses are abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/KEY"
                )
            return cls(files, base.rstrip("/"))

    def objects(self, address: Address) -> dict[str, Mark]:
        """Key -> mark of the objects that a key or pattern means, in order of their keys; an object
        that has the very key is never taken for a pattern. `DataError` where there are none."""
        from pyarrow import fs

        with _refusals_named(address):
            infos = self.files.get_file_info([f"{self.base}/{address.key}"])
            wild = WILD.search(address.key)
            if infos[0].type != fs.FileType.File and wild is not None:
                fixed = address.key[: wild.start()].rpartition("/")[0]
                below = f"{self.base}/{fixed}" if fixed else self.base
                infos = self.files.get_file_info(
                    fs.FileSelector(below, recursive=True, allow_not_found=bool(fixed))
                )
                fits = re.compile(_pattern(address.key), re.S)
                infos = [one for one in infos if fits.fullmatch(self._key(one))]
            found = {
                self._key(one): (int(one.size), int(one.mtime_ns))
                for one in sorted(infos, key=lambda one: str(one.path))
                if one.type == fs.FileType.File
            }
        if not found:
            raise DataError(f"{address}: there is no such object")
        return found

    def _key(self, info: Any) -> str:
        return str(info.path).removeprefix(f"{self.base}/")

    def copy(self, address: Address, size: int, target: Path, stopped: Callable[[], bool]) -> None:
        """Write the object to the file `target`, until `stopped`. Raises `DataError` where that is
        of another size."""
        written = 0
        with (
            _refusals_named(address),
            self.files.open_input_stream(f"{self.base}/{address.key}") as stream,
            target.open("wb") as file,
        ):
            while not stopped() and (piece := stream.read(PIECE)):
                written += file.write(piece)
        if written != size:
            raise changed([str(address)])


def changed(names: list[str]) -> DataError:
    """The refusal of objects that are others than when they were listed."""
    return DataError(
        f"{', '.join(names[:3])}: changed while it was copied; wait until it is whole, then start "
        "again"
    )


def file_of(address: Address, root: Path) -> Path:
    """Where the copy of an object lies below `root`. `DataError` where no file can be called so."""
    parts = [address.scheme, address.name, *address.key.split("/")]
    for part in parts:
        if part in ("", ".", "..") or "\0" in part or len(part.encode()) > LONGEST:
            raise DataError(
                f"{address}: no file can have this name (its part {part[:40]!r}); rename the object"
            )
    return root.joinpath(*parts)


def _s3_options() -> dict[str, Any]:
    from pyarrow import fs

    options: dict[str, Any] = {
        "connect_timeout": CONNECT,
        "request_timeout": ANSWER,
        "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=TRIES),
    }
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        scheme, _, host = endpoint.rpartition("://")
        options |= {"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"}
    return options


@contextmanager
def _refusals_named(address: Address) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException, ValueError, re.error) as error:
        reason = _without_secrets(str(error).splitlines()[0] if str(error) else repr(error))
        raise DataError(f"{address}: cannot be read ({reason})") from None


def _without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    for name in SECRETS:
        if secret := environment.get(name):
            text = text.replace(secret, "***")
    return text


def _pattern(key: str) -> str:
    """A regular expression: `*`, `?` and `[...]` stay within a part of the key, and `**` is any
    number of parts."""
    parts = key.split("/")
    told = [_part(part) + "/" if part != "**" else "(?:[^/]+/)*" for part in parts[:-1]]
    return "".join(told) + ("(?:[^/]+/)*[^/]+" if parts[-1] == "**" else _part(parts[-1]))


def _part(part: str) -> str:
    return "".join(_token(found[0]) for found in TOKEN.finditer(part))


def _token(token: str) -> str:
    if token[0] in "*?":
        return "[^/]*" if token[0] == "*" else "[^/]"
    if len(token) == 1:
        return re.escape(token)
    negated, inner = token[1] == "!", re.sub(r"[\\\[\]&~|^]", r"\\\g<0>", token[1:-1])
    return f"(?!/)[^{inner[1:]}]" if negated else f"(?!/)[{inner}]"
