"""Row-wise Adagrad: Adagrad with one number for each row of a table, for large embedding tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class RowWiseAdagrad(torch.optim.Optimizer):
    """Adagrad whose sum of squares is kept for a row of a table [n, d], not for each weight.

    With g_r the gradient of row r in the batch (all lookups of the row added up first):

        s_r <- s_r + mean(g_r^2)
        w_r <- w_r - lr g_r / (sqrt(s_r) + eps)

    It is the "exact row-wise Adagrad" of FBGEMM and TorchRec. The state of a table is d times
    smaller than Adagrad's. A sparse gradient gives the same weights as a dense one: a row without a
    gradient stays as it is. A vector is a table with d = 1, which is Adagrad itself.
    """

    def __init__(self, params: Iterable[Any], lr: float, eps: float = 1e-8) -> None:
        super().__init__(params, {"lr": lr, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every row that has a gradient; `closure` is evaluated first, if there is one."""
        if closure is not None:
            closure()
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._update(table, lr=group["lr"], eps=group["eps"])

    def _update(self, table: Tensor, *, lr: float, eps: float) -> None:
        gradient, sums = table.grad, self._sums(table)
        assert gradient is not None
        if gradient.is_sparse:
            rows, values = summed_rows(gradient)
            sums.index_add_(0, rows, _mean_squares(values))
            steps = -lr / (sums.index_select(0, rows).sqrt() + eps)
            table.index_add_(0, rows, values * _beside(steps, values))
        else:
            sums += _mean_squares(gradient)
            table.addcmul_(gradient, _beside(-lr / (sums.sqrt() + eps), gradient))

    def _sums(self, table: Tensor) -> Tensor:
        """The table's state, float32[n], zero at first."""
        state = self.state[table]
        if "sum" not in state:
            state["sum"] = torch.zeros(len(table), device=table.device)
        sums: Tensor = state["sum"]
        return sums


def _mean_squares(values: Tensor) -> Tensor:
    return values.square().reshape(len(values), -1).mean(1)


def _beside(steps: Tensor, values: Tensor) -> Tensor:
    """One step size a row, shaped to multiply the row's values."""
    return steps.view(-1, *[1] * (values.dim() - 1))


def summed_rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct rows int64[U], ascending, and float[U, d] the sum of each one's entries of a sparse
    gradient [n, d].

    On a CPU it always adds in the order of the entries, as `coalesce` does, in a tenth of its time.
    A GPU adds in any order: there one thread would add up all entries of a frequent row.
    """
    rows, values = gradient._indices()[0], gradient._values()
    if gradient.is_coalesced() or len(rows) == 0:
        return rows, values
    if rows.is_cuda:
        distinct, place = torch.unique(rows, return_inverse=True)
        return distinct, values.new_zeros(len(distinct), *values.shape[1:]).index_add_(
            0, place, values
        )
    ordered, order = rows.sort(stable=True)
    begins = torch.ones_like(ordered, dtype=torch.bool)
    torch.ne(ordered[1:], ordered[:-1], out=begins[1:])
    begin = begins.nonzero()[:, 0]
    return ordered[begin], functional.embedding_bag(order, values, begin, mode="sum")
