"""merlin-models' DLRM, Wide & Deep, or NeuMF of its blocks, trained by its own `fit` on request.

    python merlin_labels.py CONFIG.json

CONFIG.json: model (dlrm, wide_deep or ncf), optimizer, learning_rate, batch_size, dim, bottom, top,
sizes (category -> values), numbers, and rows (a parquet file). Threads come from the environment.
Each line on standard input asks for a round, one pass over the rows, answered with a line of JSON:
samples, seconds, CPU seconds, the loss, the peak memory so far in MB, and the seconds from this
process's start to the end of its first step.
"""

from __future__ import annotations

import time

STARTED = time.perf_counter()

import json  # noqa: E402 (the clock starts first)
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from falconer.pipelines.compat import importing_merlin_models  # noqa: E402
from tests.benchmarks.peers.training_rounds import peak_mb  # noqa: E402

with importing_merlin_models():
    import merlin.models.tf as mm
    import tensorflow as tf
    from merlin.io import Dataset
    from merlin.models.tf.core.aggregation import ElementWiseMultiply
    from merlin.schema import ColumnSchema, Schema, Tags


def schema_of(config: dict[str, Any]) -> Schema:
    """Every category has the ids 1 .. values, and 0 for the unknown."""
    categories = [
        ColumnSchema(
            name,
            dtype=np.int64,
            tags=[Tags.CATEGORICAL],
            properties={"domain": {"min": 0, "max": size, "name": name}},
        )
        for name, size in config["sizes"].items()
    ]
    numbers = [
        ColumnSchema(name, dtype=np.float32, tags=[Tags.CONTINUOUS]) for name in config["numbers"]
    ]
    label = ColumnSchema("label", dtype=np.int64, tags=[Tags.TARGET, Tags.BINARY_CLASSIFICATION])
    return Schema([*categories, *numbers, label])


def loader_of(config: dict[str, Any], schema: Schema) -> mm.Loader:
    """The rows in memory, shuffled anew in each pass."""
    rows = pd.read_parquet(config["rows"], columns=schema.column_names)
    for name in config["sizes"]:
        rows[name] = rows[name].astype(np.int64) + 1
    rows["label"] = rows["label"].astype(np.int64)
    return mm.Loader(Dataset(rows, schema=schema), batch_size=config["batch_size"], shuffle=True)


def dlrm(config: dict[str, Any], schema: Schema) -> Any:
    return mm.DLRMModel(
        schema,
        embedding_dim=config["dim"],
        bottom_block=mm.MLPBlock([*config["bottom"], config["dim"]]),
        top_block=mm.MLPBlock(config["top"]),
        prediction_tasks=mm.BinaryOutput("label"),
    )


def wide_deep(config: dict[str, Any], schema: Schema) -> Any:
    categories = schema.select_by_tag(Tags.CATEGORICAL)
    inputs = schema.excluding_by_name(["label"])
    return mm.WideAndDeepModel(
        schema,
        deep_block=mm.MLPBlock(config["top"]),
        wide_schema=categories,
        deep_schema=inputs,
        wide_preprocess=mm.CategoryEncoding(categories, output_mode="one_hot", sparse=True),
        deep_input_block=mm.InputBlockV2(
            inputs, categorical=mm.Embeddings(categories, dim=config["dim"])
        ),
        prediction_tasks=mm.BinaryOutput("label"),
    )


def ncf(config: dict[str, Any], schema: Schema) -> Any:
    """NeuMF: the product of two vectors beside an MLP over two others."""
    ids = schema.select_by_tag(Tags.CATEGORICAL)
    product = mm.Embeddings(ids, dim=config["dim"], aggregation=ElementWiseMultiply())
    vectors = mm.Embeddings(ids, dim=config["mlp_dim"], aggregation="concat")
    halves = {"gmf": product, "mlp": mm.SequentialBlock([vectors, mm.MLPBlock(config["top"])])}
    body = mm.ParallelBlock(halves, aggregation="concat")
    return mm.Model(body, mm.BinaryOutput("label"), schema=schema)


class FirstStep(tf.keras.callbacks.Callback):
    """Notes when the first step ended, without the time that nothing was asked for."""

    seconds = waited = 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seconds = self.seconds or time.perf_counter() - STARTED - self.waited


def optimizer_of(config: dict[str, Any]) -> Any:
    kind = {"adam": tf.keras.optimizers.Adam, "adagrad": tf.keras.optimizers.Adagrad}[
        config["optimizer"]
    ]
    return kind(config["learning_rate"])


def main(path: Path) -> None:
    """Make the model, then train a round for each line read."""
    config = json.loads(path.read_text())
    answers, sys.stdout = sys.stdout, sys.stderr
    schema = schema_of(config)
    loader = loader_of(config, schema)
    model = {"dlrm": dlrm, "wide_deep": wide_deep, "ncf": ncf}[config["model"]](config, schema)
    model.compile(optimizer=optimizer_of(config), run_eagerly=False, metrics=[])
    model(next(iter(loader))[0])
    parameters = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    print(json.dumps({"parameters": parameters}), file=answers, flush=True)
    first, ready = FirstStep(), time.perf_counter()
    for _ in sys.stdin:
        first.waited = first.waited or time.perf_counter() - ready
        started, cpu = time.perf_counter(), time.process_time()
        history = model.fit(loader, epochs=1, verbose=0, callbacks=[first]).history
        result = {
            "samples": loader.dataset.num_rows,
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu,
            "loss": history["loss"][-1],
            "peak_mb": peak_mb(),
            "first_step": first.seconds,
        }
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
