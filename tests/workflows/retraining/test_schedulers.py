"""The guide's lines for other schedulers: each is run as its scheduler would, without a person's
shell around it."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from croniter import croniter

from falconer.pipelines.files import read_json
from tests.support import orders

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "retraining.md"
SHOP = """name = "shop"
start = 2023-12-05
[data]
recipe = "orders.toml"
[models]
challengers = ["personal_popularity"]
"""


def line_of(scheduler: str) -> str:
    """The first code of a scheduler's row."""
    found = re.search(rf"^\| {scheduler} \| `([^`]+)`", text(), re.M)
    assert found, scheduler
    return found[1]


def file_of(name: str) -> str:
    """The block of the guide whose first line names this file."""
    found = re.search(rf"^```[a-z]+\n# {re.escape(name)}\n(.*?)^```$", text(), re.M | re.S)
    assert found, name
    return found[1]


def text() -> str:
    return GUIDE.read_text(encoding="utf-8")


def cron() -> list[str]:
    line = line_of("cron").split(maxsplit=5)
    assert croniter.is_valid(" ".join(line[:5]))
    return ["/bin/sh", "-c", line[5]]


def systemd() -> list[str]:
    return shlex.split(line_of("systemd timer").removeprefix("ExecStart="))


def kubernetes() -> list[str]:
    command: list[str] = json.loads(line_of("Kubernetes CronJob").removeprefix("command: "))
    return command


def airflow() -> list[str]:
    call = ast.parse(line_of("Airflow"), mode="eval").body
    assert isinstance(call, ast.Call)
    values = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
    return ["bash", "-c", values["bash_command"]]


def test_the_units_say_what_the_line_does() -> None:
    units = file_of("retrain-shop.service")
    assert line_of("systemd timer") in units.splitlines()
    row = re.search(r"^\| systemd timer .*$", text(), re.M)
    assert row
    for setting in ("WorkingDirectory=/srv/shop", "OnCalendar=Mon 03:00 UTC"):
        assert setting in units.splitlines()
        assert f"`{setting}`" in row[0]


def test_the_cron_job_says_what_the_line_does() -> None:
    job = yaml.safe_load(file_of("retrain-shop.yaml"))
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    assert croniter.is_valid(job["spec"]["schedule"])
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,), (volume,) = pod["containers"], pod["volumes"]
    assert container["command"] == kubernetes()
    assert container["volumeMounts"] == [
        {"name": volume["name"], "mountPath": container["workingDir"]}
    ]


def test_the_dag_says_what_the_line_does() -> None:
    dag = ast.parse(file_of("retrain_shop.py"))
    line = ast.parse(line_of("Airflow")).body[0]
    assert ast.unparse(line) in [ast.unparse(node) for node in ast.walk(dag)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the guide has in /srv/shop; its orders ended long ago."""
    folder = tmp_path_factory.mktemp("schedulers") / "srv" / "shop"
    orders.write(folder, n=300)
    (folder / "shop.toml").write_text(SHOP)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "falconer").symlink_to(Path(sys.executable).with_name("falconer"))
    return folder


@pytest.mark.parametrize("scheduler", [cron, systemd, kubernetes, airflow])
def test_a_scheduler_retrains_with_its_line(scheduler: object, shop: Path, tmp_path: Path) -> None:
    assert callable(scheduler)
    command = [part.replace("/srv/shop", str(shop)) for part in scheduler()]
    away = scheduler in (cron, airflow)
    path = f"{shop / '.venv' / 'bin'}:/usr/bin:/bin" if scheduler is kubernetes else "/usr/bin:/bin"
    found = subprocess.run(
        command if scheduler is not kubernetes else ["/usr/bin/env", *command],
        cwd=tmp_path if away else shop,
        env={"PATH": path, "HOME": str(tmp_path), "FALCONER_TRACKING": "off"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert ": refused: 0 events" in found.stdout.splitlines()[-1]
    (window,) = (shop / "retraining" / "windows" / "shop").iterdir()
    assert read_json(window / "decision.json")["outcome"] == "refused"
