"""Every page of the project in a real browser: opened from a file, with no network, at two widths,
light and dark."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, sync_playwright

from falconer.recsys.judging.config import EvaluationConfig
from falconer.recsys.reporting import labels_page as comparison_page
from falconer.recsys.reporting import lists_page as report
from falconer.workflows.retraining import champions, status_page, verdict_page
from falconer.workflows.retraining.places import Places
from falconer.workflows.retraining.status import status
from tests.support.comparisons import HOSTILE, LEVELS, make_comparison, make_runs, write_goods
from tests.support.datasets import write_labels_dataset
from tests.support.judging import comparison_of, judge_labels
from tests.support.verdicts import START, document, pipeline_of, write_windows

Scheme: TypeAlias = Literal["light", "dark"]

PHONE, DESK = 390, 1280
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def comparison_of_six(root: Path) -> str:
    """Six models, two views, curves, labels of items and of one model that try to break the
    page."""
    data = write_goods(root / "goods")
    levels = {**LEVELS, HOSTILE: 0.02}
    runs = make_runs(root / "runs", data, list(levels), ["all", "novel"])
    return report.render(make_comparison(data, levels, runs, ["all", "novel"]), data, runs)


def comparison_of_one(root: Path) -> str:
    """One model whose lists came from elsewhere, one view, no times, a sampled protocol: the barest
    page."""
    data = write_goods(root / "goods", has_time=False, sampled=True)
    return report.render(make_comparison(data, {"their.parquet": 0.1}, [None], ["novel"]), data, [])


def comparison_of_rows(root: Path) -> str:
    """Three models of the task `labels`, one of them from elsewhere with a label that tries to
    break the page."""
    data = write_labels_dataset(root / "clicks")
    score = np.linspace(0, 1, len(data.labels("test")))
    config = EvaluationConfig(resamples=100)
    found = [
        judge_labels(one, data, label=label, config=config, warnings=(HOSTILE,))
        for label, one in (("rising", score), ("falling", 1 - score), (HOSTILE, score**2))
    ]
    return comparison_page.render(comparison_of(found), data, [])


def verdict(root: Path) -> str:
    """A verdict with names that try to break the page."""
    steps = [{"step": "build", "seconds": 3.2, "skipped": False}]
    return verdict_page.render(
        {**document("keep"), "sha256": "2" * 64, "signature": "3" * 64}, steps
    )


def retraining_status(root: Path) -> str:
    """A pipeline with windows of every outcome."""
    places = Places(root, "shop")
    write_windows(places, ["promote", "keep", "suspicious", "promote", "undecidable", "refused"])
    shop = pipeline_of(root)
    return status_page.render(status(shop, START), champions.history(places))


PAGES: dict[str, Callable[[Path], str]] = {
    "comparison of six": comparison_of_six,
    "comparison of one": comparison_of_one,
    "comparison of rows": comparison_of_rows,
    "verdict": verdict,
    "retraining": retraining_status,
}
"""Every page that the project writes, by name: a new one is added here."""

BAD_PAGE = """<!doctype html><html lang="en"><head><title>Bad</title></head><body><main><h1>Bad</h1>
<p style="color:#ccc;background:#fff">Hard to read</p><div style="width:2000px">Wide</div>
<img src="https://example.org/a.png" alt="from elsewhere">
<script>undefinedFunction()</script></main></body></html>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("needs Chromium at /usr/bin/chromium: run scripts/system-packages as root")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_opens_without_network_and_reads_well(
    name: str, browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGES[name](tmp_path), encoding="utf-8")
    assert faults(browser, path, PHONE, "light") == []
    assert faults(browser, path, DESK, "dark") == []


