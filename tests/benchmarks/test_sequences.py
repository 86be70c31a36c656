"""SASRec's and BERT4Rec's speed beside RecBole's. Figures are printed, never asserted.

RecBole makes every event but a user's first a row of its own, with all that came before it: SASRec
is asked for one item a row, BERT4Rec for the items that are masked in it. For equal work ours is
trained on the same rows with as many questions. Its own way asks at all places of far fewer rows,
hence two more figures: places a second of both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from falconer.pipelines import runs, stages
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Ragged
from falconer.pipelines.training.torch import fit
from falconer.recsys.backends.torch.events import TrainEvents
from falconer.recsys.backends.torch.sequences.batches import (
    Ask,
    PaddedRows,
    Questions,
    RowBatches,
    Rows,
    SequenceBatches,
    cloze,
    cut,
    next_item,
    user_sequences,
)
from falconer.recsys.backends.torch.sequences.scorer import SequenceModel
from falconer.recsys.backends.torch.sequences.training import SequenceTask, loss_of
from falconer.recsys.configs.sequences import SequenceConfig, SequenceTraining
from falconer.recsys.models.bert4rec.config import Bert4RecConfig
from falconer.recsys.models.bert4rec.on_torch import Bert4Rec
from falconer.recsys.models.sasrec.config import SasRecConfig
from tests.benchmarks.recbole_peer import started_peer
from tests.benchmarks.small import recipe_of, sized

pytestmark = [pytest.mark.benchmark_suite, pytest.mark.timeout(3600)]

BATCHES, ROUNDS, ROWS = sized(10, 1), sized(5, 1), sized(256, 8)
LENGTH, MASK_SHARE = 50, 0.2
KNOBS: dict[str, Any] = {
    "dim": 64,
    "n_blocks": 2,
    "n_heads": 2,
    "feed_forward": 256,
    "max_length": LENGTH,
    "dropout": 0.2,
    "batch_size": ROWS,
    "training": SequenceTraining(epochs=1, monitor=None, patience=None, device="cpu"),
}
RECBOLE: dict[str, Any] = {
    "batches": BATCHES,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "TIME_FIELD": "timestamp",
    "eval_args": {
        "split": {"RS": [0.98, 0.01, 0.01]},
        "order": "TO",
        "group_by": "user",
        "mode": "full",
    },
    "MAX_ITEM_LIST_LENGTH": LENGTH,
    "ITEM_LIST_LENGTH_FIELD": "item_length",
    "LIST_SUFFIX": "_list",
    "train_neg_sample_args": None,
    "train_batch_size": ROWS,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_size": 64,
    "inner_size": 256,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.2,
    "attn_dropout_prob": 0.0,  # ours has none, and none is faster
    "loss_type": "CE",
    "mask_ratio": MASK_SHARE,
    "ft_ratio": 0.0,
}


def every_prefix(sequences: Ragged, *, size: int, answer: bool) -> Rows:
    """RecBole's rows: for each event but a user's first the `size` items before it, and with
    `answer` the event too."""
    place = np.arange(len(sequences.values)) - sequences.offsets[sequences.rows]
    events = np.flatnonzero(place > 0)
    lengths = np.minimum(place[events], size)
    items = np.asarray(sequences.values, np.int32)
    return Rows(items, sequences.rows[events], events - lengths, lengths + answer)


def last_place(rows: PaddedRows, random: torch.Generator) -> Questions:
    """What is the last item of a row?"""
    questions = next_item(rows, random)
    last = torch.arange(questions.asked.shape[1]) == questions.lengths[:, None] - 1
    return Questions(questions.items, questions.lengths, last, questions.answers)


@dataclass(frozen=True)
class Form:
    """One of the two models, with RecBole's name for it."""

    peer: str
    model: Callable[[int], SequenceModel]
    config: SequenceConfig
    ask: Callable[[int], Ask]
    ask_as_peer: Callable[[int], Ask]
    overlap: int


SASREC, BERT4REC = (
    SasRecConfig(**KNOBS),
    Bert4RecConfig(**KNOBS, mask_share=MASK_SHARE, last_share=0.0),
)


def masks(n_items: int) -> Ask:
    """As RecBole masks, but for rows in which chance masks nothing."""
    return cloze(mask=n_items, share=MASK_SHARE, last_share=0.0)


FORMS = {
    "sasrec": Form(
        "SASRec",
        lambda n: SequenceModel(n, SASREC, mask=None),
        SASREC,
        lambda n: next_item,
        lambda n: last_place,
        1,
    ),
    "bert4rec": Form("BERT4Rec", lambda n: Bert4Rec(n, BERT4REC), BERT4REC, masks, masks, 0),
}


class FirstBatches:
    """The first batches of an epoch, counting rows, places that are filled, and places that are
    asked for."""

    def __init__(self, inner: SequenceBatches) -> None:
        self.inner, self.rows, self.filled, self.asked = inner, 0, 0, 0

    def __len__(self) -> int:
        return BATCHES

    def epoch(self, number: int, *, start: int = 0) -> Iterator[Any]:
        for batch in islice(self.inner.epoch(number, start=start), BATCHES - start):
            self.rows += len(batch.items)
            self.filled += batch.items.numel()
            self.asked += len(batch.places)
            yield batch


