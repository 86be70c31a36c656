"""VAE-CF against the formulas of its paper, written out in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.queries import Queries, Ragged
from falconer.pipelines.errors import ArtifactError, ConfigError
from falconer.recsys.backends.torch import weights
from falconer.recsys.backends.torch.item_sets.batches import ProfileBatch, Profiles
from falconer.recsys.models import registry
from falconer.recsys.models.vae_cf import on_torch
from falconer.recsys.models.vae_cf.config import VaeCfConfig, VaeCfTraining
from falconer.recsys.models.vae_cf.on_torch import VaeCf, VaeCfScorer, VaeCfTask
from tests.support import tiny
from tests.support.datasets import write_dataset
from tests.support.small_training import new_run

N_ITEMS, LATENT = 9, 3
FORMS = [(variant, layers) for variant in ("vae", "dae") for layers in [(), (5,), (6, 4)]]
every_form = pytest.mark.parametrize(("variant", "layers"), FORMS)
Weights = dict[str, NDArray[np.float64]]


def network(
    variant: str = "vae", layers: tuple[int, ...] = (5,), **knobs: Any
) -> tuple[VaeCf, VaeCfConfig]:
    """A network with weights large enough that every part of the formula counts."""
    config = VaeCfConfig.model_validate(
        {"variant": variant, "hidden": layers, "dim": LATENT, **knobs}
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = VaeCf(N_ITEMS, config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.7)
    return model.eval(), config


def encoded(model: VaeCf, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The encoder's last layer before any tanh, of one row of input."""
    w: Weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    h = x @ w["input"] + w["input_bias"]
    for layer in range(len(model.encoder)):
        h = w[f"encoder.{layer}.weight"] @ np.tanh(h) + w[f"encoder.{layer}.bias"]
    return np.asarray(h)


