"""Figures against cases worked by hand, their definitions, and the recordings' own scorer."""

import csv
import gzip
import importlib.util
import json
import math
from itertools import islice, pairwise
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.analysis.discovery import discover
from proctor.analysis.policy import built_in_policy
from proctor.analysis.verdict import Priority
from proctor.evaluation.alerts import Judge
from proctor.evaluation.columns import place, queue
from proctor.evaluation.measure import Measured, measure
from proctor.evaluation.metrics import (
    Labels,
    SecondCounts,
    WindowTruth,
    at_prevalence,
    auc,
    calibration_error,
    false_concerns,
    intervals_found,
    merged,
    places,
    reliability,
    second_counts,
    window_truths,
)
from proctor.evaluation.sittings import Simulated, recorded
from proctor.evaluation.summary import policy_result
from proctor.simulator.scene import Span
from tests.fakes import judged

BENCHMARK = Path(__file__).parents[2] / "shared" / "benchmark"
ANALYZERS = discover()
BY = Judge(ANALYZERS, built_in_policy(ANALYZERS))

scores = st.lists(st.tuples(st.integers(0, 4).map(float), st.booleans()), max_size=30)
times = st.integers(0, 40).map(float)
spans = st.lists(st.tuples(times, times).map(sorted).filter(lambda span: span[0] < span[1]), max_size=6)


def labels(*intervals: tuple[float, float], seconds: float = 60.0, tolerance: float = 0.0) -> Labels:
    return Labels(
        intervals=tuple(Span(*span) for span in intervals),
        duration_seconds=seconds,
        tolerance_seconds=tolerance,
    )


class TestAuc:
    @given(scores)
    def test_is_the_share_of_pairs_in_the_right_order_and_half_of_those_alike(self, cases):
        pairs = [(high, low) for high, up in cases if up for low, down in cases if not down]
        right = [1.0 if high > low else 0.5 if high == low else 0.0 for high, low in pairs]
        expected = sum(right) / len(right) if right else None
        assert auc(cases) == (expected if expected is None else pytest.approx(expected))

    def test_by_hand(self):
        assert auc([(0.9, True), (0.5, True), (0.5, False), (0.1, False)]) == 3.5 / 4
        assert auc([(0.9, True)]) is auc([]) is None

    def test_places_in_a_queue_are_shared_by_equal_scores(self):
        assert places([10, 70, 10, 0, 10]) == [3, 1, 3, 5, 3]


class TestSpans:
    @given(spans)
    def test_a_union_is_apart_and_covers_the_same_time(self, some):
        union = merged(some)
        assert all(earlier.end < later.start for earlier, later in pairwise(union))
        for moment in range(81):
            inside = any(start <= moment / 2 < end for start, end in some)
            assert any(start <= moment / 2 < end for start, end in union) == inside

    def test_seconds_are_counted_where_more_than_half_of_one_is_covered(self):
        """[10, 20) is labelled; concerns cover seconds 12 to 24, and less than half of second 11."""
        counts = second_counts(labels((10, 20)), [Span(11.6, 25)])
        assert counts == SecondCounts(true=8, predicted=13, actual=10)
        assert (counts.precision, counts.recall) == (8 / 13, 0.8)
        assert counts.f1 == pytest.approx(2 * 8 / (13 + 10))

    def test_seconds_within_the_tolerance_of_an_end_do_not_count(self):
        """Those whose middle is nearer than 2 s: 8 to 11, and 18 to 21."""
        counts = second_counts(labels((10, 20), tolerance=2.0), [Span(8, 25)])
        assert counts == SecondCounts(true=6, predicted=9, actual=6)

    def test_nothing_found_and_nothing_labelled_are_no_division_by_nought(self):
        assert second_counts(labels(), []) == SecondCounts(0, 0, 0)
        assert second_counts(labels(), []).f1 == second_counts(labels(), [Span(3, 9)]).f1 == 0

    def test_an_interval_is_found_when_half_of_it_is_covered_by_all_together(self):
        truth = labels((10, 20), (30, 40))
        assert intervals_found(truth, [Span(8, 13), Span(18, 20), Span(30, 34.9)]) == [True, False]

    def test_false_concerns_are_those_wholly_outside(self):
        truth = labels((10, 20), tolerance=2.0)
        assert false_concerns(truth, [Span(1, 7), Span(7.5, 8.5), Span(21, 22), Span(22, 30)]) == 2

    def test_honest_time_is_what_no_interval_covers(self):
        assert labels((10, 20), (30, 35)).honest_seconds == 45


