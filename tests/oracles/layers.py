"""What the layers of keras-rs say of fixed inputs: a third opinion beside ours on TensorFlow and on
torch.

    python -m tests.oracles.layers OUT.json        writes what keras-rs says

keras_rs must be importable: `scripts/oracles keras_rs` fetches it, without what it depends on, and
its folder goes on PYTHONPATH.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).resolve().parents[1] / "tensorflow" / "golden" / "keras_rs.json"
N_USERS, N_ITEMS, DIM = 6, 12, 4
N_QUERY, N_ITEM = 2, 3
"""Vectors of a pair's two sides."""
Arrays = dict[str, NDArray[Any]]


def inputs() -> Arrays:
    """vectors  [5, 5, 4]: of 5 pairs, the two of the query before the three of the item
    lengths, items, rows  histories of 3 users, and a table [12, 4]
    counts  events of each item
    scores, batch, place  of 6 users with the 8 items of a batch, one of them twice; where in it
                          each user's own is
    positive, drawn, negatives, answers  scores of 5 answers and of 4 draws each, some of which
                                         are the answer"""
    random = np.random.default_rng(20)

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.normal(size=shape).astype(np.float32)

    lengths = np.array([3, 1, 4])
    return {
        "vectors": normal(5, N_QUERY + N_ITEM, DIM),
        "lengths": lengths,
        "rows": np.repeat(np.arange(3), lengths),
        "items": np.array([0, 5, 7, 2, 1, 5, 8, 11]),
        "table": normal(N_ITEMS, DIM),
        "counts": np.array([5, 4, 3, 4, 5, 6, 4, 3, 5, 4, 4, 5]),
        "place": np.array([0, 1, 2, 3, 4, 5]),
        "batch": np.array([3, 9, 3, 0, 7, 10, 4, 6]),
        "scores": normal(N_USERS, 8),
        "positive": normal(5),
        "drawn": normal(5, 4),
        "answers": np.array([0, 3, 3, 9, 11]),
        "negatives": np.array(
            [[1, 0, 5, 6], [2, 4, 7, 8], [3, 3, 1, 10], [9, 0, 2, 4], [5, 6, 7, 8]]
        ),
    }


def said() -> dict[str, Any]:
    """keras-rs' answers, by layer."""
    from falconer.recsys.backends.tensorflow import tf

    layers = __import__("keras_rs").layers
    given = inputs()
    vectors = tf.unstack(tf.constant(given["vectors"]), axis=1)
    reduced = layers.EmbedReduce(N_ITEMS, DIM, combiner="sqrtn")
    reduced.build((None, None))
    reduced.embeddings.assign(given["table"])
    histories = tf.RaggedTensor.from_row_lengths(given["items"], given["lengths"])
    chance = (given["counts"] / given["counts"].sum()).astype(np.float32)

    correct = layers.SamplingProbabilityCorrection()

    def entropy(own: Any, others: Any, chances: Any) -> float:
        """Of the own score among the others, which are corrected."""
        logits = tf.concat([[own], correct(others, chances)], 0)
        return float(tf.nn.sparse_softmax_cross_entropy_with_logits(0, logits))

    def mean_entropy(own: Any, others: Any, items: Any, answers: Any, drawn: int) -> float:
        """Of rows whose others were `drawn` so often, without those that are the answer itself.

        `RemoveAccidentalHits` of 0.4.0 removes none: it adds the smallest float, which is nearly
        0, where the lowest is meant.
        """
        rows = zip(own, others, items, answers, strict=True)
        return float(
            np.mean([entropy(o, x[i != a], chance[i[i != a]] * drawn) for o, x, i, a in rows])
        )

    scores, batch, place = given["scores"], given["batch"], given["place"]
    return {
        "DotInteraction": np.asarray(layers.DotInteraction()(vectors)).tolist(),
        "EmbedReduce": np.asarray(reduced(histories)).tolist(),
        "in-batch softmax": mean_entropy(
            scores[np.arange(N_USERS), place],
            scores,
            np.tile(batch, (N_USERS, 1)),
            batch[place],
            len(batch) - 1,
        ),
        "sampled softmax": mean_entropy(
            given["positive"],
            given["drawn"],
            given["negatives"],
            given["answers"],
            given["drawn"].shape[1],
        ),
    }


def main(path: Path) -> None:
    """Write the answers and the library's version."""
    record = {"version": importlib.metadata.version("keras-rs"), "said": said()}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
