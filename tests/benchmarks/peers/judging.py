"""Another library's time for what the judging benchmark measures; run by that library's own Python.

    python judging.py LIBRARY INPUT.npz        prints users a second as JSON, best of three

INPUT: users, items float32 factors (for implicit and irspack); lists int32[Q, 100], truth_offsets,
truth_items.
"""

import json
import sys
import time

import numpy as np

K = 100


def ranx(data):
    from ranx import Qrels, Run, evaluate

    lists, offsets, items = data["lists"], data["truth_offsets"], data["truth_items"]
    falling = np.arange(K, 0, -1).tolist()
    run = Run(
        {
            str(q): dict(zip(map(str, row.tolist()), falling, strict=True))
            for q, row in enumerate(lists)
        }
    )
    qrels = Qrels(
        {
            str(q): {str(i): 1 for i in items[offsets[q] : offsets[q + 1]].tolist()}
            for q in range(len(lists))
        }
    )
    names = [
        f"{name}@{k}"
        for name in ("recall", "precision", "hit_rate", "ndcg", "map", "mrr")
        for k in (10, 100)
    ]
    return len(lists), lambda: evaluate(qrels, run, names)


def rectools(data):
    import pandas as pd
    from rectools import Columns
    from rectools.metrics import MAP, MRR, NDCG, HitRate, Precision, Recall, calc_metrics

    lists, offsets, items = data["lists"], data["truth_offsets"], data["truth_items"]
    n = len(lists)
    recos = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(n), K),
            Columns.Item: lists.ravel(),
            Columns.Rank: np.tile(np.arange(1, K + 1), n),
        }
    )
    truth = pd.DataFrame(
        {Columns.User: np.repeat(np.arange(n), np.diff(offsets)), Columns.Item: items}
    )
    metrics = {
        f"{m.__name__}{k}": m(k=k)
        for m in (Recall, Precision, HitRate, NDCG, MAP, MRR)
        for k in (10, 100)
    }
    return n, lambda: calc_metrics(metrics, reco=recos, interactions=truth)


def irspack(data):
    import scipy.sparse as sp
    from irspack import Evaluator
    from irspack.recommenders.base import BaseRecommender

    users, items = data["users"], data["items"]
    n, n_items = len(users), len(items)

    class Given(BaseRecommender, register_class=False):
        def _learn(self):
            return self

        def get_score(self, user_indices):
            return (users[user_indices] @ items.T).astype(np.float64)

        def get_score_block(self, begin, end):
            return (users[begin:end] @ items.T).astype(np.float64)

    train = sp.csr_matrix((n, n_items), dtype=np.float64)
    truth = sp.csr_matrix(
        (np.ones(len(data["truth_items"])), data["truth_items"], data["truth_offsets"]),
        (n, n_items),
    )
    evaluator = Evaluator(truth, offset=0, cutoff=K, n_threads=2)
    model = Given(train)
    return n, lambda: evaluator.get_score(model)


def seconds(job):
    found = []
    for _ in range(3):
        started, cpu = time.perf_counter(), time.process_time()
        job()
        found.append((time.perf_counter() - started, time.process_time() - cpu))
    return min(wall for wall, _ in found), min(cpu for _, cpu in found)


if __name__ == "__main__":
    n, job = {"ranx": ranx, "rectools": rectools, "irspack": irspack}[sys.argv[1]](
        np.load(sys.argv[2])
    )
    wall, cpu = seconds(job)
    print(json.dumps({"users_per_second": n / wall, "cpu_seconds": cpu}))