class TestWindows:
    def test_those_partly_labelled_are_left_out(self):
        """[12, 27) covers most of the second and of the third, [43, 45) a part of the fifth."""
        confidences = {0: 0.1, 1: 0.9, 2: None, 3: 0.3, 5: 0.2}
        found = window_truths(labels((12, 27), (43, 45)), confidences)
        assert found == [
            WindowTruth(0.1, positive=False),
            WindowTruth(0.9, positive=True),
            WindowTruth(None, positive=True),
            WindowTruth(0.3, positive=False),
            WindowTruth(0.2, positive=False),
        ]

    @pytest.mark.parametrize(("seconds", "count"), [(58.9, 5), (59.0, 6), (60.0, 6), (68.0, 6), (0.0, 0)])
    def test_a_last_one_may_lack_a_second(self, seconds, count):
        assert len(window_truths(labels(seconds=seconds), {})) == count


class TestReliability:
    def test_cases_are_put_together_by_confidence(self):
        cases = [(0.0, False), (0.05, False), (0.3, True), (0.39, False), (1.0, True)]
        low, middle, top = reliability(cases)
        assert (low.start, low.end, low.count, low.share) == (0.0, 0.1, 2, 0.0)
        assert low.mean_confidence == 0.025
        assert (middle.start, middle.count, middle.share) == (0.3, 2, 0.5)
        assert (top.end, top.count, top.share, top.mean_confidence) == (1.0, 1, 1.0, 1.0)
        assert calibration_error([low, middle, top]) == pytest.approx((0.05 + 2 * 0.155 + 0) / 5)
        assert calibration_error([]) is None

    @given(st.lists(st.tuples(st.floats(0, 1), st.booleans())))
    def test_no_case_is_lost_and_all_are_where_they_belong(self, cases):
        bins = reliability(cases)
        assert sum(each.count for each in bins) == len(cases)
        assert math.isclose(sum(each.count * each.share for each in bins), sum(up for _, up in cases))
        for each in bins:
            assert each.start - 1e-9 <= each.mean_confidence <= each.end + 1e-9

    def test_few_of_those_sent_are_dishonest_where_few_are(self):
        """The field's own example: three of four are innocent."""
        assert at_prevalence(0.8, 0.05, 0.02) == pytest.approx(0.246, abs=1e-3)
        assert at_prevalence(0, 0, 0.02) is None


def measured(kind: str, score: int, priority: str, **changes: object) -> Measured:
    usual = {
        "name": f"{kind}-{score}",
        "kind": kind,
        "labels": labels() if kind.startswith("honest") else labels((10, 30)),
        "score": score,
        "confidence": score / 100,
        "priority": Priority(priority),
        "windows": [WindowTruth(0.2, positive=False)],
        "seconds": SecondCounts(0, 0, 0),
        "found": [] if kind.startswith("honest") else [True],
        "alerts": [] if kind.startswith("honest") else [4.0],
        "false_concerns": 0,
    }
    return Measured(**usual | changes)


