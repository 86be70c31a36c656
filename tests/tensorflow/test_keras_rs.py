"""Layers and losses beside those of keras-rs: what it said of fixed inputs is kept in
`golden/keras_rs.json`.

The slow test asks the library itself (`make rosetta`), and with FALCONER_ACCEPT=1 records what it
says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from falconer.recsys.backends.tensorflow import tf
from falconer.recsys.backends.tensorflow.interaction import PairwiseProducts
from falconer.recsys.backends.tensorflow.sequences import SequenceNetwork
from falconer.recsys.backends.torch.sequences.scorer import SequenceModel
from falconer.recsys.models.dlrm.on_tensorflow import between
from falconer.recsys.models.ncf.on_tensorflow.tasks import SoftmaxNetwork
from falconer.recsys.models.ncf.on_torch.network import Ncf
from falconer.recsys.models.vae_cf.on_tensorflow import VaeCfNetwork
from falconer.recsys.models.vae_cf.on_torch import VaeCf
from tests.oracles.layers import DIM, GOLDEN, N_ITEM, N_ITEMS, N_QUERY, N_USERS, inputs
from tests.support.twins import config_of

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "build" / "oracles" / "keras_rs"


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    return dict(json.loads(GOLDEN.read_text(encoding="utf-8"))["said"])


def pairs_of(first: int, n: int) -> list[tuple[int, int]]:
    """In the order of the products of n vectors, of which the first has this number."""
    return list(combinations(range(first, first + n), 2))


def test_the_products_of_dlrm_are_those_of_dot_interaction(said: dict[str, Any]) -> None:
    vectors = tf.constant(inputs()["vectors"])
    query, item = vectors[:, :N_QUERY], vectors[:, N_QUERY:]
    of_query, of_item = PairwiseProducts(N_QUERY)(query), PairwiseProducts(N_ITEM)(item)
    ours = tf.concat([of_query, of_item, between(query, item)], 1).numpy()
    order = [
        *pairs_of(0, N_QUERY),
        *pairs_of(N_QUERY, N_ITEM),
        *((q, N_QUERY + i) for i in range(N_ITEM) for q in range(N_QUERY)),
    ]
    theirs = [(low, high) for high in range(N_QUERY + N_ITEM) for low in range(high)]
    assert sorted(order) == sorted(theirs)
    places = [order.index(pair) for pair in theirs]
    np.testing.assert_allclose(ours[:, places], said["DotInteraction"], rtol=1e-5, atol=1e-6)


def test_the_first_layer_of_vae_cf_is_embed_reduce(said: dict[str, Any]) -> None:
    given, config = inputs(), config_of("vae_cf", {"hidden": [DIM]})
    network = VaeCfNetwork(VaeCf(N_ITEMS, config), config)  # type: ignore[arg-type]
    network.weights["input"].write(given["table"])
    batch = {name: tf.constant(given[name]) for name in ("items", "rows", "lengths")}
    ours = network.first_layer(batch, None)
    np.testing.assert_allclose(ours.numpy(), said["EmbedReduce"], rtol=1e-5, atol=1e-6)


def test_the_softmax_over_a_batch_is_that_of_its_corrections(
    said: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = inputs()
    config: Any = config_of("ncf", {"variant": "gmf", "loss": "in_batch", "l2": 0.0})
    task: Any = SimpleNamespace(model=Ncf(N_USERS, N_ITEMS, config), popularity=given["counts"])
    network = SoftmaxNetwork(task, config)
    monkeypatch.setattr(network, "among", lambda batch: tf.constant(given["scores"]))
    batch = {"items": tf.constant(given["batch"]), "place": tf.constant(given["place"])}
    ours = float(network.loss(batch, None))
    assert ours == pytest.approx(said["in-batch softmax"], rel=1e-5)


def test_the_sampled_softmax_is_that_of_its_corrections(said: dict[str, Any]) -> None:
    given = inputs()
    knobs = {"loss": "sampled_softmax", "negative_alpha": 1.0}
    config: Any = config_of("sasrec", knobs)
    twin = SequenceModel(N_ITEMS, config, mask=None)
    network = SequenceNetwork(twin, torch.tensor(given["counts"]), config)
    negatives = tf.constant(given["negatives"])
    hits = negatives == tf.constant(given["answers"])[:, None]
    ours = network.sampled(
        tf.constant(given["positive"]), tf.constant(given["drawn"]), negatives, hits
    )
    assert float(ours) == pytest.approx(said["sampled softmax"], rel=1e-5)


@pytest.mark.slow
def test_it_still_says_so(tmp_path: Path) -> None:
    found = sorted(LIBRARY.glob("lib/python*/site-packages"))
    if not found:
        pytest.skip(f"needs {LIBRARY.relative_to(ROOT)}, which `make oracles` makes")
    path = os.pathsep.join([str(ROOT), str(found[0])])
    record = GOLDEN if os.environ.get("FALCONER_ACCEPT") == "1" else tmp_path / "keras_rs.json"
    command = [sys.executable, "-m", "tests.oracles.layers", str(record)]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": path})
    now, kept = (json.loads(one.read_text(encoding="utf-8")) for one in (record, GOLDEN))
    assert now["version"] == kept["version"]
    for name, values in kept["said"].items():
        np.testing.assert_allclose(now["said"][name], values, rtol=1e-5, atol=1e-6)
