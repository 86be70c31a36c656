"""What the scores of every registered model must be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries
from falconer.recsys.contracts import CatalogScorer, FactorScorer, UserScorer
from falconer.recsys.models.registry import MODELS
from tests.contracts.conftest import Trained
from tests.support.tiny import ALL, scorer_of, with_histories

FACTOR_MODELS = {"als", "bpr", "vae_cf", "sasrec", "bert4rec"}

every_model = pytest.mark.parametrize(("name", "backend"), ALL)


@pytest.fixture
def scorer(name: str, backend: str, board: Dataset, trained: Trained) -> CatalogScorer:
    return scorer_of(trained(name, backend, board), board)


@pytest.fixture(scope="session")
def queries(board: Dataset) -> Queries:
    return board.queries("test")


@every_model
def test_scores_are_finite_exactly_on_known_items(
    scorer: CatalogScorer, queries: Queries, board: Dataset, name: str
) -> None:
    scores = scorer.score(queries)
    assert scores.shape == (len(queries), board.n_items)
    assert scores.dtype == np.float32
    assert scorer.items_known.dtype == np.bool_
    assert (np.isfinite(scores) == scorer.items_known).all()
    assert scorer.items_known.all()


@every_model
def test_no_query_is_a_question_too(
    scorer: CatalogScorer, queries: Queries, board: Dataset
) -> None:
    assert scorer.score(queries.slice(0, 0)).shape == (0, board.n_items)


@every_model
def test_scores_do_not_depend_on_the_batch(scorer: CatalogScorer, queries: Queries) -> None:
    whole = scorer.score(queries)
    for size in (1, 7):
        starts = range(0, len(queries), size)
        parts = [
            scorer.score(queries.slice(start, min(start + size, len(queries)))) for start in starts
        ]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


@every_model
def test_an_unknown_user_is_answered_from_the_history_or_by_popularity(
    scorer: CatalogScorer, queries: Queries, board: Dataset, name: str
) -> None:
    history = [int(item) for item in queries.history[0]]
    known = scorer.score(with_histories(queries, [history], user=0))
    unknown = scorer.score(with_histories(queries, [history], user=-1))
    assert np.isfinite(unknown).all()
    if MODELS[name].config.folds_in:
        assert unknown.tobytes() == known.tobytes()
    else:
        assert unknown.tobytes() == scorer.score(with_histories(queries, [[]])).tobytes()


@every_model
def test_a_user_who_came_after_training_is_answered_as_an_unknown_one(
    scorer: CatalogScorer, queries: Queries, board: Dataset
) -> None:
    history = [int(item) for item in queries.history[0]]
    unknown = scorer.score(with_histories(queries, [history], user=-1))
    for user in (board.n_users, 2**31 - 1):
        assert (
            scorer.score(with_histories(queries, [history], user=user)).tobytes()
            == unknown.tobytes()
        )


@every_model
def test_an_empty_history_gives_everybody_the_same_list_by_popularity(
    name: str, backend: str, hits: Dataset, trained: Trained
) -> None:
    scorer = scorer_of(trained(name, backend, hits), hits)
    scores = scorer.score(with_histories(hits.queries("test"), [[], []]))
    assert np.isfinite(scores).all()
    assert scores[0].tobytes() == scores[1].tobytes()
    counts = np.bincount(hits.train_column("item"), minlength=hits.n_items)
    best_first = np.argsort(-scores[0], kind="stable")
    assert (np.diff(counts[best_first]) < 0).all()


@every_model
def test_another_history_gives_other_scores_where_the_model_is_personalised(
    scorer: CatalogScorer, queries: Queries, name: str
) -> None:
    unknown_users = with_histories(queries, [[0, 2, 4], [1, 3, 5]])
    two_users = queries.slice(0, 2)  # of other classes
    even, odd = scorer.score(unknown_users if MODELS[name].config.folds_in else two_users)
    assert (even.tobytes() != odd.tobytes()) == MODELS[name].config.personalised


@every_model
def test_the_order_of_the_history_matters_as_declared(
    scorer: CatalogScorer, queries: Queries, name: str
) -> None:
    forth, back = scorer.score(with_histories(queries, [[0, 2, 4, 7, 9, 11], [11, 9, 7, 4, 2, 0]]))
    assert (forth.tobytes() != back.tobytes()) == MODELS[name].config.order_aware


@every_model
def test_who_is_answered_by_popularity_is_said(
    scorer: CatalogScorer, queries: Queries, board: Dataset, name: str
) -> None:
    assert isinstance(scorer, UserScorer) == (not MODELS[name].config.folds_in)
    if isinstance(scorer, UserScorer):
        assert scorer.knows(queries).all()
        users = np.array([-1, 0, board.n_users - 1, board.n_users, 2**31 - 1], np.int32)
        asked = replace(with_histories(queries, [[]] * 5), user=users)
        assert scorer.knows(asked).tolist() == [False, True, True, False, False]


@every_model
def test_factors_are_offered_where_they_are_listed(scorer: CatalogScorer, name: str) -> None:
    assert isinstance(scorer, FactorScorer) == (name in FACTOR_MODELS)


@pytest.mark.parametrize(("name", "backend"), [pair for pair in ALL if pair[0] in FACTOR_MODELS])
def test_factors_multiply_to_the_scores(scorer: CatalogScorer, queries: Queries) -> None:
    assert isinstance(scorer, FactorScorer)
    query, item, bias = scorer.factors(queries)
    assert query.dtype == item.dtype == bias.dtype == np.float32
    np.testing.assert_allclose(query @ item.T + bias, scorer.score(queries), rtol=1e-5, atol=1e-6)
