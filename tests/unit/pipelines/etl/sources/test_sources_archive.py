"""Published archives: found in each place, checked member by member, and downloaded whole or not at
all."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.sources import archive as module
from falconer.pipelines.etl.sources.archive import Archive, Member

CONTENT = b"1::2\n" * 100
MEMBER = Member(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def tiny(address: str | None = None) -> Archive:
    return Archive(
        zip_name="tiny.zip", folder="tiny", members={"data.txt": MEMBER}, address=address
    )


def write_zip(path: Path, content: bytes = CONTENT, name: str = "tiny/data.txt") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as stream:
        stream.writestr(name, content)
        stream.writestr("../../outside.txt", "never read")
    return path


def write_folder(folder: Path, content: bytes = CONTENT) -> Path:
    folder.mkdir(parents=True)
    (folder / "data.txt").write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def no_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.MIRROR, raising=False)
    monkeypatch.setenv(module.CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("way", ["exact", "holder", "mirror"])
def test_every_place_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool, way: str
) -> None:
    place = write_zip(tmp_path / "tiny.zip") if packed else write_folder(tmp_path / "tiny")
    if way == "mirror":
        monkeypatch.setenv(module.MIRROR, str(tmp_path))
    found = tiny().locate({"exact": place, "holder": tmp_path, "mirror": None}[way])
    assert found.place == place
    assert found.read("data.txt") == CONTENT
    assert list(found.files()) == (["tiny.zip"] if packed else ["tiny/data.txt"])
    assert all(path.is_file() for path in found.files().values())


def test_a_zip_file_of_another_name_will_do(tmp_path: Path) -> None:
    assert tiny().locate(write_zip(tmp_path / "copy.zip")).read("data.txt") == CONTENT


def test_a_folder_that_lacks_it_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        DataError, match=r"neither tiny\.zip nor a folder tiny with data\.txt.*change source\.path"
    ):
        tiny().locate(tmp_path)
    monkeypatch.setenv(module.MIRROR, str(tmp_path / "gone"))
    with pytest.raises(DataError, match=f"change the environment variable {module.MIRROR}"):
        tiny().locate(None)


@pytest.mark.parametrize(
    "content", [CONTENT[:-1], CONTENT[:-1] + b"x", CONTENT + b"x", CONTENT * 1000]
)
@pytest.mark.parametrize("packed", [True, False])
def test_other_content_than_the_published_is_refused(
    tmp_path: Path, packed: bool, content: bytes
) -> None:
    if packed:
        write_zip(tmp_path / "tiny.zip", content)
    else:
        write_folder(tmp_path / "tiny", content)
    with pytest.raises(DataError, match=r"data\.txt is not the published file"):
        tiny().locate(tmp_path).read("data.txt")


@pytest.mark.parametrize("damage", ["cut", "zeros", "text", "other"])
def test_a_damaged_zip_file_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    path = write_zip(
        tmp_path / "tiny.zip", name="else/data.txt" if damage == "other" else "tiny/data.txt"
    )
    whole = path.read_bytes()
    contents = {
        "cut": whole[:-30],
        "zeros": whole[:50] + bytes(10) + whole[60:],
        "text": b"hello",
        "other": whole,
    }
    path.write_bytes(contents[damage])
    with pytest.raises(
        DataError, match=r"tiny\.zip: (not a whole zip file|holds no tiny/data\.txt)"
    ):
        tiny().locate(path).read("data.txt")


class Handler(BaseHTTPRequestHandler):
    """Serves `body` at /tiny.zip, promising `promised` bytes."""

    body = b""
    promised = 0
    requests = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        if self.path != "/tiny.zip":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(self.promised))
        self.end_headers()
        self.wfile.write(self.body)

    def log_request(self, *args: object) -> None:
        pass

    def log_error(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    Handler.body = write_zip(tmp_path / "served.zip").read_bytes()
    Handler.promised = len(Handler.body)
    Handler.requests = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def cached(tmp_path: Path) -> list[str]:
    folder = tmp_path / "cache"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_download_is_kept_and_not_repeated(tmp_path: Path, server: str) -> None:
    archive = tiny(f"{server}/tiny.zip")
    assert archive.locate(None).read("data.txt") == CONTENT
    assert archive.locate(None).read("data.txt") == CONTENT
    assert Handler.requests == 1
    assert cached(tmp_path) == ["tiny.zip"]


@pytest.mark.parametrize("fault", ["absent", "cut", "large", "refused"])
def test_a_failed_download_leaves_nothing_and_says_what_to_do(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    address = {"absent": f"{server}/gone.zip", "refused": "http://127.0.0.1:1/tiny.zip"}.get(
        fault, f"{server}/tiny.zip"
    )
    if fault == "cut":
        Handler.promised += 10
    if fault == "large":
        monkeypatch.setattr(module, "DOWNLOAD_LIMIT_BYTES", 100)
    remedy = {"cut": "broke off after", "large": "sends more than"}.get(
        fault, f"cannot be downloaded .*{module.MIRROR}"
    )
    with pytest.raises(DataError, match=remedy):
        tiny(address).locate(None)
    assert cached(tmp_path) == []


def test_without_a_public_address_the_message_says_what_to_set() -> None:
    with pytest.raises(DataError, match=rf"no public address.*{module.MIRROR}.*holds tiny\.zip"):
        tiny().locate(None)
