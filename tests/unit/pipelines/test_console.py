from __future__ import annotations

import pytest

from falconer.pipelines.console import printable, say, warn


def test_names_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b]0;owned\x07\x1b[2Jb\x9b31mc\u202egpj.exe\rd\x08"
    say(hostile)
    warn(hostile)
    out, err = capsys.readouterr()
    assert out == err == "a\\x1b]0;owned\\x07\\x1b[2Jb\\x9b31mc\\u202egpj.exe\\rd\\x08\n"


def test_plain_text_of_any_language_stays() -> None:
    text = "naïve Größe\t日本語 👍 עברית\nsecond line"
    assert printable(text) == text