class Ours:
    """Our model in our loop: a round is the first batches of an epoch, as a fit of its own on the
    same weights."""

    def __init__(
        self, data: Dataset, rows: Rows, form: Form, ask: Ask, root: Path, *, threads: int
    ) -> None:
        self.root, self.rounds = root, 0
        self.training = form.config.training.model_copy(update={"threads": threads})
        made = RowBatches(rows, batch_size=ROWS, seed=0, device=torch.device("cpu"))
        self.batches = FirstBatches(SequenceBatches(made, ask, seed=0))
        counts = np.ones(data.n_items, np.int64)
        self.task = SequenceTask(
            form.model(data.n_items),
            self.batches,  # type: ignore[arg-type]
            loss_of(form.config, counts, torch.device("cpu")),
            lambda scorer: {},  # type: ignore[arg-type]
            counts.astype(np.float32),
        )

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.task.model.parameters())

    def places_per_second(self) -> float:
        self.rounds += 1
        with runs.start(
            self.root, model="ours", backend="torch", config={}, run_id=f"{id(self)}-{self.rounds}"
        ) as run:
            return fit(self.task, self.training, run).samples_per_second

    def rows_per_second(self) -> float:
        return self.places_per_second() * self.batches.rows / self.batches.asked


def seconds_of(left: Tensor, right: Tensor) -> float:
    """Of one product, into memory that is there already."""
    into, times = torch.matmul(left, right), []
    for _ in range(7):
        started = time.perf_counter()
        torch.matmul(left, right, out=into)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def share_of_products(ours: Ours, places_per_second: float, n_items: int, *, threads: int) -> float:
    """Share of a batch's time that torch's products alone take: each once for the values, twice for
    the gradients."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    n = ours.rounds * BATCHES
    rows, tokens, places = ours.batches.rows // n, ours.batches.filled // n, ours.batches.asked // n
    length, d, wide, heads = tokens // rows, SASREC.dim, SASREC.feed_forward, SASREC.n_heads
    attention = [
        (torch.randn(tokens, d), torch.randn(d, 3 * d)),
        (
            torch.randn(rows * heads, length, d // heads),
            torch.randn(rows * heads, d // heads, length),
        ),
        (torch.randn(rows * heads, length, length), torch.randn(rows * heads, length, d // heads)),
    ]
    above = [
        (torch.randn(n_rows, k), torch.randn(k, n_columns))
        for n_rows in (tokens, places)  # of the first block, and of the last one
        for k, n_columns in ((d, d), (d, wide), (wide, d))
    ]
    catalogue = (torch.randn(places, d), torch.randn(d, n_items))
    seconds = 3 * sum(
        seconds_of(*product) for product in [*attention, *attention, *above, catalogue]
    )
    torch.set_num_threads(before)
    return seconds * places_per_second / places


@pytest.mark.parametrize("threads", sized([1, 2], [1]))
@pytest.mark.parametrize("name", FORMS)
def test_sequences_per_second_beside_recbole(
    name: str, threads: int, data_mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same data, architecture, rows, batch, loss and optimiser; rounds alternate, and each waits
    for the other's."""
    form = FORMS[name]
    recipe = stages.load_recipe(recipe_of("ml-1m-sequences", tmp_path))
    data = Dataset.open(stages.etl(recipe, tmp_path / "data"))
    sequences = user_sequences(TrainEvents(data), data.n_users)
    as_peer = every_prefix(sequences, size=LENGTH, answer=name == "sasrec")
    own = cut(sequences, size=LENGTH + form.overlap, overlap=form.overlap, whole=True)
    same = Ours(
        data, as_peer, form, form.ask_as_peer(data.n_items), tmp_path / "runs", threads=threads
    )
    full = Ours(data, own, form, form.ask(data.n_items), tmp_path / "runs", threads=threads)
    with started_peer(data, tmp_path, {**RECBOLE, "model": form.peer}, threads=threads) as peer:
        rounds = [
            (
                same.rows_per_second(),
                peer.samples_per_second(BATCHES * ROWS),
                full.places_per_second(),
            )
            for _ in range(ROUNDS + 1)
        ][1:]
    asked = same.batches.asked / same.batches.rows
    rates = [statistics.median(column) for column in zip(*rounds, strict=True)]
    of_same = share_of_products(same, rates[0] * asked, data.n_items, threads=threads)
    of_full = share_of_products(full, rates[2], data.n_items, threads=threads)
    with capsys.disabled():
        print(
            f"\n{form.peer} on ML-1M, {threads} threads each, {BATCHES} batches of {ROWS} rows of "
            f"up to {LENGTH} items "
            f"a round, after one to warm up\n"
            f"  parameters: ours {same.parameters:,}, RecBole {peer.parameters:,} (with an item "
            "for padding)\n"
            f"  the same rows, {asked:.1f} places asked for in each; rows a second"
        )
        for a, b, _ in rounds:
            print(f"  ours {a:8,.0f}   RecBole 1.2.1 {b:8,.0f}   ratio {a / b:6.2f}")
        print(
            f"  median ratio {statistics.median(a / b for a, b, _ in rounds):.2f}; "
            f"torch's products alone would take {of_same:.0%} of our time\n"
            f"  places asked for a second: ours in rows of its own {rates[2]:,.0f} "
            f"({of_full:.0%}), "
            f"RecBole {asked * rates[1]:,.0f}, ratio "
            f"{statistics.median(c / (asked * b) for _, b, c in rounds):.1f}"
        )
