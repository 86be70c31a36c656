"""Configuration of SASRec."""

from __future__ import annotations

from falconer.recsys.configs.sequences import SequenceConfig


class SasRecConfig(SequenceConfig):
    """Kang and McAuley 2018: what follows is told from what came before, at every place of a
    history at once.

    With loss `bce` and history `newest` it is trained as in the paper; softmax over all items does
    much better (Klenitskiy and Vasilev 2023).
    """
