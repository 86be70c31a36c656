"""What every recommender of lists must be, as checks that raise `AssertionError`.

Each takes a `Case`: a model with knobs that are small enough for small data, and a folder. Which
checks apply follows from what the model declares of itself (`ModelConfig`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from falconer.pipelines import runs
from falconer.pipelines.config import parse
from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.errors import ConfigError, PipelineError
from falconer.pipelines.models.recipe import frozen
from falconer.recsys.contracts import CatalogScorer, UserScorer
from falconer.recsys.models.registry import resolve
from falconer.recsys.models.saved import load_model, save_model
from falconer.recsys.testing.datasets import checkerboard, cycle, skewed

DAY = 86_400
UNSAFE = {".pkl", ".pickle", ".pt", ".pth", ".joblib", ".npy"}
"""Ends of names of files that may be pickles."""


class Case:
    """A model that is checked. Each dataset is made, and the model trained on it, once.

    model    a name, of ours or of an installed package, or "mypackage.toy:MODEL"
    folder   an existing one, for datasets and runs
    backend  the model's first where left out
    knobs    of the model's configuration; they should let it learn from some hundred events
    """

    def __init__(
        self,
        model: str,
        folder: Path,
        *,
        backend: str | None = None,
        knobs: Mapping[str, Any] | None = None,
    ) -> None:
        self.implementation = resolve(model, backend)
        self.declared = self.implementation.config
        self.config = parse(self.declared, knobs or {}, model)
        self.folder = folder
        self._trained: dict[Path, Path] = {}
        if "top_n" not in self.declared.tasks:
            raise ConfigError(f"{model}: makes no lists, and the kit checks models that do")

    @cached_property
    def board(self) -> Dataset:
        """Two classes of users and items; the item that a user must get is known."""
        return checkerboard(self.folder / "board")

    @cached_property
    def wheel(self) -> Dataset:
        """The next item follows from the last one only."""
        return cycle(self.folder / "wheel")

    @cached_property
    def hits(self) -> Dataset:
        """No two items are equally popular."""
        return skewed(self.folder / "hits")

    @cached_property
    def later(self) -> Dataset:
        """The board with six more users' rows and items, which came after training."""
        return checkerboard(self.folder / "later", n=30, generations=("first", "second"))

    def train(self, data: Dataset, *, name: str = "runs") -> Path:
        """Train and save; returns the model's directory."""
        with runs.start(
            self.folder / name,
            model=self.implementation.name,
            backend=self.implementation.backend,
            config=frozen(self.implementation, self.config),
        ) as run:
            scorer = self.implementation.train(self.config, data, run)
            save_model(
                run.model_directory,
                scorer,
                implementation=self.implementation,
                config=self.config,
                data=data,
            )
        return run.model_directory

    def trained(self, data: Dataset) -> Path:
        """As `train`, once for each dataset."""
        if data.path not in self._trained:
            self._trained[data.path] = self.train(data)
        return self._trained[data.path]

    def scorer(self, trained_on: Dataset, asked_on: Dataset | None = None) -> CatalogScorer:
        """The saved model, loaded."""
        scorer = load_model(self.trained(trained_on), asked_on or trained_on)
        assert isinstance(scorer, CatalogScorer), "needs items_known, score and save"
        return scorer


def scores_are_finite_exactly_on_known_items(case: Case) -> None:
    """float32[Q, n_items], -inf where and only where an item is not known; no query at all too."""
    scorer, queries = case.scorer(case.board), case.board.queries("test")
    scores = scorer.score(queries)
    assert scores.shape == (len(queries), case.board.n_items)
    assert scores.dtype == np.float32
    assert scorer.items_known.dtype == np.bool_
    assert scorer.items_known.all(), "every item of train is known"
    assert np.isfinite(scores).all()
    assert scorer.score(queries.slice(0, 0)).shape == (0, case.board.n_items)


def scores_do_not_depend_on_the_batch(case: Case) -> None:
    """The same bits, whatever is asked beside a query."""
    scorer, queries = case.scorer(case.board), case.board.queries("test")
    whole = scorer.score(queries)
    for size in (1, 7):
        starts = range(0, len(queries), size)
        parts = [scorer.score(queries.slice(a, min(a + size, len(queries)))) for a in starts]
        assert np.concatenate(parts).tobytes() == whole.tobytes(), f"{size} queries at a time"


