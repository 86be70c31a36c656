"""Ranked lists with their scores: what recommending makes and files hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class TopK:
    """Ranked lists of Q queries.

    items   int32[Q, k]    best first, -1 behind the end of a shorter list
    scores  float32[Q, k]  beside `items`; -inf where items is -1
    """

    items: Int32
    scores: Float32

    def __len__(self) -> int:
        return len(self.items)
