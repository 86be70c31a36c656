"""The Rosetta stone: how values of other libraries follow from ours, on the same lists and the same
relevant items.

Each row is code and words for the same thing. The code is compared with the library's own values on
2,000 random and on degenerate judgements (`make rosetta`), and with what that recorded in every run
of the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from falconer.pipelines.errors import ConfigError
from falconer.recsys.metrics.conversions import (
    LN_2,
    Convert,
    entropy_by_shown,
    map_by_hits,
    map_by_k,
    map_of_listed,
    mean,
    mean_of_all,
    mean_of_listed,
    mean_of_lists,
    novelty_by_users,
    pooled_precision,
    precision_of_listed,
    r_precision_uncut,
    r_precision_where_hit,
    together,
    zero_without_judged,
)


@dataclass(frozen=True)
class Translation:
    """One row: what `theirs` is in our terms.

    ours        our metric that it follows from
    how         the conversion in words
    convert     the conversion as code
    full_lists  whether it holds only where every list has k items (what such a library makes, or
                asks for)
    tolerance   up to which it holds; larger than 1e-9 only where the library computes in float32
    """

    library: str
    theirs: str
    ours: str
    how: str
    convert: Convert
    full_lists: bool = False
    tolerance: float = 1e-9


SAME = "the same"


def _in_irspack(theirs: str, ours: str, how: str, convert: Convert) -> Translation:
    return Translation("irspack", theirs, ours, how, zero_without_judged(convert), full_lists=True)


def _in_torchmetrics(theirs: str, ours: str, how: str, convert: Convert) -> Translation:
    return Translation("torchmetrics", theirs, ours, how, convert, full_lists=True, tolerance=2e-6)


OF_LISTS = "mean over all users who have a list; where no user has an item twice in train"
LISTED_ONLY = "mean over users who have a list, too"
COUNT_ZERO = "mean over all users: those without a relevant item count 0"
JUDGED_ONLY = "of the lists of users with a relevant item"

TRANSLATIONS: tuple[Translation, ...] = (
    Translation("ranx", "ndcg", "ndcg", SAME, mean("ndcg")),
    Translation("ranx", "recall", "recall", SAME, mean("recall")),
    Translation("ranx", "precision", "precision", SAME, mean("precision")),
    Translation("ranx", "hit_rate", "hit_rate", SAME, mean("hit_rate")),
    Translation("ranx", "mrr", "mrr", SAME, mean("mrr")),
    Translation("ranx", "map", "map", SAME, mean("map")),
    Translation(
        "ranx",
        "r-precision",
        "r_precision",
        "at a k beyond every list: theirs is not cut",
        r_precision_uncut,
    ),
    Translation("rectools", "NDCG", "ndcg_k_ideal", "the same, and not ndcg", mean("ndcg_k_ideal")),
    Translation("rectools", "NDCG(divide_by_achievable=True)", "ndcg", SAME, mean("ndcg")),
    Translation("rectools", "Recall", "recall", SAME, mean("recall")),
    Translation("rectools", "Precision", "precision", SAME, mean("precision")),
    Translation(
        "rectools", "Precision(r_precision=True)", "capped_recall", SAME, mean("capped_recall")
    ),
    Translation("rectools", "HitRate", "hit_rate", SAME, mean("hit_rate")),
    Translation("rectools", "MRR", "mrr", SAME, mean("mrr")),
    Translation("rectools", "MAP", "map", SAME, mean("map")),
    Translation(
        "rectools",
        "MAP(divide_by_k=True)",
        "map",
        "times relevant items / k, user by user",
        map_by_k,
    ),
    Translation(
        "rectools", "CatalogCoverage(normalize=True)", "coverage", SAME, together("coverage")
    ),
    Translation(
        "rectools",
        "AvgRecPopularity",
        "list_popularity",
        OF_LISTS,
        mean_of_lists("list_popularity"),
    ),
    Translation(
        "rectools",
        "MeanInvUserFreq",
        "novelty",
        f"less log2(train events / train users); {OF_LISTS}",
        novelty_by_users,
    ),
    Translation(
        "lenskit", "NDCG", "ndcg_log_rank", "the same, and not ndcg", mean("ndcg_log_rank")
    ),
    Translation("lenskit", "NDCG(weight=LogRankWeight(offset=1))", "ndcg", SAME, mean("ndcg")),
    Translation("lenskit", "DCG(weight=LogRankWeight(offset=1))", "dcg", SAME, mean("dcg")),
    Translation(
        "lenskit", "Recall", "capped_recall", "the same, and not recall", mean("capped_recall")
    ),
    Translation(
        "lenskit",
        "Precision",
        "precision",
        f"times k / listed items, user by user; {LISTED_ONLY}",
        precision_of_listed,
    ),
    Translation("lenskit", "Hit", "hit_rate", SAME, mean("hit_rate")),
    Translation("lenskit", "RecipRank", "mrr", SAME, mean("mrr")),
    Translation(
        "lenskit",
        "AveragePrecision",
        "map",
        f"times relevant items / min(relevant, listed items), user by user; {LISTED_ONLY}",
        map_of_listed,
    ),
    Translation("lenskit", "ListGini", "gini", SAME, together("gini")),
    Translation("recbole", "NDCG", "ndcg", SAME, mean("ndcg")),
    Translation("recbole", "Recall", "recall", SAME, mean("recall")),
    Translation("recbole", "Precision", "precision", SAME, mean("precision")),
    Translation("recbole", "Hit", "hit_rate", SAME, mean("hit_rate")),
    Translation("recbole", "MRR", "mrr", SAME, mean("mrr")),
    Translation("recbole", "MAP", "capped_map", "the same, and not map", mean("capped_map")),
    Translation(
        "recbole",
        "AveragePopularity",
        "list_popularity",
        OF_LISTS,
        mean_of_lists("list_popularity"),
        full_lists=True,
    ),
    Translation("recbole", "ItemCoverage", "coverage", SAME, together("coverage"), full_lists=True),
    Translation("recbole", "GiniIndex", "gini", SAME, together("gini"), full_lists=True),
    Translation(
        "recbole",
        "ShannonEntropy",
        "shannon",
        "times ln 2 / number of distinct items shown",
        entropy_by_shown,
        full_lists=True,
    ),
    Translation("implicit", "ndcg", "ndcg", SAME, mean("ndcg")),
    Translation("implicit", "map", "capped_map", "the same, and not map", mean("capped_map")),
    Translation(
        "implicit",
        "precision",
        "capped_recall",
        "mean weighted by min(k, relevant items); no precision",
        pooled_precision,
    ),
    Translation("implicit", "auc", "auc", SAME, mean("auc"), full_lists=True),
    _in_irspack("ndcg", "ndcg", SAME, mean("ndcg")),
    _in_irspack("recall", "recall", SAME, mean("recall")),
    _in_irspack("recall(recall_with_cutoff=True)", "capped_recall", SAME, mean("capped_recall")),
    _in_irspack("precision", "precision", SAME, mean("precision")),
    _in_irspack("hit", "hit_rate", SAME, mean("hit_rate")),
    _in_irspack("map", "map", SAME, mean("map")),
    _in_irspack(
        "catalog_coverage", "coverage", JUDGED_ONLY, together("coverage", judged_only=True)
    ),
    _in_irspack("gini_index", "gini", JUDGED_ONLY, together("gini", judged_only=True)),
    _in_irspack(
        "entropy",
        "shannon",
        f"times ln 2, {JUDGED_ONLY}",
        together("shannon", times=LN_2, judged_only=True),
    ),
    Translation("recommenders", "ndcg_at_k", "ndcg", SAME, mean("ndcg")),
    Translation(
        "recommenders", "precision_at_k", "precision", LISTED_ONLY, mean_of_listed("precision")
    ),
    Translation("recommenders", "recall_at_k", "recall", LISTED_ONLY, mean_of_listed("recall")),
    Translation("recommenders", "map", "map", LISTED_ONLY, mean_of_listed("map")),
    Translation(
        "recommenders", "map_at_k", "capped_map", LISTED_ONLY, mean_of_listed("capped_map")
    ),
    Translation(
        "recommenders",
        "r_precision_at_k",
        "r_precision",
        "times min(k, relevant) / relevant items, user by user; mean over the users for whom that "
        "is above 0",
        r_precision_where_hit,
    ),
    _in_torchmetrics("RetrievalNormalizedDCG", "ndcg", COUNT_ZERO, mean_of_all("ndcg")),
    _in_torchmetrics(
        'RetrievalNormalizedDCG(empty_target_action="skip")',
        "ndcg",
        SAME,
        zero_without_judged(mean("ndcg")),
    ),
    _in_torchmetrics("RetrievalRecall", "recall", COUNT_ZERO, mean_of_all("recall")),
    _in_torchmetrics("RetrievalPrecision", "precision", COUNT_ZERO, mean_of_all("precision")),
    _in_torchmetrics("RetrievalHitRate", "hit_rate", COUNT_ZERO, mean_of_all("hit_rate")),
    _in_torchmetrics("RetrievalMRR", "mrr", COUNT_ZERO, mean_of_all("mrr")),
    _in_torchmetrics(
        "RetrievalMAP",
        "map",
        f"times relevant items / hits, user by user; {COUNT_ZERO}",
        map_by_hits,
    ),
)
"""All rows. Libraries agree in the names more often than in the values."""

VERSIONS = {
    "ranx": "0.3.21",
    "rectools": "0.19.0",
    "lenskit": "2025.8.1",
    "recbole": "1.2.1",
    "implicit": "0.7.3",
    "irspack": "0.5.2",
    "recommenders": "1.2.1",
    "torchmetrics": "1.9.0",
}
"""Library -> the version that its rows were compared with."""

NOTES = (
    "* full lists: holds where every list has k items.",
    "Unless said otherwise a mean is over the users with a relevant item, as ours; theirs sees no "
    "others.",
    "torchmetrics computes in float32: its rows hold to 2e-6, all others to 1e-9.",
)


def table(libraries: Sequence[str] = ()) -> str:
    """The rows of some libraries (none named: all) in lines to print; `ConfigError` for an unknown
    one."""
    unknown = [name for name in libraries if name not in VERSIONS]
    if unknown:
        raise ConfigError(
            f"no translation for {', '.join(unknown)}; there are {', '.join(VERSIONS)}"
        )
    rows = [row for row in TRANSLATIONS if row.library in (libraries or VERSIONS)]
    widths = [max(len(row.theirs) for row in rows), max(len(row.ours) for row in rows)]
    lines: list[str] = []
    for library in dict.fromkeys(row.library for row in rows):
        lines += [
            f"{library} {VERSIONS[library]}",
            f"  {'theirs':<{widths[0]}}  {'ours':<{widths[1]}}  conversion",
        ]
        lines += [
            f"  {row.theirs:<{widths[0]}}  {row.ours:<{widths[1]}}  "
            f"{row.how}{' *' if row.full_lists else ''}"
            for row in rows
            if row.library == library
        ]
        lines.append("")
    return "\n".join([*lines, *NOTES])


def markdown() -> str:
    """All rows as a Markdown table, as docs/metrics.md has it."""
    lines = ["| library | theirs, at k | ours, at k | conversion |", "|---|---|---|---|"]
    for row in TRANSLATIONS:
        star = " \\*" if row.full_lists else ""
        lines.append(
            f"| {row.library} {VERSIONS[row.library]} | `{row.theirs}` | `{row.ours}` | "
            f"{row.how}{star} |"
        )
    return "\n".join(lines)
