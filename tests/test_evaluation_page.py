"""Evaluations as a page: whole, without network, readable anywhere, and safe whatever labels say."""

import re
from pathlib import Path

import msgspec
import pytest
import trio

from proctor.analysis.discovery import discover
from proctor.analysis.policy import Policy, built_in_policy
from proctor.evaluation.alerts import Judge
from proctor.evaluation.figure import plots
from proctor.evaluation.measure import Measured, measure
from proctor.evaluation.metrics import Labels
from proctor.evaluation.page import page as page_of
from proctor.evaluation.sittings import simulated
from proctor.evaluation.summary import Evaluation, policy_result
from tests.fixtures.browser import Page

ANALYZERS = discover()
BY = Judge(ANALYZERS, built_in_policy(ANALYZERS))
BLIND = Labels(intervals=(), duration_seconds=0.0, tolerance_seconds=2.0)
STRICT = msgspec.structs.replace(BY.policy, name="strict")


def measured(kind: str = "") -> Measured:
    """One exam in which something is found; of another kind if one is named."""
    [sitting] = simulated(["brief-phone"], 1, 6, 3, 1)
    [result] = measure(sitting, [BY])
    return msgspec.structs.replace(result, kind=kind or result.kind)


def evaluation(some: list[Measured], policies: list[Policy]) -> Evaluation:
    results = [policy_result(policy, policy.name, some, 0.02) for policy in policies]
    return Evaluation(proctor="0", source="exams", prevalence=0.02, policies=results)


@pytest.fixture(scope="module")
def compared() -> Evaluation:
    sittings = simulated(["phone", "honest-poster"], 2, 6, 3, 1)
    return evaluation([result for each in sittings for result in measure(each, [BY])], [BY.policy, STRICT])


@pytest.fixture
def written(compared: Evaluation, tmp_path: Path) -> Path:
    path = tmp_path / "evaluation.html"
    path.write_text(page_of(compared))
    return path


def test_the_same_evaluation_is_the_same_page(compared: Evaluation):
    assert page_of(compared) == page_of(compared)


def test_thresholds_are_drawn_as_steps(compared: Evaluation):
    """Between two of them nothing was tried."""
    thresholds = next(plot for plot in plots(compared) if plot.name == "thresholds")
    assert {trace["line"]["shape"] for trace in thresholds.figure["data"]} == {"hv"}


def test_without_anything_known_there_is_a_page(tmp_path: Path):
    """Honest sessions alone, none of which could be judged."""
    blind = msgspec.structs.replace(
        measured("honest"), labels=BLIND, windows=[], found=[], alerts=[], confidence=None
    )
    assert "What is found" in page_of(evaluation([blind], [BY.policy]))


async def test_draws_every_plot_and_loads_nothing(written: Path, page: Page):
    await page.call("goto", written.as_uri())
    plots = ["thresholds", "scores", "found", "false", "alerts", "windows", "verdicts"]
    for name in plots:
        await page.call("wait_for_selector", f"#{name} .main-svg")
    dots = "document.querySelectorAll('#scores .boxlayer .point').length"
    assert await page.call("evaluate", dots) == 8
    bars = "document.querySelectorAll('#found .barlayer .point').length"
    assert await page.call("evaluate", bars) == 2
    shown = await page.call("inner_text", "body")
    for words in ("default", "strict", "honest-poster", "told apart", "What it follows from"):
        assert words in shown
    assert await page.call("requests") == [written.as_uri()]
    assert await page.call("errors") == await page.call("console") == []


async def test_fits_a_phone_and_follows_light_and_dark(written: Path, page: Page):
    """The page never scrolls sideways; plots have the page's colours, and print in those of paper."""
    await page.call("set_viewport_size", {"width": 390, "height": 800})
    await page.call("goto", written.as_uri())
    await page.call("wait_for_selector", "#verdicts .main-svg")
    assert await page.call("evaluate", "document.documentElement.scrollWidth") <= 390
    paper = "getComputedStyle(document.querySelector('#scores .main-svg')).backgroundColor"
    assert await page.call("evaluate", paper) == "rgb(255, 255, 255)"
    await page.call("emulate_media", color_scheme="dark")
    dark = await page.call("evaluate", "getComputedStyle(document.body).backgroundColor")
    assert dark != "rgb(255, 255, 255)"
    while await page.call("evaluate", paper) != dark:  # noqa: ASYNC110 - the page tells nobody
        await trio.sleep(0.02)
    await page.call("evaluate", "dispatchEvent(new Event('beforeprint'))")
    assert await page.call("evaluate", paper) == "rgb(255, 255, 255)"
    await page.call("evaluate", "dispatchEvent(new Event('afterprint'))")
    assert await page.call("evaluate", paper) == dark


async def test_nothing_that_labels_say_is_markup(tmp_path: Path, page: Page):
    evil = "</script><script>document.title='owned'</script><a href='https://example.org'>x</a>"
    policy = msgspec.structs.replace(BY.policy, name=evil)
    path = tmp_path / "evil.html"
    path.write_text(page_of(evaluation([measured(evil)], [policy])))
    await page.call("goto", path.as_uri())
    await page.call("wait_for_selector", "#verdicts .main-svg")
    assert await page.call("title") == "Evaluation"
    assert evil in await page.call("inner_text", "body")
    assert await page.call("evaluate", "document.querySelectorAll('a').length") == 0
    assert await page.call("evaluate", "document.querySelectorAll('script').length") == 2
    [drawn] = re.findall(r"^const figures = (.*);$", path.read_text(), re.MULTILINE)
    assert "<" not in drawn
