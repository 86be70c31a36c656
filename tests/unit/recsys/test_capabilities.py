from __future__ import annotations

import re

from falconer.recsys.models.capabilities import LEGEND, table
from falconer.recsys.models.registry import MODELS


def lines_of_models() -> list[list[str]]:
    return [re.split(r"  +", line) for line in table().split("\n\n")[0].splitlines()]


def test_every_model_is_listed_in_the_registrys_order() -> None:
    assert [line[0] for line in lines_of_models()[1:]] == list(MODELS)


def test_what_is_declared_is_shown() -> None:
    header, *lines = lines_of_models()
    rows = {line[0]: dict(zip(header, line, strict=False)) for line in lines}
    assert rows["popularity"]["personalised"] == "-"
    assert rows["ease"]["folds in"] == rows["ease"]["order"] == "yes"
    assert (rows["ncf"]["task"], rows["ncf"]["backend"], rows["ncf"]["folds in"]) == (
        "top_n, labels",
        "torch, tensorflow",
        "-",
    )
    assert rows["sasrec"]["needs"] == "times"
    assert rows["wide_deep"]["needs"] == "features"
    assert (rows["sasrec"]["starts"], rows["ease"]["starts"]) == ("torch", "-")


def test_every_column_but_the_plain_ones_is_explained() -> None:
    header = lines_of_models()[0]
    assert [column for column in header if f"{column}  " not in LEGEND] == ["model", "backend"]
