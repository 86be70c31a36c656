from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna

from falconer.pipelines.config import parse
from falconer.pipelines.tuning import study
from falconer.pipelines.tuning.search_space import Knob


def test_whole_and_real_numbers_are_suggested_as_such(tmp_path: Path) -> None:
    searched = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    knobs = {
        "whole": parse(Knob, {"low": 1, "high": 3}, "here"),
        "real": parse(Knob, {"low": 1, "high": 3.0}, "here"),
        "log": parse(Knob, {"low": 1e-6, "high": 1.0, "log": True}, "here"),
        "choice": parse(Knob, {"choices": [[1, 2], [3], True, "a"]}, "here"),
    }
    drawn = [
        {key: study.suggested(searched.ask(), key, knob) for key, knob in knobs.items()}
        for _ in range(60)
    ]
    assert {row["whole"] for row in drawn} == {1, 2, 3}
    assert len({row["real"] for row in drawn}) == 60
    assert np.median([row["log"] for row in drawn]) < 0.1
    assert {repr(row["choice"]) for row in drawn} == {"[1, 2]", "[3]", "True", "'a'"}
