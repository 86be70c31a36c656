"""NCF on TensorFlow."""

from falconer.recsys.models.ncf.on_tensorflow.training import load, served, train

__all__ = ["load", "served", "train"]
