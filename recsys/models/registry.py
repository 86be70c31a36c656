"""Every recommender by name: its configuration class, and where each backend's `train` and `load`
are.

Adding a model = a folder below `recsys/models`, one line here, one recipe: the contract tests find
it.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from falconer.pipelines.config import Config, parse
from falconer.pipelines.data.dataset import Dataset, checksums
from falconer.pipelines.data.schema import IdSpace
from falconer.pipelines.errors import ArtifactError, ConfigError, MissingExtraError
from falconer.pipelines.files import atomic_directory, read_json, write_json
from falconer.recsys.configs.model import ModelConfig
from falconer.recsys.contracts import CatalogScorer, Loader, PairScorer, Trainer
from falconer.recsys.models.als.config import AlsConfig
from falconer.recsys.models.bert4rec.config import Bert4RecConfig
from falconer.recsys.models.bpr.config import BprConfig
from falconer.recsys.models.dlrm.config import DlrmConfig
from falconer.recsys.models.ease.config import EaseConfig
from falconer.recsys.models.item_knn.config import ItemKnnConfig
from falconer.recsys.models.label_mean.config import LabelMeanConfig
from falconer.recsys.models.ncf.config import NcfConfig
from falconer.recsys.models.personal_popularity.config import PersonalPopularityConfig
from falconer.recsys.models.popularity.config import PopularityConfig
from falconer.recsys.models.sasrec.config import SasRecConfig
from falconer.recsys.models.vae_cf.config import VaeCfConfig
from falconer.recsys.models.wide_deep.config import WideDeepConfig

MODEL_FORMAT_VERSION = 1
MODEL_CARD = "model.json"


@dataclass(frozen=True)
class Model:
    """A registered recommender; `backends` maps a backend's name to the module that holds `train`
    and `load`.

    The modules are strings so that looking a model up imports no framework.
    """

    config: type[ModelConfig]
    backends: Mapping[str, str]


def _on(name: str, *backends: str) -> dict[str, str]:
    """The modules of a model that has several backends."""
    return {backend: f"falconer.recsys.models.{name}.on_{backend}" for backend in backends}


MODELS: Mapping[str, Model] = {
    "popularity": Model(PopularityConfig, {"numpy": "falconer.recsys.models.popularity.on_numpy"}),
    "personal_popularity": Model(
        PersonalPopularityConfig, {"numpy": "falconer.recsys.models.personal_popularity.on_numpy"}
    ),
    "label_mean": Model(LabelMeanConfig, {"numpy": "falconer.recsys.models.label_mean.on_numpy"}),
    "item_knn": Model(ItemKnnConfig, {"numpy": "falconer.recsys.models.item_knn.on_numpy"}),
    "ease": Model(EaseConfig, {"numpy": "falconer.recsys.models.ease.on_numpy"}),
    "als": Model(AlsConfig, {"implicit": "falconer.recsys.models.als.on_implicit"}),
    "ncf": Model(NcfConfig, _on("ncf", "torch", "tensorflow")),
    "wide_deep": Model(WideDeepConfig, _on("wide_deep", "torch", "tensorflow")),
    "dlrm": Model(DlrmConfig, _on("dlrm", "torch", "tensorflow")),
    "bpr": Model(BprConfig, {"implicit": "falconer.recsys.models.bpr.on_implicit"}),
    "vae_cf": Model(VaeCfConfig, _on("vae_cf", "torch", "tensorflow")),
    "sasrec": Model(SasRecConfig, _on("sasrec", "torch", "tensorflow")),
    "bert4rec": Model(Bert4RecConfig, _on("bert4rec", "torch", "tensorflow")),
}


class ModelCard(Config):
    """The content of `model.json`: what the model is, and the ids that it knows."""

    format_version: int
    name: str
    backend: str
    config: dict[str, Any]
    """The whole configuration, all defaults frozen in."""
    dataset_id: str
    id_space: IdSpace
    n_items: int
    n_users: int
    content: dict[str, str]
    """Relative path -> sha256 of every other file of the directory."""


@dataclass(frozen=True)
class Implementation:
    """One model on one backend."""

    name: str
    backend: str
    config: type[ModelConfig]
    train: Trainer
    load: Loader


def model_of(name: str) -> Model:
    """The registered model; `ConfigError` with the nearest name where there is none."""
    if name in MODELS:
        return MODELS[name]
    near = difflib.get_close_matches(name, MODELS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known models: {', '.join(MODELS)}"
    raise ConfigError(f"no model {name!r}; {hint}")


def resolve(name: str, backend: str | None = None) -> Implementation:
    """Import the implementation; `backend` None takes the first that the registry lists.

    Raises `ConfigError` for an unknown name or backend, `MissingExtraError` where the backend's
    package is absent.
    """
    model = model_of(name)
    chosen = backend or next(iter(model.backends))
    if chosen not in model.backends:
        raise ConfigError(
            f"model {name!r} has no backend {chosen!r}, only {', '.join(model.backends)}"
        )
    try:
        module = importlib.import_module(model.backends[chosen])
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{name} on {chosen} needs the package {error.name!r}, which is not installed; "
            "`falconer doctor` says how"
        ) from error
    return Implementation(name, chosen, model.config, module.train, module.load)


def save_model(
    target: Path,
    scorer: CatalogScorer | PairScorer,
    *,
    implementation: Implementation,
    config: ModelConfig,
    data: Dataset,
) -> None:
    """Write a model directory: `model.json` and the scorer's own files; atomic."""
    with atomic_directory(target) as partial:
        scorer.save(partial)
        card = ModelCard(
            format_version=MODEL_FORMAT_VERSION,
            name=implementation.name,
            backend=implementation.backend,
            config=config.model_dump(mode="json"),
            dataset_id=data.card.dataset_id,
            id_space=data.card.id_space,
            n_items=data.n_items,
            n_users=data.n_users,
            content=checksums(partial, leave_out=(MODEL_CARD,)),
        )
        write_json(partial / MODEL_CARD, card.model_dump(mode="json"))


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
            f"{data.path} does not descend "
            "from it; train on this dataset, or build the dataset with `extends` set to the "
            "model's own dataset"
        )
    if checksums(directory, leave_out=(MODEL_CARD,)) != card.content:
        raise ArtifactError(
            f"{directory}: damaged (its files are not those in {MODEL_CARD}); train the model anew"
        )
    implementation = resolve(card.name, card.backend)
    config = parse(implementation.config, card.config, str(directory / MODEL_CARD))
    return implementation.load(directory, config, data)


def read_card(directory: Path) -> ModelCard:
    """The card of a model directory; `ArtifactError` where it is absent, damaged, or of another
    format version."""
    path = directory / MODEL_CARD
    values = read_json(path)
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != MODEL_FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: format version {version}, this release reads {MODEL_FORMAT_VERSION}; train "
            "anew"
        )
    try:
        return ModelCard.model_validate(values)
    except ValidationError as error:
        raise ArtifactError(
            f"{path}: damaged: {error.error_count()} wrong values; train the model anew"
        ) from error
