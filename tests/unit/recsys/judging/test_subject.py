"""Whose answers are judged."""

from __future__ import annotations

from falconer.recsys.judging.subject import Subject


def test_a_run_is_named_by_its_folder_and_a_file_by_its_label() -> None:
    assert Subject(label="ease", run="shop-ease-1").name == "shop-ease-1"
    assert Subject(label="theirs").name == "theirs"
