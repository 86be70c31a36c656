"""Sources in an object store: what they hold is what the same files of this machine hold."""

from __future__ import annotations

import logging
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pyarrow import fs
from typer.testing import CliRunner
from werkzeug.serving import make_server

from falconer.pipelines.cli import app
from falconer.pipelines.config import parse
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.errors import DataError
from falconer.pipelines.etl.append import append, append_since
from falconer.pipelines.etl.at_hand import at_hand
from falconer.pipelines.etl.build import build
from falconer.pipelines.etl.profile import profile
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.sources import stores
from falconer.pipelines.etl.sources.stores import Address, Store
from tests.support import shop

SECRET = "not-to-be-seen-5f2c"
FIRST = datetime.fromtimestamp(shop.START, UTC).date()
TEMPORAL = {"protocol": "temporal", "test_days": 1, "valid_days": 0}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a store on this machine."""
    from moto.server import DomainDispatcherApplication, create_backend_app

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = DomainDispatcherApplication(create_backend_app)
    served = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """An empty bucket as Arrow's file system, and what a user would set."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    options = stores._s3_options() | {"allow_bucket_creation": True}
    files = fs.S3FileSystem(**options)
    files.create_dir(name := re.sub(r"[^a-z]+", "-", request.node.name)[-50:].strip("-"))
    return fs.SubTreeFileSystem(name, files)


def put(bucket: Any, folder: Path) -> str:
    """Copy a folder into the bucket; returns the bucket's address."""
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        with bucket.open_output_stream(path.relative_to(folder).as_posix()) as stream:
            stream.write(path.read_bytes())
    return f"s3://{bucket.base_path.strip('/')}"


def recipe(place: str, **changes: Any) -> EtlRecipe:
    """The shop's recipe over files in a folder or a bucket."""
    source = {
        "kind": "files",
        "events": f"{place}/day=*/part.parquet",
        "columns": {"user": "customer", "item": "sku", "time": "at"},
        "partition": "day",
        "users": {"path": f"{place}/users.parquet", "key": "customer"},
        "items": {"path": f"{place}/items.parquet", "key": "sku", "label": "name"},
        **changes.pop("source", {}),
    }
    features = {"engine": "polars", **shop.FEATURES}
    values = {"name": "shop", "source": source, "split": TEMPORAL, "features": features}
    return parse(EtlRecipe, values | changes, "a test's recipe")


def write_days(folder: Path, days: range) -> Path:
    events = shop.events(800, n_users=30).sort("at")
    day = (pl.col("at") - shop.START) // shop.DAY
    for number in days:
        path = folder / f"day={FIRST + timedelta(days=number)}"
        path.mkdir(parents=True, exist_ok=True)
        events.filter(day == number).write_parquet(path / "part.parquet")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = shop.write(tmp_path / "shop", shop.events(10))
    (folder / "events.parquet").unlink()
    return write_days(folder, range(10))


def test_a_dataset_of_a_bucket_is_that_of_the_same_files(
    bucket: Any, folder: Path, tmp_path: Path
) -> None:
    here = build(recipe(str(folder)), tmp_path / "here")
    there = build(recipe(put(bucket, folder)), tmp_path / "there")
    assert Dataset.open(there).card.model_dump() == Dataset.open(here).card.model_dump()
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["shop"]
    assert not any(SECRET in path.read_text("latin-1") for path in there.rglob("*.json"))