class TestSummary:
    @pytest.fixture
    def result(self):
        some = [
            measured("honest-calm", 0, "none"),
            measured("honest-lively", 50, "medium", false_concerns=3),
            measured("phone", 70, "high", alerts=[6.0], windows=[WindowTruth(0.9, positive=True)]),
            measured("notes", 40, "medium", found=[False], alerts=[None]),
        ]
        return policy_result(BY.policy, "p", some, 0.02)

    def test_kinds_with_something_to_find_come_first(self, result):
        assert list(result.kinds) == ["phone", "notes", "honest-calm", "honest-lively"]

    def test_overall(self, result):
        overall = result.overall
        assert (overall.sessions, overall.honest_sessions, overall.intervals) == (4, 2, 2)
        assert overall.verdict_auc == overall.told_apart == 0.75
        assert overall.interval_recall == 0.5
        assert overall.window_auc == 1.0
        assert overall.false_per_hour == pytest.approx(3 / ((60 + 60 + 40 + 40) / 3600))
        assert (overall.alerts.raised, overall.alerts.missed, overall.alerts.median_seconds) == (1, 1, 6.0)
        assert overall.priorities == {"none": 1, "low": 0, "medium": 2, "high": 1, "insufficient": 0}

    def test_a_kind_is_held_to_all_of_the_other_sort(self, result):
        """Both honest sessions are asked whether those with something to find score above them."""
        apart = {kind: figures.told_apart for kind, figures in result.kinds.items()}
        assert apart == {"phone": 1.0, "notes": 0.5, "honest-calm": 1.0, "honest-lively": 0.5}
        middle = {kind: figures.places.median for kind, figures in result.kinds.items()}
        assert middle == {"phone": 1, "honest-lively": 2, "notes": 3, "honest-calm": 4}

    def test_the_queue_is_told_of_both_sorts(self, result):
        assert (result.honest_places.first, result.honest_places.last) == (2, 4)
        assert (result.other_places.first, result.other_places.median, result.other_places.of) == (1, 2, 4)
        words = (
            "In a queue of all 4 by score, honest sessions are 2 to 4, the middle one 3; others are 1 to 3"
        )
        assert queue(result).startswith(words)
        alone = policy_result(BY.policy, "p", [measured("phone", 1, "none")], 0.02)
        assert alone.honest_places is None
        assert "honest" not in queue(alone)

    def test_places_that_sessions_share_are_told_as_they_are(self):
        some = [measured("phone", 7, "none"), *[measured("honest-calm", 0, "none") for _ in range(6)]]
        some += [measured("notes", 0, "none"), measured("honest-poster", 7, "none")]
        result = policy_result(BY.policy, "p", some, 0.02)
        assert "others are 1.5 to 6, the middle one 3.8." in queue(result)
        assert place(result.kinds["phone"]) == "1.5 of 9"
        assert place(result.kinds["notes"]) == "6 of 9"

    @pytest.mark.parametrize(("alerts", "slow"), [(10, 9), (20, 18), (9, 9), (11, 10), (1, 1)])
    def test_nine_of_ten_alerts_come_within_the_ninth_of_ten(self, alerts, slow):
        some = [measured("phone", 1, "none", alerts=[seconds]) for seconds in range(alerts, 0, -1)]
        result = policy_result(BY.policy, "p", some, 0.02)
        assert result.overall.alerts.slow_seconds == slow

    def test_honest_kinds_have_no_figures_about_what_is_found(self, result):
        calm = result.kinds["honest-calm"]
        assert calm.second_f1 is calm.interval_recall is calm.window_auc is calm.verdict_auc is None

    def test_thresholds(self, result):
        by_score = {each.score: each for each in result.thresholds}
        assert (by_score[40].honest_sent, by_score[40].others_sent) == (0.5, 1.0)
        assert (by_score[45].honest_sent, by_score[45].others_sent) == (0.5, 0.5)
        assert (by_score[55].honest_sent, by_score[55].right_at_prevalence) == (0.0, 1.0)
        assert by_score[75].right_at_prevalence is None

    def test_calibration_of_verdicts(self, result):
        shares = {each.start: each.share for each in result.verdict_calibration.bins}
        assert shares == {0.0: 0.0, 0.4: 1.0, 0.5: 0.0, 0.7: 1.0}


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARK / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.skipif(not (BENCHMARK / "score.py").exists(), reason="the labelled recordings are not here")
def test_recordings_score_as_their_own_scorer_says(tmp_path):
    """Word for word the same figures, on the beginning of both sets of recordings and on simulated people."""
    data, dumps = tmp_path / "data", tmp_path / "dumps"
    data.mkdir()
    dumps.mkdir()
    shorten(data)
    maker, scorer = module("make_dumps"), module("score")
    maker.gaze_sessions(data, dumps)
    maker.behaviour_sessions(data, dumps)
    people = [Simulated("brief-phone", 1, 12, 4), Simulated("honest-lively", 1, 8, 4)]
    sittings = [*recorded([dumps], []), *people]
    assert {each.kind for each in sittings} == {"gaze", "behaviour", "brief-phone", "honest-lively"}
    ours, theirs = [], []
    for sitting in sittings:
        ours += measure(sitting, [BY])
        recording, truth = sitting.load()
        report = json.loads(judged(recording, BY.analyzers, BY.policy, 0))
        written = {
            "intervals": truth.intervals,
            "duration": truth.duration_seconds,
            "tolerance": truth.tolerance_seconds,
        }
        theirs.append(scorer.score_session(report, written))
    expected = scorer.summary(theirs)
    overall = policy_result(BY.policy, "p", ours, 0.02).overall
    assert 0 < expected["second_f1"] < 1
    assert expected["sessions"] == overall.sessions
    for name in set(expected) - {"sessions"}:
        assert getattr(overall, name) == pytest.approx(expected[name]), name


def shorten(data: Path) -> None:
    """Copy the first twelve minutes or so of the first recordings."""
    with gzip.open(BENCHMARK / "data" / "behaviour_frames.csv.gz", "rt") as source:
        rows = list(islice(source, 1 + 70))
    with gzip.open(data / "behaviour_frames.csv.gz", "wt") as target:
        target.writelines(rows)
    with gzip.open(BENCHMARK / "data" / "gaze_sessions.csv.gz", "rt", newline="") as source:
        lines = list(islice(csv.reader(source), 1 + 15_000))
    session = lines[0].index("session")
    lines = [lines[0], *(line for line in lines[1:] if line[session] == lines[1][session])]
    with gzip.open(data / "gaze_sessions.csv.gz", "wt", newline="") as target:
        csv.writer(target).writerows(lines)
    with (BENCHMARK / "data" / "gaze_intervals.csv").open(newline="") as source:
        intervals = list(csv.DictReader(source))
    last = float(lines[-1][lines[0].index("t_s")])
    kept = [row for row in intervals if float(row["end_s"]) < last]
    with (data / "gaze_intervals.csv").open("w", newline="") as target:
        writer = csv.DictWriter(target, intervals[0].keys())
        writer.writeheader()
        writer.writerows(kept)
