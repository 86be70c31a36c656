"""Trainings that are judged together: a recipe without each of its parts, and k-fold
cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from falconer.pipelines.config import Config
from falconer.pipelines.console import say
from falconer.pipelines.errors import ConfigError
from falconer.pipelines.files import identity_of, write_json, write_text
from falconer.pipelines.runs import Run
from falconer.vision.ablation import variants
from falconer.vision.data.named import open_source
from falconer.vision.data.prepared import Prepared, prepare
from falconer.vision.data.source import Fold
from falconer.vision.data.split import k_folds
from falconer.vision.judging.compare import (
    JudgedRun,
    against_first,
    read_judged,
)
from falconer.vision.judging.report import JudgeConfig
from falconer.vision.model import load_classifier
from falconer.vision.recipe import load_recipe
from falconer.vision.reporting.comparison_page import ablation_page
from falconer.vision.reporting.run_page import run_page
from falconer.vision.stages.evaluate import (
    PAGE,
    REPORT,
    VALUES,
    Answers,
    answers_of,
    evaluate,
    fitted,
    judged,
    tell,
    write_values,
)
from falconer.vision.stages.train import (
    PICTURES,
    Part,
    tell_set_aside,
    trained_once,
    with_agreed_network,
)

POOLED = "all"
"""The folder, and the name as a fold, of pictures that were judged by several runs."""


class AblationConfig(Config):
    """How often each recipe is trained, and what decides."""

    seeds: int = Field(default=3, ge=1, le=100)
    fold: Fold = "valid"
    metric: str = "top1"


class CrossConfig(JudgeConfig):
    """Into how many parts the pictures are divided."""

    folds: int = Field(default=5, ge=3, le=100)


def ablate(
    recipe: str,
    data: str,
    runs_root: Path,
    *,
    overrides: Sequence[str] = (),
    pictures: Path = PICTURES,
    config: AblationConfig | None = None,
) -> Path:
    """Train the recipe whole and without each of its parts, with several seeds each; returns the
    page.

    The same command goes on where an earlier one was ended: runs that have finished are not trained
    again.
    """
    settings = config or AblationConfig()
    whole = with_agreed_network(load_recipe(recipe, overrides))
    prepared = prepare(open_source(data), whole.pictures, pictures)
    tell_set_aside(prepared)
    identity = identity_of([whole.model_dump(mode="json"), prepared.card.dataset_id])
    root = runs_root / f"ablation-{Path(recipe).stem}-{identity}"
    recipes = variants(whole)
    groups: dict[str, list[JudgedRun]] = {name: [] for name in recipes}
    _say_cost(len(recipes) * settings.seeds, shorter="fewer --seeds")
    for seed in range(whole.seed, whole.seed + settings.seeds):
        for name, variant in recipes.items():
            say(f"{name}, seed {seed}")
            path = trained_once(
                variant.model_copy(update={"seed": seed}),
                prepared,
                root,
                label=name,
                run_id=identity_of([name, seed])[:8],
            )
            judged_in = path / settings.fold
            if not (judged_in / REPORT).exists():
                evaluate(path, fold=settings.fold, pictures=pictures)
            groups[name].append(read_judged(judged_in, report=REPORT, values=VALUES))
    means, rows = against_first(groups, settings.metric)
    write_json(
        root / "ablation.json",
        {
            "format_version": 1,
            "recipe": recipe,
            "dataset_id": prepared.card.dataset_id,
            **settings.model_dump(mode="json"),
            "rows": [row.model_dump(mode="json") for row in rows],
        },
    )
    page = root / "ablation.html"
    write_text(page, ablation_page(Path(recipe).stem, means, rows, settings.metric))
    return page


def crossvalidate(
    recipe: str,
    data: str,
    runs_root: Path,
    *,
    overrides: Sequence[str] = (),
    pictures: Path = PICTURES,
    config: CrossConfig | None = None,
) -> Path:
    """Train once for each part of the pictures, and judge every picture by the run that saw neither
    it nor its group; returns the folder of the report. For small sets, whose test fold is too
    small.

    The next part in turn chooses the weights and the temperature. The same command goes on where an
    earlier one was ended.
    """
    settings = config or CrossConfig()
    recipe_config = with_agreed_network(load_recipe(recipe, overrides))
    prepared = prepare(open_source(data), recipe_config.pictures, pictures)
    tell_set_aside(prepared)
    if prepared.card.task != "classes":
        raise ConfigError("cross-validation is for classes, and these pictures have tags")
    parts = k_folds(prepared.groups, prepared.labels.astype(np.int64), k=settings.folds)
    identity = identity_of(
        [recipe_config.model_dump(mode="json"), prepared.card.dataset_id, settings.folds]
    )
    root = runs_root / f"crossvalidation-{Path(recipe).stem}-{identity}"
    _say_cost(settings.folds, shorter="fewer --folds")
    answers: list[Answers] = []
    for number in range(settings.folds):
        say(f"part {number + 1} of {settings.folds}")
        chooses = (number + 1) % settings.folds
        part = Part(
            np.flatnonzero((parts != number) & (parts != chooses)), np.flatnonzero(parts == chooses)
        )
        run = Run.open(
            trained_once(
                recipe_config,
                prepared,
                root,
                label=Path(recipe).stem,
                run_id=f"part{number}",
                part=part,
            )
        )
        classifier = fitted(run, load_classifier(run.model_directory), part.valid)
        found = answers_of(classifier, prepared, np.flatnonzero(parts == number))
        scale = np.float32(classifier.card.temperature)
        answers.append(Answers(found.names, found.rows, found.logits / scale, found.labels))
    return _write_pooled(root, run, prepared, _pooled(answers), settings)


def _say_cost(trainings: int, *, shorter: str) -> None:
    say(
        f"{trainings} trainings, each of which says how long it takes ({shorter} take less; what "
        "Ctrl-C ends goes on with the same command)"
    )


def _pooled(answers: Sequence[Answers]) -> Answers:
    """The answers of all parts, in the order of the pictures."""
    rows = np.concatenate([one.rows for one in answers])
    order = np.argsort(rows, kind="stable")
    names = [name for one in answers for name in one.names]
    return Answers(
        [names[place] for place in order],
        rows[order],
        np.concatenate([one.logits for one in answers])[order],
        np.concatenate([one.labels for one in answers])[order],
    )


def _write_pooled(
    root: Path, run: Run, prepared: Prepared, answers: Answers, settings: CrossConfig
) -> Path:
    """The report on the pooled answers, whose logits are after each part's own temperature."""
    classifier = load_classifier(run.model_directory)
    classifier.card = classifier.card.model_copy(update={"temperature": 1.0})
    judge = JudgeConfig(**settings.model_dump(exclude={"folds"}))
    report = judged(run, classifier, prepared, answers, "test", judge)
    label = f"{run.info['label']}, {settings.folds}-fold"
    report = report.model_copy(update={"label": label, "run": None, "fold": POOLED})
    out = root / POOLED
    write_json(out / REPORT, report.model_dump(mode="json"))
    write_values(out / VALUES, classifier.card, answers)
    text = run_page(run, report, classifier, prepared, answers.rows, answers.logits)
    write_text(out / PAGE, text)
    tell(report)
    return out