def an_unknown_user_is_answered_as_declared(case: Case) -> None:
    """From the history where the model folds in, else as nobody is; and whom it knows is said."""
    scorer, queries = case.scorer(case.board), case.board.queries("test")
    history = [int(item) for item in queries.history[0]]
    unknown = scorer.score(with_histories(queries, [history]))
    assert np.isfinite(unknown).all()
    known = scorer.score(with_histories(queries, [history], user=int(queries.user[0])))
    nobody = scorer.score(with_histories(queries, [[]]))
    assert unknown.tobytes() == (known if case.declared.folds_in else nobody).tobytes()
    came_later = scorer.score(with_histories(queries, [history], user=2**31 - 1))
    assert came_later.tobytes() == unknown.tobytes(), "a user beyond the vocabulary"
    assert isinstance(scorer, UserScorer) == (not case.declared.folds_in), "`knows` says whom"
    if isinstance(scorer, UserScorer):
        users = np.array([-1, 0, case.board.n_users, 2**31 - 1], np.int32)
        asked = replace(with_histories(queries, [[]] * 4), user=users)
        assert scorer.knows(asked).tolist() == [False, True, False, False]


def an_empty_history_is_answered_by_popularity(case: Case) -> None:
    """The more popular item first: by its score, or all scores equal."""
    queries = with_histories(case.hits.queries("test"), [[], []])
    scores = case.scorer(case.hits).score(queries)
    assert scores[0].tobytes() == scores[1].tobytes(), "everybody gets the same"
    counts = np.bincount(case.hits.train_column("item"), minlength=case.hits.n_items)
    best_first = np.argsort(-scores[0], kind="stable")
    assert (np.diff(counts[best_first]) < 0).all()


def histories_and_their_order_matter_as_declared(case: Case) -> None:
    """`personalised` and `order_aware`."""
    scorer, queries = case.scorer(case.board), case.board.queries("test")
    asked = (
        with_histories(queries, [[0, 2, 4], [1, 3, 5]])
        if case.declared.folds_in
        else queries.slice(0, 2)
    )
    even, odd = scorer.score(asked)
    assert (even.tobytes() != odd.tobytes()) == case.declared.personalised
    there = [0, 2, 4, 7, 9, 11]
    forth, back = scorer.score(with_histories(queries, [there, there[::-1]]))
    assert (forth.tobytes() != back.tobytes()) == case.declared.order_aware


def training_again_writes_the_same_bytes(case: Case) -> None:
    """Where `deterministic` is declared."""
    if case.declared.deterministic:
        first, second = case.trained(case.board), case.train(case.board, name="again")
        assert bytes_of(first) == bytes_of(second)


def a_loaded_model_scores_as_the_trained_one(case: Case) -> None:
    """Saving and loading loses nothing, and writes no pickle."""
    directory, queries = case.trained(case.board), case.board.queries("test")
    run = runs.Run(directory.parent)
    fresh = case.implementation.train(case.config, case.board, run)
    assert isinstance(fresh, CatalogScorer)
    assert case.scorer(case.board).score(queries).tobytes() == fresh.score(queries).tobytes()
    suffixes = {Path(name).suffix for name in bytes_of(directory)}
    assert not suffixes & UNSAFE, "npz, safetensors or JSON"


def items_that_came_later_are_masked(case: Case) -> None:
    """On a dataset that descends from the model's: -inf for new items, and in a history they change
    nothing."""
    scorer = case.scorer(case.board, case.later)
    scores = scorer.score(case.later.queries("test"))
    assert (scorer.items_known == (np.arange(case.later.n_items) < case.board.n_items)).all()
    assert (np.isfinite(scores) == scorer.items_known).all()
    queries, before = case.later.queries("test"), case.scorer(case.board)
    old, new = scorer.score(with_histories(queries, [[0, 2, 4], [29, 0, 25, 2, 26, 4, 28]]))
    assert old.tobytes() == new.tobytes(), "new items in a history"
    asked = with_histories(case.board.queries("test"), [[0, 2, 4]])
    assert old[: case.board.n_items].tobytes() == before.score(asked)[0].tobytes()