def test_a_day_is_appended_and_of_earlier_days_no_byte_is_fetched(
    bucket: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = put(bucket, folder)
    first = build(recipe(place), tmp_path / "out")
    put(bucket, write_days(tmp_path / "more", range(10, 11)))
    write_days(folder, range(10, 11))
    capsys.readouterr()
    day = FIRST + timedelta(days=10)
    second = append_since(recipe(place), day, tmp_path / "out")
    new = (folder / f"day={day}" / "part.parquet").stat().st_size
    assert f"fetch   1 objects, {new:,} bytes of {place}/day=*" in capsys.readouterr().out
    build(recipe(str(folder)), tmp_path / "local")
    local = build(recipe(str(folder), extends=str(first)), tmp_path / "full")
    assert pl.DataFrame(Dataset.open(second).train).equals(pl.DataFrame(Dataset.open(local).train))
    with bucket.open_output_stream(f"day={FIRST}/part.parquet") as stream:
        stream.write(b"other")
    with pytest.raises(DataError, match="was read already and is another one now"):
        append(recipe(place), first, tmp_path / "out")


KEYS = {
    "a.csv": ["a.csv"],
    "*.csv": ["a.csv", "b[1].csv"],
    "b[1].csv": ["b[1].csv"],
    "[!b].csv": ["a.csv"],
    "?.csv": ["a.csv"],
    "day=*/é *.csv": ["day=1/é x.csv", "day=2/é y.csv"],
    "day=1/*": ["day=1/é x.csv"],
    "**/*.csv": ["a.csv", "b[1].csv", "day=1/é x.csv", "day=2/deep/z.csv", "day=2/é y.csv"],
    "day=2/**": ["day=2/deep/z.csv", "day=2/é y.csv"],
}


def test_patterns_mean_what_they_mean_among_files(bucket: Any, tmp_path: Path) -> None:
    for key in KEYS["**/*.csv"]:
        path = tmp_path / "files" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(key)
    place = put(bucket, tmp_path / "files")
    for pattern, wanted in KEYS.items():
        address = Address.of(f"{place}/{pattern}")
        assert address is not None
        assert list(Store.of(address).objects(address)) == wanted, pattern


def test_many_objects_are_read_in_the_order_of_their_names(bucket: Any, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for number in range(12):
        (files / f"{number:02}.csv").write_text(f"who,what\nu{number % 9},i{number % 7}\n")
    source = {"kind": "files", "columns": {"user": "who", "item": "what"}}
    split = {"protocol": "random", "seed": 1}
    made = []
    for place in (str(files), put(bucket, files)):
        values = {"name": "n", "source": {**source, "events": f"{place}/*.csv"}, "split": split}
        made.append(build(parse(EtlRecipe, values, "a test's recipe"), tmp_path / place[:2]))
    assert made[0].name == made[1].name


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (
            "s3://absent/*.csv",
            "s3://absent/*.csv: cannot be read (.*AWS Error NO_SUCH_",
        ),
        ("s3://absent/a.csv", "s3://absent/a.csv: there is no such object"),
        ("s3://BUCKET/none/*.csv", "s3://BUCKET/none/*.csv: there is no such object"),
        ("s3://BUCKET/[z-a].csv", "s3://BUCKET/[z-a].csv: cannot be read (bad character range"),
        ("s3://BUCKET", "s3://BUCKET: is no address like s3://NAME/KEY"),
        ("http://BUCKET/a.csv", "http://BUCKET/a.csv: an address must begin with s3, gs, "),
        ("s3://tester:hush-7@BUCKET/a.csv", "an address s3://... holds a password"),
        ("s3://tester:hush/7@BUCKET/a.csv", "an address s3://... holds a password"),
        ("s3://BUCKET/a//b.csv", "s3://BUCKET/a//b.csv: cannot be read (Empty path component"),
        ("s3://BUCKET/up/../../b.csv", "s3://BUCKET/up/../../b.csv: "),
    ],
    ids=[
        *("bucket", "bucket of a key", "pattern", "range", "no key", "kind"),
        *("password", "password with a slash", "empty", "above"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    bucket: Any, tmp_path: Path, events: str, told: str
) -> None:
    name = bucket.base_path.strip("/")
    (tmp_path / "r.toml").write_text(
        f'name = "n"\n[source]\nkind = "files"\nevents = "{events.replace("BUCKET", name)}"\n'
        'columns = { user = "u", item = "i" }\n[split]\nprotocol = "leave_last"\n'
    )
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["etl", str(tmp_path / "r.toml"), "--out", str(out)])
    assert isinstance(done.exception, DataError)
    pattern = ".*".join(map(re.escape, told.replace("BUCKET", name).split(".*")))
    assert re.match(pattern, str(done.exception)), str(done.exception)
    assert "\n" not in str(done.exception)
    assert SECRET not in str(done.exception)
    assert "hush" not in str(done.exception)
    assert not out.exists() or not any(out.iterdir())


def test_who_may_not_read_is_told_so_in_one_line(
    bucket: Any, server: str, folder: Path, tmp_path: Path
) -> None:
    place = put(bucket, folder)
    _ask(f"{server}/moto-api/reset-auth", b"0")
    try:
        with pytest.raises(DataError) as refused:
            build(recipe(place), tmp_path / "out")
    finally:
        _ask(f"{server}/moto-api/reset-auth", b"Infinity")
    told = str(refused.value)
    assert told.startswith(f"{place}/day=*/part.parquet: cannot be read (")
    assert "\n" not in told
    assert SECRET not in told
    assert not any((tmp_path / "out").iterdir())


def _ask(address: str, body: bytes) -> None:
    with urllib.request.urlopen(
        urllib.request.Request(address, body, {"Content-Type": "text/plain"}), timeout=30
    ) as answer:
        assert answer.status == 200


def test_a_store_that_does_not_answer_is_one_line(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(stores, "TRIES", 1)
    with pytest.raises(DataError, match=r"cannot be read \(.*NETWORK_CONNECTION.*\)$"):
        build(recipe("s3://shop"), tmp_path)


def test_what_changes_while_it_is_copied_is_refused(
    bucket: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = put(bucket, folder)
    copy = Store.copy

    def copy_and_change(self: Store, *asked: Any) -> None:
        copy(self, *asked)
        put(bucket, write_days(tmp_path / "more", range(11, 12)))

    monkeypatch.setattr(Store, "copy", copy_and_change)
    with pytest.raises(DataError, match=rf"^{place}/day=\S+part.parquet: changed while it was"):
        build(recipe(place), tmp_path / "out")


def test_one_copy_that_fails_stops_the_others(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, begun, copied = tmp_path / "files", threading.Event(), list[str]()
    files.mkdir()
    for name in ("a", "b"):
        (files / f"{name}.csv").write_text("u,i\nx,y\n")
    place = put(bucket, files)

    def fail_or_go_on(
        self: Store, address: Address, size: int, target: Path, stopped: Callable[[], bool]
    ) -> None:
        if address.key == "b.csv":
            begun.wait(30)
            raise DataError("the second is broken")
        begun.set()
        for _ in range(3000):
            if stopped():
                return
            time.sleep(0.01)
        copied.append(address.key)

    monkeypatch.setattr(Store, "copy", fail_or_go_on)
    columns = {"user": "u", "item": "i"}
    source = {"kind": "files", "events": f"{place}/*.csv", "columns": columns}
    split = {"protocol": "random", "seed": 1}
    asked = parse(EtlRecipe, {"name": "n", "source": source, "split": split}, "a test's recipe")
    with pytest.raises(DataError, match="the second is broken"):
        build(asked, tmp_path / "out")
    assert not copied


def test_errors_name_the_address_and_not_the_copy(
    bucket: Any, folder: Path, tmp_path: Path
) -> None:
    (folder / "day=2020-09-14" / "part.parquet").write_bytes(b"PAR1 and no more")
    place = put(bucket, folder)
    with pytest.raises(DataError, match=f"^{place}/day=2020-09-14/part.parquet: not a whole"):
        build(recipe(place), tmp_path / "out")


def test_a_recipe_of_this_machine_is_left_alone_and_loads_no_store(folder: Path) -> None:
    plain = recipe(str(folder))
    with at_hand(plain) as local:
        assert local is plain


@pytest.mark.parametrize(
    "address", ["gs://box/a.csv", "abfs://box@account.dfs.core.windows.net/a.csv"]
)
def test_other_stores_have_a_file_system(address: str) -> None:
    found = Address.of(address)
    assert found is not None
    assert Store.of(found).base == "box"


def test_a_profile_names_the_address_of_rows_that_it_refuses(bucket: Any, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "e.csv").write_text("u,i,t\na,x,1\nb,y,no time\n")
    place = put(bucket, tmp_path / "files")
    columns = {"user": "u", "item": "i", "time": "t"}
    source = {"kind": "files", "events": f"{place}/e.csv", "columns": columns}
    asked = parse(EtlRecipe, {"name": "n", "source": source, "split": TEMPORAL}, "a test's recipe")
    with pytest.raises(DataError, match=f"in {place}/e.csv, row 1 "):
        profile(asked, FIRST, FIRST + timedelta(days=1))
