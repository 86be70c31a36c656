"""What a library says about cases: run by the library's own interpreter, which has nothing of this
project.

    build/oracles/ranx/bin/python tests/oracles/answers.py ranx CASES.json ANSWERS.json

ANSWERS.json: {"library", "version", "values": {metric: [a number a case; null = NaN; "error" = it
refused]}}. A truth is given as each library wants it: a table of events where that is its form, so
that a user without a relevant item is not in it. Scores fall along a list, so that no library meets
a tie.
"""

import contextlib
import importlib.metadata
import json
import math
import os
import pathlib
import sys
import warnings
from collections import Counter


def ranx(case):
    from ranx import Qrels, Run, evaluate

    k = case["k"]
    qrels, run = {}, {}
    for user, (listed, relevant) in enumerate(zip(case["lists"], case["truth"], strict=True)):
        if relevant:
            qrels[f"u{user}"] = {f"i{item}": 1 for item in relevant}
            run[f"u{user}"] = {
                f"i{item}": float(len(listed) - place) for place, item in enumerate(listed)
            }
    names = ["ndcg", "precision", "recall", "hit_rate", "mrr", "map"]
    found = evaluate(Qrels(qrels), Run(run), [f"{name}@{k}" for name in names] + ["r-precision"])
    return {name: found[f"{name}@{k}"] for name in names} | {"r-precision": found["r-precision"]}


def rectools(case):
    import pandas as pd
    from rectools import metrics as theirs
    from rectools.metrics import (
        MAP,
        MRR,
        NDCG,
        CatalogCoverage,
        HitRate,
        Precision,
        Recall,
        calc_metrics,
    )

    k = case["k"]
    reco = pd.DataFrame(
        [(u, i, r + 1) for u, row in enumerate(case["lists"]) for r, i in enumerate(row)],
        columns=["user_id", "item_id", "rank"],
    )
    truth = pd.DataFrame(
        [(u, i) for u, row in enumerate(case["truth"]) for i in row], columns=["user_id", "item_id"]
    )
    metrics = {
        "Precision": Precision(k),
        "Precision(r_precision=True)": Precision(k, r_precision=True),
        "Recall": Recall(k),
        "HitRate": HitRate(k),
        "MRR": MRR(k),
        "MAP": MAP(k),
        "MAP(divide_by_k=True)": MAP(k, divide_by_k=True),
        "NDCG": NDCG(k),
        "NDCG(divide_by_achievable=True)": NDCG(k, divide_by_achievable=True),
        "CatalogCoverage(normalize=True)": CatalogCoverage(k, normalize=True),
        "AvgRecPopularity": theirs.AvgRecPopularity(k),
        "MeanInvUserFreq": theirs.MeanInvUserFreq(k),
    }
    train = pd.DataFrame(
        [(u, i) for u, row in enumerate(case["train"]) for i in row], columns=["user_id", "item_id"]
    )
    return dict(calc_metrics(metrics, reco, truth, train, catalog=list(range(case["n_items"]))))


def lenskit(case):
    import numpy as np
    from lenskit.data import ItemList
    from lenskit.metrics import DCG, NDCG, Hit, Precision, Recall, RecipRank
    from lenskit.metrics.ranking import AveragePrecision, ListGini, LogRankWeight

    k = case["k"]
    lists = [ItemList(item_ids=np.array(row, np.int64), ordered=True) for row in case["lists"]]
    truths = [ItemList(item_ids=np.array(row, np.int64)) for row in case["truth"]]
    metrics = {
        "Precision": Precision(k),
        "Recall": Recall(k),
        "Hit": Hit(k),
        "RecipRank": RecipRank(k),
        "AveragePrecision": AveragePrecision(k),
        "NDCG": NDCG(k),
        "NDCG(weight=LogRankWeight(offset=1))": NDCG(k, weight=LogRankWeight(offset=1)),
        "DCG(weight=LogRankWeight(offset=1))": DCG(k, weight=LogRankWeight(offset=1)),
    }
    judged = [(one, truth) for one, truth in zip(lists, truths, strict=True) if len(truth)]
    found = {}
    for name, metric in metrics.items():
        values = [metric.measure_list(one, truth) for one, truth in judged]
        found[name] = np.nanmean(values) if not np.isnan(values).all() else math.nan
    gini = ListGini(k, items=case["n_items"])
    found["ListGini"] = gini.global_aggregate(
        [gini.compute_list_data(one, None) for one in lists if len(one)]
    )
    return found


