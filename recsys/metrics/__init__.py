"""What each metric is: its function, its definition, and where it comes from.

A metric's name alone says little (the same lists get several values of "ndcg" and "recall" from
several libraries), so every value that leaves this project carries the definition that is printed
here.

accuracy       one value a query, from its list and its relevant items
beyond         one value a query, from its list and what is known of items and histories
exposure       one value for all lists together
labels         one value for rows of (label, score): the task `labels`
rating         the same where the label is a number
linear         for each row a value whose mean is a metric of these two
compute        from names of metrics to values
tables         from names of metrics to definitions
translate      how values of other libraries follow from ours
"""

from falconer.recsys.metrics.accuracy import METRICS
from falconer.recsys.metrics.beyond import BEYOND_METRICS
from falconer.recsys.metrics.definition import COMMON_RULES, Definition
from falconer.recsys.metrics.exposure import LIST_METRICS
from falconer.recsys.metrics.labels import BINARY_METRICS
from falconer.recsys.metrics.rating import RATING_METRICS
from falconer.recsys.metrics.tables import (
    bounds_of,
    definition_of,
    explain,
    known_metrics,
    more_is_better,
    summary,
)

__all__ = [
    "BEYOND_METRICS",
    "BINARY_METRICS",
    "COMMON_RULES",
    "LIST_METRICS",
    "METRICS",
    "RATING_METRICS",
    "Definition",
    "bounds_of",
    "definition_of",
    "explain",
    "known_metrics",
    "more_is_better",
    "summary",
]