def test_the_checks_find_what_they_look_for(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text(BAD_PAGE, encoding="utf-8")
    found = "\n".join(faults(browser, path, PHONE, "light"))
    for fault in (
        "request: https://example.org/a.png",
        "script: undefinedFunction",
        "console:",
        "wide:",
        "color-contrast",
    ):
        assert fault in found


def test_hostile_labels_stay_text_and_the_button_opens_every_user(
    browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    path.write_text(comparison_of_six(tmp_path), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    assert page.title() == "6 recommenders on goods · Falconer"
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    page.get_by_role("button", name="Open all").click()
    assert page.locator("details.user[open]").count() == 10
    page.get_by_role("button", name="Close all").click()
    assert page.locator("details.user[open]").count() == 0
    page.close()


def test_the_explorer_finds_a_user_and_shows_two_models_side_by_side(
    browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    path.write_text(comparison_of_six(tmp_path), encoding="utf-8")
    page = browser.new_page()
    page.goto(path.as_uri())
    explorer = page.locator("[data-explorer]")
    assert explorer.locator("datalist option").count() == 40
    explorer.get_by_label("User").fill("user 17")
    explorer.get_by_label("Left").select_option(label="ease")
    explorer.get_by_label("Right").select_option(label="als")
    explorer.get_by_label("View").select_option(label="Novel items only")
    shown = explorer.locator("[data-out]")
    assert shown.locator("h3").inner_text() == "user 17"
    assert [one.inner_text() for one in shown.locator(".pair h4").all()] == ["ease", "als"]
    assert shown.locator(".pair ol").count() == 2
    assert shown.locator(".pair ol li").count() == 20
    explorer.get_by_label("User").fill("nobody")
    assert "No such user" in shown.inner_text()
    assert page.title() == "6 recommenders on goods · Falconer"
    page.close()


def test_a_table_is_copied_as_csv(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(comparison_of_one(tmp_path), encoding="utf-8")
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(path.as_uri())
    page.locator("[data-copies='novel-table-caption']").click()
    page.get_by_text("Copied").wait_for()
    rows = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert rows[0].startswith('"Model","Group","ndcg@10"')
    assert rows[1].startswith('"their.parquet","a","0.1800 0.1728 to 0.1872"')
    assert '"capped_recall@10"' in rows[0]
    context.close()


def test_a_copied_cell_is_never_a_formula(browser: Browser, tmp_path: Path) -> None:
    data, path = write_goods(tmp_path / "goods"), tmp_path / "page.html"
    levels = {'=HYPERLINK("x")': 0.3, "-1+1": 0.2, "@sum": 0.1, "-0.5": 0.05}
    found = make_comparison(data, levels, [None] * 4, ["novel"])
    path.write_text(report.render(found, data, []), encoding="utf-8")
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(path.as_uri())
    page.locator("[data-copies='novel-table-caption']").click()
    page.get_by_text("Copied").wait_for()
    rows = page.evaluate("navigator.clipboard.readText()").splitlines()
    first = [row.split('",')[0] for row in rows[1:]]
    assert first == ['"\'=HYPERLINK(""x"") best', "\"'-1+1", "\"'@sum", '"-0.5']
    assert '"0.3000 0.2' in rows[1]
    context.close()


def faults(browser: Browser, path: Path, width: int, scheme: Scheme) -> list[str]:
    """What is wrong with the page at this width: scripts, requests, horizontal scroll,
    accessibility."""
    found: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )

    def pass_only_the_file(route: Route) -> None:
        if route.request.url == path.as_uri():
            route.continue_()
        else:
            found.append(f"request: {route.request.url}")
            route.abort()

    context.route("**/*", pass_only_the_file)
    page = context.new_page()
    page.on("pageerror", lambda error: found.append(f"script: {error}"))
    page.on("console", lambda message: found.append(f"console: {message.text}"))
    page.goto(path.as_uri())
    page.evaluate(
        "document.querySelectorAll('details').forEach(element => { element.open = true; })"
    )
    found += _too_wide(page)
    # Nine more users of the same template would only make the accessibility check slow.
    page.evaluate(
        "document.querySelectorAll('.user ~ .user, .user details').forEach(one => { one.open = "
        "false; })"
    )
    found += _hard_to_use(page)
    context.close()
    return found


def _too_wide(page: Page) -> list[str]:
    scrolled, seen = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    return [f"wide: {scrolled} of {seen} pixels"] if scrolled > seen else []


def _hard_to_use(page: Page) -> list[str]:
    violations = Axe().run(page).response["violations"]
    return [
        f"{found['id']}: {found['nodes'][0]['html'][:200]} ({len(found['nodes'])} places)"
        for found in violations
        if found["impact"] in ("serious", "critical", "moderate")
    ]