def recbole(case):
    import numpy as np
    import torch

    for name, kind in (("float", float), ("bool", bool), ("int", int)):
        if name not in np.__dict__:
            setattr(
                np, name, kind
            )  # RecBole 1.2.1 was written for an older NumPy; its own start does the same
    from recbole.evaluator.metrics import (
        MAP,
        MRR,
        NDCG,
        AveragePopularity,
        GiniIndex,
        Hit,
        ItemCoverage,
        Precision,
        Recall,
        ShannonEntropy,
    )

    k = case["k"]
    config = {"metric_decimal_place": 15, "topk": [k]}
    judged = [
        (one[:k], set(truth))
        for one, truth in zip(case["lists"], case["truth"], strict=True)
        if truth
    ]
    hits = np.zeros((len(judged), k), np.int64)
    for row, (one, truth) in enumerate(judged):
        hits[row, : len(one)] = [item in truth for item in one]
    lengths = np.array([[len(truth)] for _, truth in judged], np.int64).reshape(-1, 1)
    given = {
        "rec.topk": torch.from_numpy(np.hstack([hits, lengths])),
        "data.num_items": case["n_items"],
    }
    metrics = {
        "Hit": Hit,
        "MRR": MRR,
        "MAP": MAP,
        "Recall": Recall,
        "NDCG": NDCG,
        "Precision": Precision,
    }
    if all(len(one) >= k for one in case["lists"]):  # RecBole always fills its lists
        given["rec.items"] = torch.tensor([one[:k] for one in case["lists"]])
        given["data.count_items"] = Counter(item for row in case["train"] for item in row)
        metrics |= {
            "AveragePopularity": AveragePopularity,
            "ItemCoverage": ItemCoverage,
            "GiniIndex": GiniIndex,
            "ShannonEntropy": ShannonEntropy,
        }
    if not judged:
        raise ValueError("RecBole asks only users who have a relevant item")
    return {
        name: next(iter(metric(config).calculate_metric(given).values()))
        for name, metric in metrics.items()
    }


def implicit(case):
    import numpy as np
    import scipy.sparse as sp
    from implicit.evaluation import ranking_metrics_at_k

    k, n_users = case["k"], len(case["lists"])
    rows = [row for row, truth in enumerate(case["truth"]) for _ in truth]
    columns = [item for truth in case["truth"] for item in truth]
    shape = (n_users, case["n_items"])
    items = np.full((n_users, k), -1, np.int32)
    for row, one in enumerate(case["lists"]):
        items[row, : len(one[:k])] = one[:k]

    class Given:
        def recommend(self, users, user_items, N):
            return items[users, :N], np.zeros((len(users), N), np.float32)

    test = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
    train = sp.csr_matrix(shape, dtype=np.float32)
    return dict(ranking_metrics_at_k(Given(), train, test, K=k, show_progress=False, num_threads=1))