def decoded(model: VaeCf, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logits of one latent vector."""
    w: Weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    for layer in range(len(model.decoder)):
        z = np.tanh(w[f"decoder.{layer}.weight"] @ z + w[f"decoder.{layer}.bias"])
    return np.asarray(w["output.weight"] @ z + w["output.bias"])


def normalised(items: list[int], decay: float = 1.0) -> NDArray[np.float64]:
    """x / |x|, the last of distinct `items` being the newest."""
    x = np.zeros(N_ITEMS)
    x[items] = decay ** np.arange(len(items))[::-1]
    return x / np.linalg.norm(x)


def logits_of(model: VaeCf, x: NDArray[np.float64]) -> NDArray[np.float64]:
    last = encoded(model, x)
    return decoded(model, last[:LATENT] if model.variational else np.tanh(last))


def queries_of(*histories: list[int]) -> Queries:
    return Queries(np.full(len(histories), -1, np.int32), Ragged.of(histories))


def scorer_of(model: VaeCf, *, decay: float = 1.0, n_items: int = N_ITEMS) -> VaeCfScorer:
    return VaeCfScorer(model, np.arange(N_ITEMS, dtype=np.float32), decay, n_items)


@every_form
@pytest.mark.parametrize("decay", [1.0, 0.6])
def test_scores_are_the_papers_logits(variant: str, layers: tuple[int, ...], decay: float) -> None:
    model, _ = network(variant, layers)
    scores = scorer_of(model, decay=decay).score(queries_of([4], [7, 1, 3], [8, 2, 8, 5], [0, 6]))
    distinct = [[4], [7, 1, 3], [2, 8, 5], [0, 6]]
    expected = [logits_of(model, normalised(items, decay)) for items in distinct]
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_a_query_without_a_known_item_gets_the_popularity_exactly() -> None:
    model, _ = network()
    scores = scorer_of(model, n_items=N_ITEMS + 2).score(queries_of([], [N_ITEMS + 1], [3]))
    assert (scores[:2, :N_ITEMS] == np.arange(N_ITEMS)).all()
    assert (scores[:, N_ITEMS:] == -np.inf).all()
    assert (scores[2, :N_ITEMS] != np.arange(N_ITEMS)).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_place_in_a_batch_changes_no_bit(threads: int) -> None:
    """Every place of two blocks, beside other histories."""
    config = VaeCfConfig(hidden=(600,), dim=200)
    model = weights.seeded(lambda: VaeCf(1003, config), config.seed).eval()
    scorer = VaeCfScorer(model, np.zeros(1003, np.float32), 0.9, 1003)
    rng = np.random.default_rng(0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        same = [5, 900, 17, 3]
        one = queries_of(same)
        alone, factors = scorer.score(one)[0].tobytes(), scorer.factors(one)[0][0].tobytes()
        together = queries_of(
            *(same if place % 2 else rng.integers(0, 1003, 50).tolist() for place in range(128))
        )
        assert {row.tobytes() for row in scorer.score(together)[1::2]} == {alone}
        assert {row.tobytes() for row in scorer.factors(together)[0][1::2]} == {factors}
    finally:
        torch.set_num_threads(before)


@every_form
@pytest.mark.parametrize("decay", [1.0, 0.6])
def test_the_graph_answers_as_the_scorer(
    variant: str, layers: tuple[int, ...], decay: float
) -> None:
    """Repeats, an empty history, and any padding."""
    scorer = scorer_of(network(variant, layers)[0], decay=decay)
    histories = [[4], [], [7, 1, 3, 1], [8, 2, 8, 5, 5, 8, 0]]
    padded = torch.tensor([[*items, *[-1] * (9 - len(items))] for items in histories])
    graph = scorer.graphs()["catalogue"]
    np.testing.assert_allclose(
        graph.module(padded).detach(), scorer.score(queries_of(*histories)), rtol=1e-4, atol=1e-5
    )


def task_of(model: VaeCf, config: VaeCfConfig) -> VaeCfTask:
    no_batches: Any = None
    no_validation: Any = None
    return VaeCfTask(model, no_batches, no_validation, np.zeros(N_ITEMS, np.float32), config)


def batch_of(*sets: list[int], number: int = 0) -> ProfileBatch:
    offsets = torch.tensor(np.cumsum([0, *(len(items) for items in sets)]))
    return ProfileBatch(
        Profiles(offsets, torch.tensor([i for items in sets for i in items], dtype=torch.int32)),
        number,
    )


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(logits - np.log(np.exp(logits).sum()))


@every_form
def test_the_loss_is_equation_6(variant: str, layers: tuple[int, ...]) -> None:
    """The likelihood of all of a user's items at the drawn z, and beta times the divergence from
    N(0, I)."""
    model, config = network(variant, layers, dropout=0.0, anneal_cap=0.3, anneal_steps=0)
    sets = [[1, 4, 5], [0, 2], [7]]
    model.train()
    torch.manual_seed(3)
    found = task_of(model, config).loss(batch_of(*sets)).item()
    torch.manual_seed(3)
    noise = torch.randn(3, LATENT).double().numpy()
    losses = []
    for items, drawn in zip(sets, noise, strict=True):
        last = encoded(model, normalised(items))
        mean, log_variance = last[:LATENT], last[LATENT:]
        if variant == "dae":
            losses.append(-log_softmax(decoded(model, np.tanh(last)))[items].sum())
            continue
        divergence = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance).sum()
        likelihood = log_softmax(decoded(model, mean + drawn * np.exp(log_variance / 2)))[
            items
        ].sum()
        losses.append(-likelihood + 0.3 * divergence)
    assert found == pytest.approx(np.mean(losses), rel=1e-5)
    assert task_of(model, config).size(batch_of(*sets)) == 3


def test_dropout_scales_what_is_left_and_spares_the_target() -> None:
    """With one item and a share of 0.5 the input is 2 x or nothing, and the item stays the
    target."""
    model, config = network("dae", dropout=0.5)
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}

    def loss(scale: float) -> float:
        h = np.tanh(scale * w["input"][4] + w["input_bias"])
        return float(
            -log_softmax(decoded(model, np.tanh(w["encoder.0.weight"] @ h + w["encoder.0.bias"])))[
                4
            ]
        )

    torch.manual_seed(0)
    found = [round(task_of(model, config).loss(batch_of([4])).item(), 4) for _ in range(200)]
    assert set(found) == {round(loss(0.0), 4), round(loss(2.0), 4)}
    assert 60 < found.count(round(loss(2.0), 4)) < 140


def test_beta_rises_in_a_straight_line_to_its_cap() -> None:
    _, config = network(anneal_cap=0.2, anneal_steps=50)
    assert [config.beta(number) for number in (0, 5, 10, 11, 500)] == [
        0.0,
        0.1,
        0.2,
        0.2,
        0.2,
    ]
    assert config.model_copy(update={"anneal_steps": 0}).beta(0) == 0.2


def test_only_matrices_are_decayed() -> None:
    model, config = network()
    decayed, spared = (group["params"] for group in task_of(model, config).parameter_groups())
    assert {id(parameter) for parameter in decayed} == {
        id(parameter) for name, parameter in model.named_parameters() if "bias" not in name
    }
    assert len(decayed) + len(spared) == len(list(model.parameters()))


def small(**knobs: Any) -> VaeCfConfig:
    return VaeCfConfig.model_validate({**tiny.TINY["vae_cf"], **knobs})


@every_form
def test_every_form_learns(
    variant: str, layers: tuple[int, ...], board: Dataset, tmp_path: Path
) -> None:
    run = tiny.train("vae_cf", "torch", board, tmp_path, small(variant=variant, hidden=layers))
    scores = tiny.novel_scores(tiny.scorer_of(run, board), board.queries("test"))
    assert np.mean(scores.argmax(axis=1) == board.truth("test").items.values) > 0.9


def test_without_decay_the_order_of_a_history_is_nothing(board: Dataset, tmp_path: Path) -> None:
    run = tiny.train("vae_cf", "torch", board, tmp_path, small(decay=1.0))
    forth, back = tiny.scorer_of(run, board).score(queries_of([1, 3, 8, 3], [8, 3, 1]))
    assert forth.tobytes() == back.tobytes()


class EndedError(Exception):
    """What ends a training in the middle."""


def test_a_training_goes_on_to_the_same_bytes_while_beta_rises(
    board: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = VaeCfTraining(
        epochs=5, threads=1, checkpoint_every=2, monitor="ndcg@3", validate_every=0.7
    )
    config = small(anneal_cap=1.0, anneal_steps=10, valid_k=3, training=training)
    whole, parts = new_run(tmp_path), new_run(tmp_path)
    expected = on_torch.train(config, board, whole)
    usual = VaeCfConfig.beta

    def ends_at(number: int) -> None:
        def beta(self: VaeCfConfig, batch: int) -> float:
            if batch == number:
                raise EndedError
            return usual(self, batch)

        monkeypatch.setattr(VaeCfConfig, "beta", beta)

    for number in (3, 4, 11):
        ends_at(number)
        with pytest.raises(EndedError):
            on_torch.train(config, board, parts)
    ends_at(-1)
    found = on_torch.train(config, board, parts)
    queries = board.queries("test")
    assert found.score(queries).tobytes() == expected.score(queries).tobytes()
    assert parts.read_lines("metrics.jsonl") == whole.read_lines("metrics.jsonl")


def test_a_users_own_id_is_not_used(board: Dataset, tmp_path: Path) -> None:
    scorer = tiny.scorer_of(tiny.train("vae_cf", "torch", board, tmp_path), board)
    queries = board.queries("test")
    strangers = Queries(np.full(len(queries), -1, np.int32), queries.history)
    assert scorer.score(strangers).tobytes() == scorer.score(queries).tobytes()


def test_without_a_validation_fold_the_last_weights_count(tmp_path: Path) -> None:
    train = [(u, i, 0) for u in range(6) for i in range(6) if u != i]
    data = write_dataset(tmp_path / "data", train=train, n_users=6, n_items=6, folds={})
    run = tiny.train(
        "vae_cf", "torch", data, tmp_path, small(training=VaeCfTraining(epochs=2, threads=1))
    )
    assert [set(line) for line in run.read_lines("metrics.jsonl")] == [
        {"step", "epoch", "loss", "learning_rate"}
    ] * 2


def test_a_monitor_of_another_length_is_refused(board: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="validation gives loss, hit_rate@5, ndcg@5"):
        tiny.train(
            "vae_cf", "torch", board, tmp_path, small(valid_k=5, training=VaeCfTraining(epochs=1))
        )


def test_weights_of_another_size_are_refused(board: Dataset, tmp_path: Path) -> None:
    run = tiny.train("vae_cf", "torch", board, tmp_path)
    with pytest.raises(ArtifactError, match="damaged"):
        registry.resolve("vae_cf").load(run.model_directory, small(dim=4), board)
