"""A window whose process is killed ends like one that was left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from falconer.pipelines.files import checksums

RETRAIN = ["-P", "-m", "falconer.workflows.cli", "retrain", "shop.toml", "--window", "2023-12-05"]
ORDERS = """name = "orders"
[source]
kind = "files"
events = "orders.csv"
columns = { user = "customer", item = "sku", time = "bought_at" }
[split]
protocol = "temporal"
"""
SHOP = """name = "shop"
start = 2023-12-05
[data]
recipe = "orders.toml"
valid_days = 3
[models]
challengers = ["personal_popularity"]
[recommend]
k = 5
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    rng = np.random.default_rng(0)
    users = rng.integers(0, 200, 6000)
    items = (rng.random(6000) ** 2 * 25).astype(int) * 2 + users % 2
    times = 1_700_000_000 + 500 * np.arange(6000)
    lines = [f"c{u},s{i},{t}" for u, i, t in zip(users, items, times, strict=True)]
    (folder / "orders.csv").write_text("customer,sku,bought_at\n" + "\n".join(lines) + "\n")
    (folder / "orders.toml").write_text(ORDERS)
    (folder / "shop.toml").write_text(SHOP)
    key = folder / "retraining" / "registry" / "shop" / "key"
    key.parent.mkdir(parents=True)
    key.write_bytes(bytes(32))
    key.chmod(0o600)
    return folder


def retrain(folder: Path, *, kill_at: str | None = None) -> int:
    """Run the window, or kill it as soon as it prints this; returns how it ended."""
    command = [sys.executable, *RETRAIN]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if kill_at and kill_at in line:
                process.send_signal(signal.SIGKILL)
    return process.returncode


def decision(folder: Path) -> dict[str, object]:
    path = folder / "retraining" / "windows" / "shop" / "2023-12-05" / "decision.json"
    return dict(json.loads(path.read_text()))


def lists(folder: Path) -> dict[str, str]:
    return checksums(folder / "retraining" / "recommendations" / "shop" / "latest")


@pytest.mark.timeout(900)  # half a minute of work in six processes, on whatever is free
def test_killed_anywhere_it_ends_with_the_same_decision(shop: Path, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(shop, undisturbed)
    assert retrain(undisturbed) == 0
    for place in ("build", "train popularity", "judge random", "recommend"):
        assert retrain(shop, kill_at=f": {place}") == -signal.SIGKILL
    assert retrain(shop) == 0
    assert decision(shop) == decision(undisturbed)
    assert lists(shop) == lists(undisturbed), "what came behind the decision is made up for"
    runs = [path.name.split("-")[1] for path in (shop / "retraining/runs/shop").glob("*-*")]
    assert sorted(runs) == ["personal_popularity", "popularity"], "each was trained once"