def irspack(case):
    import numpy as np
    import scipy.sparse as sp
    from irspack.evaluation import Evaluator

    if any(len(one) < case["k"] for one in case["lists"]):
        raise ValueError("irspack ranks all items, so that each list has k")
    shape = (len(case["lists"]), case["n_items"])
    scores = np.zeros(shape)
    for row, one in enumerate(case["lists"]):
        scores[row, one] = np.arange(len(one), 0, -1)
    rows = [row for row, truth in enumerate(case["truth"]) for _ in truth]
    columns = [item for truth in case["truth"] for item in truth]
    truth = sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
    found = dict(
        Evaluator(truth, cutoff=case["k"], n_threads=1).get_score_from_score_matrix(scores)
    )
    capped = Evaluator(truth, cutoff=case["k"], n_threads=1, recall_with_cutoff=True)
    found["recall(recall_with_cutoff=True)"] = capped.get_score_from_score_matrix(scores)["recall"]
    for name in ("appeared_item", "n_items", "total_user", "valid_user"):
        found.pop(name, None)
    return found


def recommenders(case):
    import pandas as pd
    from recommenders.evaluation import python_evaluation as theirs

    true = pd.DataFrame(
        [(u, i, 1.0) for u, row in enumerate(case["truth"]) for i in row],
        columns=["userID", "itemID", "rating"],
    )
    predicted = pd.DataFrame(
        [
            (u, i, float(len(row) - r))
            for u, row in enumerate(case["lists"])
            for r, i in enumerate(row)
        ],
        columns=["userID", "itemID", "prediction"],
    )
    names = ["precision_at_k", "recall_at_k", "r_precision_at_k", "ndcg_at_k", "map", "map_at_k"]
    return {name: getattr(theirs, name)(true, predicted, k=case["k"]) for name in names}


def torchmetrics(case):
    import torch
    from torchmetrics import retrieval

    if any(len(one) < case["k"] for one in case["lists"]):
        raise ValueError("torchmetrics ranks all given items, so that each list has k")
    k, index, scores, target = case["k"], [], [], []
    for user, (listed, relevant) in enumerate(zip(case["lists"], case["truth"], strict=True)):
        place = {item: rank for rank, item in enumerate(listed)}
        for item in range(case["n_items"]):
            index.append(user)
            scores.append(1.0 / (1 + place[item]) if item in place else -1.0 - item)
            target.append(item in set(relevant))
    given = torch.tensor(scores), torch.tensor(target), torch.tensor(index)
    metrics = {
        "RetrievalRecall": retrieval.RetrievalRecall(top_k=k),
        "RetrievalPrecision": retrieval.RetrievalPrecision(top_k=k),
        "RetrievalHitRate": retrieval.RetrievalHitRate(top_k=k),
        "RetrievalMRR": retrieval.RetrievalMRR(top_k=k),
        "RetrievalMAP": retrieval.RetrievalMAP(top_k=k),
        "RetrievalNormalizedDCG": retrieval.RetrievalNormalizedDCG(top_k=k),
        'RetrievalNormalizedDCG(empty_target_action="skip")': retrieval.RetrievalNormalizedDCG(
            top_k=k, empty_target_action="skip"
        ),
    }
    return {name: float(metric(*given)) for name, metric in metrics.items()}


LIBRARIES = {
    one.__name__: one
    for one in (ranx, rectools, lenskit, recbole, implicit, irspack, recommenders, torchmetrics)
}


def answer(library, case):
    """Metric -> value of one case; an empty dict where the library refuses it."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return {name: float(value) for name, value in LIBRARIES[library](case).items()}
    except Exception as error:
        if os.environ.get("ORACLE_ERRORS"):
            print(f"{library}: {type(error).__name__}: {error}", file=sys.stderr)
        return {}


def main(library, cases_file, answers_file):
    warnings.simplefilter("ignore")
    cases = json.loads(pathlib.Path(cases_file).read_text())
    answers = [answer(library, case) for case in cases]
    names = list(dict.fromkeys(name for one in answers for name in one))
    values = {
        name: [
            "error" if name not in one else None if math.isnan(one[name]) else one[name]
            for one in answers
        ]
        for name in names
    }
    found = {"library": library, "version": importlib.metadata.version(library), "values": values}
    pathlib.Path(answers_file).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
