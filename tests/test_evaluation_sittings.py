"""Sessions with known truth, simulated and recorded, and when a concern could be raised in them."""

import json
from pathlib import Path
from typing import Any

import pytest

from proctor.analysis.api import Group, Level
from proctor.analysis.discovery import discover
from proctor.analysis.fold import Job, ReportRequest, report
from proctor.analysis.policy import built_in_policy
from proctor.errors import InvalidRequest
from proctor.evaluation.alerts import Judge, Seen, concern_spans, seconds_to_alert
from proctor.evaluation.measure import measure
from proctor.evaluation.metrics import Labels
from proctor.evaluation.sittings import Simulated, recorded, simulated
from proctor.model import FrameId
from proctor.offline.recording import Recording
from proctor.simulator import exam_taker
from proctor.simulator.replay import stored_frames
from proctor.simulator.scene import Span

T0 = 1_767_603_600_000
ANALYZERS = discover()
BY = Judge(ANALYZERS, built_in_policy(ANALYZERS))


def frames_until(recording: Recording, seconds: float) -> list[bytes]:
    return [
        frame
        for frame in recording.frames
        if FrameId.parse(json.loads(frame)["frame_id"]).time_ms - T0 <= seconds * 1000
    ]


def concerns(recording: Recording, seconds: float) -> list[tuple[float, float]]:
    """Of a report on everything up to a moment, folded at once."""
    job = Job(
        tuple(loaded.plugin for loaded in ANALYZERS), BY.policy, frames=frames_until(recording, seconds)
    )
    made = json.loads(report(ReportRequest(recording.session, final=False, analysed_ms=0), job))
    return [(f["start_seconds"], f["end_seconds"]) for f in made["findings"] if f["level"] == "concern"]


@pytest.fixture(scope="module")
def phone() -> tuple[Recording, Labels]:
    return Simulated("brief-phone", 3, 8, 4).load()


class TestAlerts:
    def test_an_alert_comes_when_a_report_first_has_a_concern_in_the_interval(self, phone):
        """A second earlier no report has; the finding itself begins before it could be known."""
        recording, labels = phone
        [interval] = labels.intervals
        final = concerns(recording, labels.duration_seconds)
        [seconds] = seconds_to_alert(recording, BY, labels.intervals, [Span(*each) for each in final])
        assert seconds is not None
        moment = interval.start + seconds
        assert any(
            start < interval.end and end > interval.start for start, end in concerns(recording, moment)
        )
        assert concerns(recording, moment - 1.0) == []
        assert final[0][0] < moment - 1.0

    def test_what_the_final_report_does_not_see_raised_none(self, phone):
        recording, labels = phone
        assert seconds_to_alert(recording, BY, [*labels.intervals, Span(1, 9)], []) == [None, None]

    def test_intervals_need_not_be_in_order(self, phone):
        recording, labels = phone
        [interval] = labels.intervals
        anyway = [Span(0, labels.duration_seconds)]
        [straight] = seconds_to_alert(recording, BY, [interval], anyway)
        late = Span(interval.end + 60, interval.end + 70)
        assert seconds_to_alert(recording, BY, [late, interval], anyway) == [None, straight]

    def test_technical_and_slight_findings_are_no_concerns(self):
        def seen(category: str, group: str, level: str) -> Seen:
            return Seen(category, Group(group), Level(level), 5.0, 5.0)

        findings = [
            seen("phone", "device", "concern"),
            seen("phone", "device", "info"),
            seen("technical", "device", "concern"),
            seen("camera", "technical", "concern"),
        ]
        assert concern_spans(findings) == [Span(5.0, 5.001)]


class TestSimulated:
    def test_truth_is_the_exam_takers(self):
        taker = exam_taker("switches-tabs", 4, 10, 3)
        recording, labels = Simulated("switches-tabs", 4, 10, 3).load()
        assert recording.frames == list(stored_frames(taker, "switches-tabs-4", T0))
        assert [tuple(span) for span in labels.intervals] == sorted(truth[:2] for truth in taker.truth)
        assert labels.duration_seconds == 600

    def test_each_kind_has_so_many_people(self):
        drawn = list(simulated(["phone", "honest-calm", "phone"], 2, 5, 4, 7))
        assert [(each.kind, each.seed) for each in drawn] == [
            ("phone", 7),
            ("phone", 8),
            ("honest-calm", 7),
            ("honest-calm", 8),
        ]

    def test_an_unknown_kind_is_told_with_those_there_are(self):
        with pytest.raises(InvalidRequest, match="no kind 'villain'; kinds are honest-calm, ") as told:
            list(simulated(["villain"], 1, 5, 4, 1))
        assert told.value.field == "kind"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        frames = list(stored_frames(exam_taker("phone", 1, 6), name, T0))
        (tmp_path / f"{name}_frames.json").write_bytes(b"[" + b",".join(frames) + b"]")
        write_labels(tmp_path, name, intervals=[[200, 210], [20, 30]], duration=355)
    return tmp_path


