"""Boxes, matching, loss and detections are those of torchvision 0.29, recorded from it."""

from __future__ import annotations

import json

import pytest

from tests.oracles.detection import GOLDEN, RECORDED, case, digest, ours

RECORDS = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("number", range(RECORDED))
def test_a_random_case_has_torchvisions_values(number: int) -> None:
    found = digest(ours(case(number)))
    assert found.keys() == RECORDS[number].keys()
    for name, values in RECORDS[number].items():
        assert found[name] == pytest.approx(values, rel=1e-4, abs=1e-2), name
