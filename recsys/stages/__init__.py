"""What the commands call: each reads directories, writes one, and returns the path it wrote."""

from falconer.recsys.stages.answering import RecommendConfig, predict, recommend
from falconer.recsys.stages.comparison import compare
from falconer.recsys.stages.evaluation import evaluate
from falconer.recsys.stages.finished import each_of
from falconer.recsys.stages.starting import refuse_start
from falconer.recsys.stages.training import refit, resume, train

__all__ = [
    "RecommendConfig",
    "compare",
    "each_of",
    "evaluate",
    "predict",
    "recommend",
    "refit",
    "refuse_start",
    "resume",
    "train",
]
