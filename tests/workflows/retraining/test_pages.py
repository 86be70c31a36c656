from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from falconer.pipelines.errors import ArtifactError
from falconer.pipelines.files import write_json
from falconer.workflows.retraining import champions, status_page, verdict_page
from falconer.workflows.retraining.places import DECISION, HISTORY, MODEL, Places
from falconer.workflows.retraining.status import status
from tests.support import verdicts
from tests.support.verdicts import START

OUTCOMES = ("promote", "keep", "suspicious", "undecidable", "refused")


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html.partition("<main")[2]).split())


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_verdicts_page_says_why_and_escapes_what_it_was_given(
    outcome: str, tmp_path: Path
) -> None:
    places = Places(tmp_path, "shop")
    verdicts.write_windows(places, [outcome])
    html = verdict_page.write(places, verdicts.window_name(0)).read_text()
    assert "<img" not in html
    assert html.count("<script") == 1
    decision = json.loads((places.window(verdicts.window_name(0)) / DECISION).read_text())
    assert decision["outcome"] in html.partition("</h1>")[0]
    for rule in decision["rules"]:
        shown = rule["text"].removeprefix(f"{rule['rule']}: ")
        assert "<" in shown or shown in text_of(html), "every rule's finding is on the page"
    if outcome == "undecidable":
        assert f"About {decision['users_needed']:,} users would be enough" in html


def test_a_changed_decision_has_no_page(tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    verdicts.write_windows(places, ["keep"])
    path = places.window(verdicts.window_name(0)) / DECISION
    write_json(path, {**json.loads(path.read_text()), "outcome": "promote"})
    with pytest.raises(ArtifactError, match="changed by hand"):
        verdict_page.write(places, verdicts.window_name(0))


def test_a_promotion_that_an_order_overtook_is_not_told_as_one(tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    verdicts.write_windows(places, ["promote", "promote"])
    window = verdicts.window_name(1)
    assert "serves from now on" in text_of(verdict_page.write(places, window).read_text())
    history = places.registry / HISTORY
    history.write_text(history.read_text().splitlines(keepends=True)[0])
    first = verdicts.window_name(0)
    model = verdicts.model(places, first)
    write_json(places.judged(first, "item_knn") / MODEL, model.model_dump())
    champions.promote(places, first, "item_knn", reason="a test")
    text = text_of(verdict_page.write(places, window).read_text())
    assert "does not serve: the champion was changed by an order" in text
    assert "serves from now on" not in text


def test_a_promotion_that_a_later_window_overtook_is_not_told_as_overruled(tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    verdicts.write_windows(places, ["promote", "promote"])
    history = places.registry / HISTORY
    history.write_text(history.read_text().splitlines(keepends=True)[1])
    text = text_of(verdict_page.write(places, verdicts.window_name(0)).read_text())
    assert "does not serve: a later window was decided first, and" in text
    assert "order" not in text.partition("does not serve")[2].partition("compare")[0]


def test_the_page_on_a_pipeline(tmp_path: Path) -> None:
    shop = verdicts.pipeline_of(tmp_path)
    verdicts.write_windows(
        Places.of(shop), ["promote", "keep", "promote", "refused", "undecidable"]
    )
    html = status_page.write(Places.of(shop), status(shop, START)).read_text()
    assert "<img" not in html
    assert html.count("<script") == 1
    text = text_of(html)
    assert f"Why window {verdicts.window_name(4)} changed nothing" in text
    assert "the noise of these users hides this" in text
    assert html.count("verdict.html") == 5
    assert text.count("every rule held") == 2, "each change of the champion is listed"
    assert "hour now" in html, "its drift is drawn"


def test_the_page_on_a_pipeline_that_has_not_run(tmp_path: Path) -> None:
    shop = verdicts.pipeline_of(tmp_path)
    text = text_of(status_page.write(Places.of(shop), status(shop, START)).read_text())
    assert "No window is decided yet" in text


def test_only_the_newest_windows_are_drawn(tmp_path: Path) -> None:
    shop = verdicts.pipeline_of(tmp_path)
    verdicts.write_windows(Places.of(shop), ["refused"] * (status_page.SHOWN + 2))
    html = status_page.write(Places.of(shop), status(shop, START)).read_text()
    assert "2 older windows are not shown" in html
    assert html.count("verdict.html") == status_page.SHOWN


def test_a_verdicts_page_says_why_there_is_no_estimate(tmp_path: Path) -> None:
    places = Places(tmp_path, "shop")
    verdicts.write_windows(places, ["keep"])
    text = text_of(verdict_page.write(places, verdicts.window_name(0)).read_text())
    assert "5,400 logged rows of 1,882 users earned 0.1700" in text
    assert "Refused: 1,882 logged users tell as much as 79" in text
    assert "The mean weight is not 1 but for chance." in text
