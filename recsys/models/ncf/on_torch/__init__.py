"""NCF on torch."""

from falconer.recsys.models.ncf.on_torch.training import load, train

__all__ = ["load", "train"]
