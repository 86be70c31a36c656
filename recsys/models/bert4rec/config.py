"""Configuration of BERT4Rec."""

from __future__ import annotations

from pydantic import Field

from falconer.recsys.configs.sequences import SequenceConfig


class Bert4RecConfig(SequenceConfig):
    """Sun et al. 2019: masked items are told from those on both sides; the next one is a mask
    behind the history."""

    mask_share: float = Field(default=0.2, gt=0, lt=1)
    """Chance of an item to be masked in training."""
    last_share: float = Field(default=0.2, ge=0, le=1)
    """Share of the rows in which the last item alone is masked, as when the model is used."""
