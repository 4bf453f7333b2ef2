"""Reports as a page: whole, without network, true to the signals, and safe whatever clients wrote."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from proctor.analysis.discovery import discover
from proctor.analysis.policy import built_in_policy
from proctor.analysis.schema import Report
from proctor.offline.figure import figure
from proctor.offline.page import page as page_of
from proctor.offline.recording import read_recording
from proctor.offline.signals import POINTS_MAX, Signals, diagrams, signals
from proctor.simulator import exam_taker
from proctor.simulator.people import episode
from proctor.simulator.replay import stored_frames
from proctor.times import iso_from_ms
from tests.fakes import judged
from tests.fixtures.browser import Page

T0 = 1_767_603_600_000
ANALYZERS = discover()
POLICY = built_in_policy(ANALYZERS)
EXAM = exam_taker(
    "honest-bad-network",
    3,
    20,
    script=[episode("phone", 300, 320), episode("notes", 600, 730), episode("tab", 900, 930)],
)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "s1_frames.json"
    path.write_bytes(b"[" + b",".join(stored_frames(EXAM, "s1", T0)) + b"]")
    return path


def written(path: Path) -> tuple[Report, str]:
    recording = read_recording(path, T0)
    report = msgspec.json.decode(judged(recording, ANALYZERS, POLICY, T0), type=Report)
    return report, page_of(report, recording, POLICY)


def sent(frames: list[dict[str, Any]]) -> Signals:
    return signals([json.dumps(frame).encode() for frame in frames], T0)


def frame(number: int, ms: int, **features: Any) -> dict[str, Any]:
    return {**features, "timestamp": iso_from_ms(T0 + ms), "frame_id": f"{T0 + ms}-{number}"}


class TestSignals:
    def test_a_line_has_the_points_that_tell_something(self):
        """Steady stretches are their ends."""
        values = [0, 0, 0, 1, 1, 0, 0, 0, 0]
        frames = [frame(i, 500 * i, phone_present=value) for i, value in enumerate(values)]
        [diagram] = diagrams(sent(frames), 5.0)
        [line] = diagram.lines
        assert line.seconds.tolist() == [0, 1, 1.5, 2, 2.5, 4]
        assert line.values.tolist() == [0, 0, 1, 1, 0, 0]

    def test_silence_and_what_is_unknown_are_blank(self):
        frames = [frame(0, 0, head_yaw=0.1), frame(1, 1000, head_yaw=0.1), frame(2, 60_000, head_yaw=0.1)]
        frames += [frame(3, 61_000), frame(4, 62_000, head_yaw=0.2)]
        [diagram] = diagrams(sent(frames), 5.0)
        [line] = diagram.lines
        assert line.name == "head_yaw"
        blank = line.seconds[np.isnan(line.values)].tolist()
        assert blank == [1, 61]

    def test_a_long_line_is_thinned_and_keeps_its_extremes(self):
        rng = np.random.default_rng(1)
        yaws = rng.normal(0, 0.01, 40_000).round(6)
        yaws[20_000] = 0.9
        frames = [frame(i, 100 * i, head_yaw=float(yaw)) for i, yaw in enumerate(yaws)]
        [diagram] = diagrams(sent(frames), 5.0)
        [line] = diagram.lines
        assert 1000 < line.seconds.size <= POINTS_MAX
        assert (line.values.max(), line.values.min()) == (yaws.max(), yaws.min())
        assert line.seconds[line.values.argmax()] == 2000
        assert (np.diff(line.seconds) >= 0).all()

    def test_what_nobody_sent_has_no_diagram(self):
        assert diagrams(sent([frame(0, 0, own=1), frame(1, 1000, own=2)]), 5.0) == []

    def test_events_stand_at_their_time(self):
        frames = [frame(0, 0), frame(1, 2500, event={"event": "TAB_SWITCHED", "lv": 9})]
        assert sent(frames).happenings == [(2.5, "TAB_SWITCHED")]


class TestFigure:
    @pytest.fixture
    def drawn(self, recorded: Path) -> tuple[Report, dict[str, Any]]:
        report, _ = written(recorded)
        drawn = signals(read_recording(recorded, T0).frames, T0)
        return report, figure(report, diagrams(drawn, 5.0), drawn.happenings, 0.4)

    def test_marks_gaps_findings_baselines_and_the_threshold(self, drawn):
        report, made = drawn
        shapes = made["layout"]["shapes"]
        kinds = [shape["name"] for shape in shapes]
        assert kinds.count("gap") == len(report.data_quality.gaps.longest) > 0
        signals = {"phone_present", "gaze_on_script", "head_yaw", "head_pitch", "face_present", "no_of_face"}
        seen_in_a_signal = [each for each in report.findings if each.observed.signal in signals]
        assert kinds.count("finding") == len(seen_in_a_signal) > 0
        normal = [each.observed.baseline for each in seen_in_a_signal if each.observed.baseline is not None]
        assert [shape["y0"] for shape in shapes if shape["name"] == "baseline"] == normal != []
        apart = [each.observed for each in seen_in_a_signal if each.observed.deviation is not None]
        bounds = [each.baseline + side * each.deviation for each in apart for side in (-1, 1)]
        assert [shape["y0"] for shape in shapes if shape["name"] == "threshold"] == [*bounds, 0.4]
        assert bounds

    def test_every_finding_and_window_is_a_bar(self, drawn):
        report, made = drawn
        bars = [trace for trace in made["data"] if trace["type"] == "bar"]
        assert sum(len(bar["y"]) for bar in bars if bar.get("orientation") == "h") == len(report.findings)
        [windows] = [bar for bar in bars if "orientation" not in bar]
        assert windows["y"] == [each.confidence for each in report.window_analysis.predictions_per_window]


class TestPage:
    async def test_shows_the_report_and_loads_nothing(self, recorded: Path, page: Page):
        report, text = written(recorded)
        path = recorded.with_suffix(".html")
        path.write_text(text)
        await page.call("goto", path.as_uri())
        shown = " ".join((await page.call("inner_text", "body")).split())
        for sentence in (report.verdict.verdict_basis, *report.recommendations):
            assert sentence in shown
        for finding in report.findings:
            assert finding.message in shown
        assert report.provenance.frames.digest in shown
        rows = await page.call("evaluate", "document.querySelectorAll('#timeline .subplot').length")
        assert rows >= 7
        assert await page.call("requests") == [path.as_uri()]
        assert await page.call("errors") == await page.call("console") == []

    async def test_printed_it_has_all_but_what_only_a_screen_can_do(self, recorded: Path, page: Page):
        report, text = written(recorded)
        path = recorded.with_suffix(".html")
        path.write_text(text)
        await page.call("set_viewport_size", {"width": 700, "height": 1000})
        await page.call("goto", path.as_uri())
        await page.call("wait_for_selector", "#timeline .subplot")
        assert await page.call("is_visible", ".screen")
        await page.call("emulate_media", media="print")
        for only_on_screen in (".screen", ".modebar"):
            assert not await page.call("is_visible", only_on_screen)
        shown = " ".join((await page.call("inner_text", "body")).split())
        for sentence in (report.verdict.verdict_basis, *report.recommendations):
            assert sentence in shown
        for finding in report.findings:
            assert finding.message in shown
        assert await page.call("is_visible", "#timeline .subplot")

    async def test_zooms_and_fits_a_phone(self, recorded: Path, page: Page):
        """All diagrams share the axis of time; the page never scrolls sideways."""
        path = recorded.with_suffix(".html")
        path.write_text(written(recorded)[1])
        await page.call("set_viewport_size", {"width": 390, "height": 800})
        await page.call("goto", path.as_uri())
        await page.call("wait_for_selector", "#timeline .subplot")
        assert await page.call("evaluate", "document.documentElement.scrollWidth") <= 390
        axes = "Object.keys(timeline._fullLayout).filter(key => key.startsWith('xaxis')).length"
        assert await page.call("evaluate", axes) == 1
        assert await page.call("evaluate", "timeline._fullLayout.xaxis.fixedrange") in (False, None)

    async def test_nothing_that_clients_wrote_is_markup(self, tmp_path: Path, page: Page):
        evil = "</script><script>document.title='owned'</script>"
        link = "<a href='https://example.org'>x</a>"
        frames = [
            frame(i, 1000 * i, session_id=evil, face_present=1, event={"event": link, "lv": 9})
            for i in range(20)
        ]
        path = tmp_path / "evil_frames.json"
        path.write_text(json.dumps(frames))
        html = tmp_path / "evil.html"
        html.write_text(written(path)[1])
        await page.call("goto", html.as_uri())
        await page.call("wait_for_selector", "#timeline .subplot")
        assert await page.call("title") == f"Session {evil}"
        assert await page.call("evaluate", "timeline.querySelectorAll('svg a').length") == 0
        assert await page.call("evaluate", "document.querySelectorAll('script').length") == 2
        [drawn] = re.findall(r"^const figure = (.*);$", html.read_text(), re.MULTILINE)
        assert "<" not in drawn

    def test_the_same_report_is_the_same_page(self, recorded: Path):
        assert written(recorded) == written(recorded)

    def test_a_session_without_frames_has_a_page_without_a_timeline(self, tmp_path: Path):
        path = tmp_path / "none_frames.json"
        path.write_text("[]")
        _, text = written(path)
        assert "Review priority insufficient" in text
        assert not re.search("timeline|<script", text)
