"""Tables whose rows are spread over the processes of a training: row r is in process r mod world.

For tables that are too large for one device. Within a training each process holds, looks up and
updates its own rows; checkpoints and the trained model hold whole tables, as a single process
writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable

from falconer.pipelines.training.devices import uncompiled
from falconer.pipelines.training.optimizers import Optimizers
from falconer.pipelines.training.row_wise_adagrad import summed_rows
from falconer.pipelines.training.shard import Shard


class RowSharded(nn.Module):
    """Base of a module whose parameter `weight` holds this process's rows of a table [n_rows,
    d]."""

    def __init__(self, n_rows: int, own_rows: Tensor, shard: Shard) -> None:
        super().__init__()
        self.n_rows, self.shard = n_rows, shard
        self.weight = nn.Parameter(own_rows)
        self.whole: Tensor | None = None
        """The whole table, where a process works on its own for a while: it is looked up without
        the others."""
        self._is_whole = False

    @uncompiled  # neither messages nor sparse gradients can be compiled
    def look_up(self, rows: Tensor) -> Tensor:
        """Rows int64[N] of the whole table -> float[N, d]; all processes call it, with as many rows
        as they like."""
        table = self.weight if self._is_whole else self.whole
        if table is not None:
            return table.index_select(0, rows.to(table.device)).to(rows.device)
        found: Tensor = cast(Any, _LookUp).apply(self.weight, rows, self.shard.world)
        return found

    def hold(self, table: Tensor) -> None:
        """From now on this process has the whole table [n_rows, d], where `table` is: in the memory
        of the host."""
        self.weight, self._is_whole = nn.Parameter(table), True


class _LookUp(torch.autograd.Function):
    """Asks each row's process for it. The gradient of a row is the sum of all processes', divided
    by their number, as `DistributedDataParallel` does for all other parameters; it is sparse."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor, world: int) -> Tensor:
        distinct, inverse = torch.unique(rows, return_inverse=True)
        order = (distinct % world).argsort(stable=True)
        asked = torch.bincount(distinct % world, minlength=world)
        given = _exchanged(asked, None, None)
        wanted = _exchanged((distinct // world)[order], asked, given)
        answers = _exchanged(weight.index_select(0, wanted), given, asked)
        ctx.save_for_backward(inverse, order, wanted, asked, given)
        ctx.shape, ctx.world = weight.shape, world
        vectors = torch.empty_like(answers)
        vectors[order] = answers
        return vectors.index_select(0, inverse)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        inverse, order, wanted, asked, given = ctx.saved_tensors
        summed = gradient.new_zeros(len(order), gradient.shape[1]).index_add_(0, inverse, gradient)
        own = _exchanged(summed[order], asked, given) / ctx.world
        return (
            torch.sparse_coo_tensor(wanted[None], own, ctx.shape, check_invariants=False),
            None,
            None,
        )


@cache
def _group() -> Any:
    """Processes that talk about tables, apart from those that share gradients at the same time."""
    return distributed.new_group()


def _exchanged(values: Tensor, sent: Tensor | None, received: Tensor | None) -> Tensor:
    """What the others send here, by process; `sent` and `received` int64[world] count rows, None =
    one each."""
    received_rows, sent_rows = (
        None if counts is None else counts.tolist() for counts in (received, sent)
    )
    n = len(values) if received_rows is None else sum(received_rows)
    out = values.new_empty(n, *values.shape[1:])
    distributed.all_to_all_single(
        out, values.contiguous(), received_rows, sent_rows, group=_group()
    )
    return out


class RowShards:
    """The spread tables of a model, by name; without any, everything passes as it is.

    A spread tensor has the rows of its table along its first dimension: the weights, and what an
    optimiser keeps.
    """

    def __init__(self, model: nn.Module, shard: Shard) -> None:
        named = model.named_modules()
        every = {
            name: module
            for name, module in named
            if isinstance(module, RowSharded) and shard.world > 1
        }
        self.modules = {
            f"{name}.weight" if name else "weight": module for name, module in every.items()
        }
        self._shard = shard

    def __bool__(self) -> bool:
        return bool(self.modules)

    @property
    def weights(self) -> dict[str, int]:
        """Name of each spread parameter -> rows of its table."""
        return {name: module.n_rows for name, module in self.modules.items()}

    def of_checkpoint(
        self, tensors: Mapping[str, Tensor], optimizers: Optimizers
    ) -> dict[str, int]:
        """The same for the names of a checkpoint: weights, their averages, and the optimisers'
        states of them."""
        spread: dict[str, int] = {}
        for name, module in self.modules.items():
            state = f"optimizer.{optimizers.place_of(module.weight)}."
            names = [key for key, value in tensors.items() if key.startswith(state) and value.dim()]
            spread |= dict.fromkeys([f"model.{name}", f"ema.{name}", *names], module.n_rows)
        return spread

    def gathered(
        self, tensors: Mapping[str, Tensor], spread: Mapping[str, int]
    ) -> dict[str, Tensor]:
        """`tensors` with those in `spread` as a whole, in the first process only; all processes
        call it."""
        return {
            name: self._gathered(t, spread[name]) if name in spread else t
            for name, t in tensors.items()
        }

    def _gathered(self, own: Tensor, n_rows: int) -> Tensor:
        counts = [len(range(rank, n_rows, self._shard.world)) for rank in range(self._shard.world)]
        if not self._shard.leads:
            distributed.send(own.cpu().contiguous(), 0, group=_group())
            return own
        whole = torch.empty(n_rows, *own.shape[1:], dtype=own.dtype)
        whole[0 :: self._shard.world] = own.cpu()
        for rank, count in enumerate(counts[1:], start=1):
            part = torch.empty(count, *own.shape[1:], dtype=own.dtype)
            distributed.recv(part, rank, group=_group())
            whole[rank :: self._shard.world] = part
        return whole

    def hold(self, tables: Mapping[str, Tensor]) -> None:
        """From now on this process has the whole tables."""
        for name, module in self.modules.items():
            module.hold(tables[name])

    def own(self, tensors: Mapping[str, Tensor], spread: Mapping[str, int]) -> dict[str, Tensor]:
        """This process's rows of those in `spread`, which are whole."""
        rows = slice(self._shard.rank, None, self._shard.world)
        return {name: value[rows] if name in spread else value for name, value in tensors.items()}

    def squares_elsewhere(self) -> float:
        """Sum of squares of the tables' gradients in the other processes."""
        gradients = [m.weight.grad for m in self.modules.values() if m.weight.grad is not None]
        own = sum(
            (summed_rows(gradient)[1].double().square().sum().cpu() for gradient in gradients),
            torch.zeros(1),
        )
        every = own.clone()
        if self.modules:
            distributed.all_reduce(every, group=_group())
        return float(every - own)

    @contextmanager
    def whole_on_first(self) -> Iterator[None]:
        """Within the block the first process looks rows up without the others, in the memory of the
        host; all processes enter it."""
        for module in self.modules.values():
            whole = self._gathered(module.weight.detach(), module.n_rows)
            module.whole = whole if self._shard.leads else None
        try:
            yield
        finally:
            for module in self.modules.values():
                module.whole = None
