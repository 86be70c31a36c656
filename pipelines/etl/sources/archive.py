"""Published archives: found near by or downloaded, and read member by member against known
checksums."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from falconer.pipelines.console import say
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.sources.tables import expanded
from falconer.pipelines.files import atomic_file

MIRROR = "FALCONER_DATA_MIRROR"
CACHE = "FALCONER_CACHE"
DOWNLOAD_LIMIT_BYTES = 64 << 20
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Member:
    """A file of an archive, as published."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Archive:
    """A published archive: `folder`/`members` inside a zip file `zip_name`, or the same folder
    unpacked.

    Only `members` are ever read, and only where size and checksum are the published ones. `address`
    is where it can be downloaded, None where it has no public address; then `advice` is a command
    that fetches it, if there is one.
    """

    zip_name: str
    folder: str
    members: Mapping[str, Member]
    address: str | None = None
    advice: str | None = None

    def locate(self, given: Path | None) -> Found:
        """The archive at `given`, else in the folder $FALCONER_DATA_MIRROR, else downloaded (or so
        earlier).

        `given` may be a zip file, the unpacked folder, or the folder that holds either. Raises
        `DataError` where it is not there, or the download fails.
        """
        mirror = os.environ.get(MIRROR)
        if given is None and not mirror:
            return Found(self, self._cached())
        place = expanded(given or str(mirror)).absolute()
        found = Found(self, place) if place.is_file() else self.find_in(place)
        if found is None:
            raise DataError(
                f"{place}: neither {self.zip_name} nor a folder {self.folder} with "
                f"{', '.join(self.members)} is there; "
                "put it there or change "
                f"{'source.path' if given else f'the environment variable {MIRROR}'}"
                + (f"; this fetches it: {self.advice}" if self.advice else "")
            )
        return found

    def find_in(self, folder: Path) -> Found | None:
        """The archive where `folder` is its unpacked folder, or holds that or the zip file; None
        where neither."""
        for unpacked in (folder, folder / self.folder):
            if all((unpacked / member).is_file() for member in self.members):
                return Found(self, unpacked)
        return Found(self, folder / self.zip_name) if (folder / self.zip_name).is_file() else None

    def _target(self) -> Path:
        return expanded(os.environ.get(CACHE) or "~/.cache/falconer") / self.zip_name

    def _cached(self) -> Path:
        if self.address is None:
            raise DataError(
                f"{self.zip_name} has no public address to download from: set the environment "
                f"variable {MIRROR}, or "
                f"source.path, to a folder that holds {self.zip_name} or its unpacked folder "
                f"{self.folder}" + (f"; this fetches it: {self.advice}" if self.advice else "")
            )
        if not self._target().exists():
            download(self.address, self._target())
        return self._target()


@dataclass(frozen=True)
class Found:
    """An archive and the zip file or unpacked folder where it is."""

    archive: Archive
    place: Path

    def files(self) -> dict[str, Path]:
        """Name -> path of every file that reading may read."""
        if self.place.is_file():
            return {self.archive.zip_name: self.place}
        return {
            f"{self.archive.folder}/{member}": self.place / member
            for member in self.archive.members
        }

    def read(self, member: str) -> bytes:
        """The bytes of one member; `DataError` where they are absent, damaged or not the published
        ones."""
        published = self.archive.members[member]
        if self.place.is_file():
            content = _from_zip(self.place, f"{self.archive.folder}/{member}", published.bytes)
        else:
            with (self.place / member).open("rb") as stream:
                content = stream.read(published.bytes + 1)
        if hashlib.sha256(content).hexdigest() != published.sha256:
            source = f" from {self.archive.address}" if self.archive.address else ""
            raise DataError(
                f"{self.place}: {member} is not the published file (its sha256 should be "
                f"{published.sha256}); "
                f"fetch {self.archive.zip_name} again{source}"
            )
        return content


def _from_zip(path: Path, name: str, size: int) -> bytes:
    """One member, and never more than a byte above `size`, whatever the zip file promises."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as stream:
            return stream.read(size + 1)
    except KeyError as error:
        raise DataError(f"{path}: holds no {name}; is it the right archive?") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path}: not a whole zip file ({error}); fetch it again") from error


def download(address: str, target: Path) -> None:
    """Fetch `address` into `target`, which appears when whole.

    Raises `DataError` where the address cannot be reached within 30 s, answers with an error,
    breaks off, or sends more than 64 MiB.
    """
    say(f"downloading {address} to {target}")
    with atomic_file(target) as partial:
        try:
            with (
                urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as response,
                partial.open("wb") as stream,
            ):
                _copy(response, stream, address)
        except (
            urllib.error.URLError,
            http.client.HTTPException,
            TimeoutError,
            ConnectionError,
        ) as error:
            reason = getattr(error, "reason", None) or error
            raise DataError(
                f"{address}: cannot be downloaded ({reason}); fetch it by other means and set "
                "source.path, or the "
                f"environment variable {MIRROR} to the folder that it is in"
            ) from error


def _copy(response: http.client.HTTPResponse, stream: IO[bytes], address: str) -> None:
    total = 0
    while chunk := response.read(1 << 20):
        total += len(chunk)
        if total > DOWNLOAD_LIMIT_BYTES:
            raise DataError(
                f"{address}: sends more than {DOWNLOAD_LIMIT_BYTES >> 20} MiB, which is not the "
                "archive wanted"
            )
        stream.write(chunk)
    promised = response.headers.get("Content-Length")
    if promised and total != int(promised):
        raise DataError(f"{address}: broke off after {total} of {promised} bytes; try again")
