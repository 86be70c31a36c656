"""Trained recommenders as directories: beside what every saved model has, the ids that it knows."""

from __future__ import annotations

from pathlib import Path

from falconer.pipelines.data.dataset import Dataset
from falconer.pipelines.data.schema import IdSpace
from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.models import saved
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.contracts import CatalogScorer, PairScorer
from falconer.recsys.models.registry import REGISTRY, Implementation


class ModelCard(saved.Card):
    """The card of a recommender."""

    dataset_id: str
    id_space: IdSpace
    n_items: int
    n_users: int


def save_model(
    target: Path,
    scorer: CatalogScorer | PairScorer,
    *,
    implementation: Implementation,
    config: ModelConfig,
    data: Dataset,
) -> None:
    """Write a model directory: `model.json` and the scorer's own files; atomic."""
    card = ModelCard(
        **saved.facts_of(implementation, config),
        dataset_id=data.card.dataset_id,
        id_space=data.card.id_space,
        n_items=data.n_items,
        n_users=data.n_users,
    )
    saved.save(target, scorer, card)


def load_model(directory: Path, data: Dataset) -> CatalogScorer | PairScorer:
    """Load what `save_model` wrote, to score queries of `data`.

    Raises `ArtifactError` where the directory is damaged, or where `data` is of another lineage
    than the model's.
    """
    card = read_card(directory)
    own = card.id_space
    if not data.card.id_space.descends_from(own):
        raise ArtifactError(
            f"{directory}: the model knows the ids of lineage {own.generations[-1]}, and "
            f"{data.path} does not descend from it; train on this dataset, or build the dataset "
            "with `extends` set to the model's own dataset"
        )
    scorer: CatalogScorer | PairScorer = saved.load(directory, card, REGISTRY, data)
    return scorer


def read_card(directory: Path) -> ModelCard:
    """The card of a recommender's directory; `ArtifactError` as of `saved.read_card`."""
    return saved.read_card(directory, ModelCard)
