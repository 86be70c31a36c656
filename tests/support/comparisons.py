"""Comparisons made by hand, with a dataset and runs to go with them, for tests of the report that
train nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from falconer.pipelines.data.dataset import Dataset, checksums, write_card, write_table
from falconer.pipelines.data.schema import View
from falconer.pipelines.runs import Run, start
from falconer.pipelines.statistics.differences import Estimate, PairedDifference
from falconer.pipelines.statistics.significance import letters
from falconer.recsys.judging.reports import (
    Comparison,
    ListsReport,
    SliceDifference,
    SliceEstimate,
    ViewComparison,
)
from tests.support.datasets import write_dataset
from tests.support.earned import OFF_POLICY

HOSTILE = (
    "</td></svg><script>document.title='broken'</script><img src=x "
    "onerror=alert(1)>&amp;\"' \u202eabc\x00\x1b"
)
GOODS = (
    "FLUID MILK WHITE ONLY", "BANANAS", "SOFT DRINKS 12/18&15PK CAN CAR", "SHREDDED CHEESE",
    "KIDS CEREAL",
    "YOGURT NOT MULTI-PACKS", "POTATO CHIPS", "MAINSTREAM WHITE BREAD", "STRAWBERRIES", "PRIMAL",
    "HAMBURGER BUNS",
    "TOILET TISSUE", "DAIRY CASE 100% PURE JUICE – O", "UNFLAVORED CAN COFFEE", "EGGS - X-LARGE",
    "SW GDS: DONUTS",
    "REGULAR/COUNTRY STYLE SAUSAGE LINKS, FAMILY PACK", "SNACK CRACKERS", "FRZN MEAT ALTERNATIVES",
    "CHOICE BEEF",
)  # fmt: skip
CUTOFFS = (1, 5, 10, 20, 50, 100)
FAMILIES = ("recall", "capped_recall", "precision", "hit_rate", "ndcg")
LEVELS = {
    "personal_popularity": 0.21,
    "ease": 0.19,
    "als": 0.15,
    "item_knn": 0.188,
    "popularity": 0.06,
}


GROUPS = (
    ("history length", "0 events", 1, 0.4),
    ("history length", "1 to 20 events", 37, 1.02),
    ("department of the chosen item", "GROCERY " + HOSTILE, 30, 1.1),
    ("department of the chosen item", "all other values", 8, 0.7),
)
"""Slicing, group, queries, and how well every model does there, as a share of its level."""


def write_goods(
    root: Path, *, hostile: bool = True, has_time: bool = True, sampled: bool = False
) -> Dataset:
    """Forty households that buy twenty goods; with `hostile` some labels try to break a page."""
    rng = np.random.default_rng(7)
    n_users, n_items = 40, len(GOODS)
    train = [
        (user, int(rng.integers(n_items)), day) for day in range(20) for user in range(n_users)
    ]
    history = {user: [item for who, item, _ in train if who == user] for user in range(n_users)}
    queries = [
        (user, history[user], sorted(set(rng.integers(0, n_items, 5).tolist())))
        for user in range(n_users)
    ]
    data = write_dataset(
        root,
        train=train,
        n_users=n_users,
        n_items=n_items,
        folds={"test": [*queries, (-1, [], [1])]},
        has_time=has_time,
    )
    labels = list(GOODS)
    if hostile:
        labels[1], labels[2], labels[3] = HOSTILE, "W" * 120, ""
    items = {
        "id": np.arange(n_items, dtype=np.int32),
        "key": [f"i{n}" for n in range(n_items)],
        "label": labels,
    }
    write_table(root, "items.parquet", items)
    described = {
        "description": "The last 28 days are the test.",
        "protocol": "temporal",
        "sampled": sampled,
    }
    split = data.card.split.model_copy(update=described)
    changed = {
        "content": checksums(root),
        "split": split,
        "counts": {
            "rows_read": 1_469_307,
            "rejected: user is null": 12,
            "train_events": len(train),
        },
        "sources": {"transactions.parquet": "9f" * 32},
        "notes": ("For research and education only.", "A note that says <b>so</b>."),
        "config": {"name": "goods", "split": {"test_days": 28}},
    }
    write_card(root, data.card.model_copy(update=changed))
    return Dataset.open(root)


def make_runs(root: Path, data: Dataset, labels: Sequence[str], views: Sequence[View]) -> list[Run]:
    """One run a label, each with lists in every view; the last also has curves of many steps."""
    runs = []
    for number, label in enumerate(labels):
        with start(
            root, model=f"model{number}", backend="numpy", config={}, run_id=f"{number:06d}", seed=0
        ) as run:
            pass
        for view in views:
            write_lists(run.path / view / "recommendations.parquet", data, seed=number)
        for step in range(0, 400, 10) if label == labels[-1] else [0]:
            run.log_metrics(
                step, {"loss": 1 / (1 + step / 50), "valid ndcg@10": 0.2 * step / (step + 50)}
            )
        runs.append(run)
    return runs


def write_lists(path: Path, data: Dataset, *, seed: int) -> None:
    """Lists of twelve items (or all there are) for all users but the first, in random order."""
    rng = np.random.default_rng(seed)
    keys, items = data.query_keys("test").to_pylist()[1:], data.items.column("key").to_pylist()
    depth = min(12, len(items))
    table = {
        "user": pa.array([key for key in keys for _ in range(depth)]),
        "item": pa.array([items[row] for _ in keys for row in rng.permutation(len(items))[:depth]]),
        "rank": pa.array(list(range(1, depth + 1)) * len(keys), pa.int32()),
    }
    order = rng.permutation(depth * len(keys))
    write_table(path.parent, path.name, pa.table(table).take(order))


def make_report(
    data: Dataset, *, label: str, run: str | None, view: View, level: float
) -> ListsReport:
    """A report whose figures follow a smooth curve over k from `level` at 10; coverage has no
    interval."""
    metrics = {
        f"{family}@{k}": Estimate(
            mean=mean,
            low=mean * 0.96,
            high=mean * 1.04,
            definition=f"How {family} is defined, with k = {k}.",
        )
        for place, family in enumerate(FAMILIES)
        for k in CUTOFFS
        for mean in [level * (1 + 0.2 * place) * (np.log10(k) * 0.8 + 0.2)]
    }
    metrics |= {
        f"coverage@{k}": Estimate(mean=min(1.0, 0.02 * k), definition="Share of items.")
        for k in CUTOFFS
    }
    return ListsReport(
        label=label,
        run=run,
        dataset_name=data.card.name,
        dataset_id=data.card.dataset_id,
        fold="test",
        view=view,
        k=CUTOFFS,
        n_queries=41,
        n_evaluated=38,
        n_without_list=1,
        n_relevant=180,
        n_outside=7,
        metrics=metrics,
        slices=tuple(
            SliceEstimate(
                metric="ndcg@10",
                slicing=slicing,
                group=group,
                n=n,
                mean=level * share,
                low=level * share * 0.9,
                high=level * share * 1.1,
            )
            for slicing, group, n, share in GROUPS
        ),
        off_policy=OFF_POLICY if run else None,
        test_reads=7,
        test_lists=5,
        resamples=1000,
        seed=0,
        cost={"train_seconds": 3.21, "recommend_seconds": 0.4} if run else {},
        warnings=() if run else ("lists hold 3 unknown items",),
    )


def make_comparison(
    data: Dataset, levels: dict[str, float], runs: Sequence[Run | None], views: Sequence[View]
) -> Comparison:
    """Models of the given levels; two of them are told apart where their levels differ by a tenth
    or more."""
    names = dict(zip(levels, (run.name if run else None for run in runs), strict=True))
    made = []
    for view in views:
        ranked = sorted(levels, key=lambda label: -levels[label])
        reports = [
            make_report(data, label=label, run=names[label], view=view, level=levels[label])
            for label in ranked
        ]
        pairs = [
            (first, second) for place, first in enumerate(ranked) for second in ranked[place + 1 :]
        ]
        differences = [
            PairedDifference(
                metric="ndcg@10",
                first=first,
                second=second,
                difference=gap,
                low=gap - 0.01,
                high=gap + 0.01,
                n=38,
                p_bootstrap=p,
                p_randomisation=p,
                p_holm=p,
                n_needed=round(1 / gap) if gap else None,
            )
            for first, second in pairs
            for gap in [levels[first] - levels[second]]
            for p in [0.002 if gap > 0.01 else 0.4]
        ]
        apart = {(gap.first, gap.second): gap.separated for gap in differences}
        verdict = f"{ranked[0]} leads with ndcg@10 of {levels[ranked[0]]:.4f}."
        made.append(
            ViewComparison(
                view=view,
                metric="ndcg@10",
                reports=tuple(reports),
                differences=tuple(differences),
                verdict=verdict,
                letters=letters(ranked, apart),
                slices=tuple(_slice_differences(ranked)),
            )
        )
    return Comparison(dataset_id=data.card.dataset_id, fold="test", views=tuple(made))


def _slice_differences(ranked: Sequence[str]) -> Iterator[SliceDifference]:
    """The first is behind the second, told apart, in the group of the hostile name only."""
    for second in ranked[1:]:
        for slicing, group, n, _ in GROUPS:
            behind = second == ranked[1] and HOSTILE in group
            gap = -0.03 if behind else 0.01
            yield SliceDifference(
                slicing=slicing,
                group=group,
                metric="ndcg@10",
                first=ranked[0],
                second=second,
                difference=gap,
                low=gap - 0.02,
                high=gap + 0.02,
                n=n,
                p_holm=0.004 if behind else 0.7,
            )
