from __future__ import annotations

import pytest

from falconer.pipelines import console
from falconer.pipelines.console import printable, progress, say, ticks, warn


def test_names_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b]0;owned\x07\x1b[2Jb\x9b31mc\u202egpj.exe\rd\x08"
    say(hostile)
    warn(hostile)
    out, err = capsys.readouterr()
    assert out == err == "a\\x1b]0;owned\\x07\\x1b[2Jb\\x9b31mc\\u202egpj.exe\\rd\\x08\n"


def test_plain_text_of_any_language_stays() -> None:
    text = "naïve Größe\t日本語 👍 עברית\nsecond line"
    assert printable(text) == text


def test_a_long_job_says_its_time_first_and_what_takes_less_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    assert list(progress(range(10), label="ranking", total=10, shorter="a smaller k")) == [
        *range(10)
    ]
    assert capsys.readouterr().err.splitlines() == [
        "ranking: 2/10, about 16 s left (a smaller k)",
        "ranking: 7/10, about 6 s left",
    ]


def test_a_loop_of_another_package_says_its_time_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    tick = ticks("als: epochs", total=5, shorter="fewer take less")
    for epoch in range(5):
        tick(epoch, 0.1, None)
    tick("once more than it was to be")
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "als: epochs: 1/5, about 16 s left (fewer take less)",
        "als: epochs: 4/5, about 4 s left",
    ]


def test_a_short_job_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress("ab", label="ranking", total=2, shorter="a smaller k")) == ["a", "b"]
    assert capsys.readouterr().err == ""