def damage_is_refused(case: Case) -> None:
    """A flipped byte, a cut or a missing file: a `PipelineError`, not other scores."""
    whole = case.trained(case.board)
    for number, name in enumerate(bytes_of(whole)):
        for damage in ("flip", "cut", "remove"):
            broken = case.folder / f"broken-{number}-{damage}"
            shutil.copytree(whole, broken)
            _damage(broken / name, damage)
            try:
                load_model(broken, case.board)
            except PipelineError:
                continue
            raise AssertionError(f"{name}: {damage}, and it loads")


def a_dataset_without_times_is_refused_as_declared(case: Case) -> None:
    """`needs_times`."""
    timeless = checkerboard(case.folder / "timeless", has_time=False)
    try:
        case.train(timeless)
    except PipelineError:
        assert case.declared.needs_times, "refused, and needs_times is not declared"
        return
    assert not case.declared.needs_times, "needs_times is declared, and it trains without"


def the_checkerboard_is_solved(case: Case) -> None:
    """Where `discovers` is declared: the withheld item of each user is first, and alone there."""
    if not case.declared.discovers:
        return
    queries, truth = case.board.queries("test"), case.board.truth("test")
    scores = novel_scores(case.scorer(case.board), queries)
    assert (scores.argmax(axis=1) == truth.items.values).all()
    assert ((scores == scores.max(axis=1)[:, None]).sum(axis=1) == 1).all(), "no tie may decide it"


def the_cycle_is_followed(case: Case) -> None:
    """Where `order_aware` and `discovers` are declared: the next item is first."""
    if not (case.declared.order_aware and case.declared.discovers):
        return
    queries, truth = case.wheel.queries("test"), case.wheel.truth("test")
    scores = novel_scores(case.scorer(case.wheel), queries)
    assert (scores.argmax(axis=1) == truth.items.values).all()


CHECKS: tuple[Callable[[Case], None], ...] = (
    scores_are_finite_exactly_on_known_items,
    scores_do_not_depend_on_the_batch,
    an_unknown_user_is_answered_as_declared,
    an_empty_history_is_answered_by_popularity,
    histories_and_their_order_matter_as_declared,
    training_again_writes_the_same_bytes,
    a_loaded_model_scores_as_the_trained_one,
    items_that_came_later_are_masked,
    damage_is_refused,
    a_dataset_without_times_is_refused_as_declared,
    the_checkerboard_is_solved,
    the_cycle_is_followed,
)
"""In the order in which they tell most."""


def check_model(
    model: str,
    folder: Path,
    *,
    backend: str | None = None,
    knobs: Mapping[str, Any] | None = None,
) -> None:
    """Make all checks; one `AssertionError` names every check that failed, with its reason.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     check_model("popularity", pathlib.Path(folder))
    """
    case = Case(model, folder, backend=backend, knobs=knobs)
    failures = []
    for check in CHECKS:
        try:
            check(case)
        except AssertionError as error:
            failures.append(f"  - {check.__name__.replace('_', ' ')}: {error or check.__doc__}")
    if failures:
        raise AssertionError(f"{model}: {len(failures)} checks failed\n" + "\n".join(failures))


def with_histories(queries: Queries, rows: list[list[int]], *, user: int = -1) -> Queries:
    """Queries of one `user` with these histories, one event a day, all asked when the first of
    `queries` is."""
    now = None if queries.time is None else int(queries.time[0])
    times = (
        None
        if now is None
        else [[now - DAY * (len(row) - place) for place in range(len(row))] for row in rows]
    )
    return Queries(
        user=np.full(len(rows), user, dtype=np.int32),
        history=Ragged.of(rows),
        history_times=None if times is None else Ragged.of(times, np.int64),
        time=None if now is None else np.full(len(rows), now, dtype=np.int64),
    )


def novel_scores(scorer: CatalogScorer, queries: Queries) -> NDArray[np.float32]:
    """The scores, -inf for items of the query's own history."""
    scores = scorer.score(queries).copy()
    scores[queries.history.rows, queries.history.values] = -np.inf
    return scores


def bytes_of(directory: Path) -> dict[str, bytes]:
    """Name -> content of every file below."""
    return {path.name: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def _damage(path: Path, damage: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:middle])
    else:
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 0x80]) + content[middle + 1 :])