def write_labels(folder: Path, name: str, **labels: Any) -> None:
    (folder / f"{name}_labels.json").write_text(json.dumps(labels))


class TestRecorded:
    def test_labels_may_say_as_little_as_when(self, folder):
        """The kind is then the folder, and the recording is as long as its frames."""
        write_labels(folder, "a", intervals=[])
        first, second = recorded([folder], [])
        assert (first.name, first.kind, second.name) == ("a", folder.name, "b")
        assert first.load()[1].duration_seconds == pytest.approx(360, abs=1)
        assert second.load()[1] == Labels(
            intervals=(Span(20, 30), Span(200, 210)), duration_seconds=355, tolerance_seconds=2.0
        )

    def test_kinds_are_what_labels_call_suite(self, folder):
        write_labels(folder, "b", intervals=[], suite="gaze")
        assert [each.name for each in recorded([folder], ["gaze"])] == ["b"]
        with pytest.raises(InvalidRequest, match=rf"no kind 'x'; recordings are of {folder.name}, gaze"):
            recorded([folder], ["x"])

    def test_a_folder_counts_once(self, folder):
        with pytest.raises(InvalidRequest, match="is given twice"):
            recorded([folder, folder.parent / folder.name / "." / ".." / folder.name], [])

    def test_a_recording_is_judged(self, folder):
        [first, _] = recorded([folder], [])
        [measured] = measure(first, [BY])
        assert measured.name == "a"
        assert not measured.honest
        assert len(measured.found) == len(measured.alerts) == 2

    @pytest.mark.parametrize(
        ("labels", "told"),
        [
            ('{"intervals": [[30, 20]]}', r"intervals, element 0: \[30, 20\] must be \[START, END\]"),
            ('{"intervals": [[-1, 20]]}', "element 0.*0 <= START < END"),
            ('{"intervals": [[1, 20], [1, 1]]}', "element 1"),
            ('{"intervals": [[10, 20], [5, 12]]}', "overlap; write them as one"),
            ('{"intervals": [["a", 20]]}', r"intervals"),
            ('{"intervals": [[1, 2]], "tolerance": -1}', "tolerance"),
            ('{"suite": "x"}', "intervals"),
            (
                '{"intervals": [], "tollerance": 1}',
                "unknown field `tollerance`; labels have intervals, suite, duration, tolerance",
            ),
            ('{"intervals": [[1, 2]', "a_labels.json"),
        ],
    )
    def test_a_mistake_in_labels_is_told_with_file_and_place(self, folder, labels, told):
        (folder / "a_labels.json").write_text(labels)
        with pytest.raises(InvalidRequest, match=rf"a_labels\.json: .*{told}|{told}"):
            recorded([folder], [])

    def test_missing_labels_are_told_with_what_they_are(self, folder):
        (folder / "b_labels.json").unlink()
        with pytest.raises(InvalidRequest, match=r"cannot read .*b_labels\.json: No such file.*intervals"):
            recorded([folder], [])

    def test_labels_without_a_recording_are_told(self, folder):
        (folder / "b_frames.json").unlink()
        with pytest.raises(InvalidRequest, match=r"b_labels\.json labels .* not there, b_frames\.json"):
            recorded([folder], [])

    def test_a_folder_without_recordings_is_told(self, tmp_path):
        with pytest.raises(InvalidRequest, match=r"has no labelled recordings, NAME_frames\.json"):
            recorded([tmp_path], [])

    def test_an_interval_after_the_end_is_told(self, folder):
        write_labels(folder, "a", intervals=[[5000, 5010]])
        with pytest.raises(InvalidRequest, match="5000 s is after the end of the recording, 3"):
            recorded([folder], [])[0].load()

    @pytest.mark.parametrize("duration", [1e12, 300_000, 0, 345, 375])
    def test_a_duration_that_is_not_the_frames_is_told(self, folder, duration):
        """Milliseconds would give wrong figures silently, and more would never end."""
        write_labels(folder, "a", intervals=[[20, 30]], duration=duration)
        with pytest.raises(InvalidRequest, match=r"a_labels\.json: duration: .* last 3.*may be left out"):
            recorded([folder], [])[0].load()

    @pytest.mark.parametrize(("start", "end"), [(20, 1e9), (20, 375), (362, 1e9)])
    def test_an_interval_that_ends_after_the_end_is_told(self, folder, start, end):
        write_labels(folder, "a", intervals=[[start, end]], duration=365)
        with pytest.raises(InvalidRequest, match=r"a_labels\.json: intervals: \[.* ends after the rec"):
            recorded([folder], [])[0].load()

    def test_an_interval_may_end_a_little_after_the_last_frame(self, folder):
        write_labels(folder, "a", intervals=[[20, 365]], duration=365)
        assert recorded([folder], [])[0].load()[1].intervals == (Span(20, 365),)
