"""Sentences say what the figures say, and accuse nobody."""

import pytest

from proctor.analysis.api import Finding, Group, Level
from proctor.analysis.api import Observed as Measured
from proctor.analysis.policy import Policy, Rule
from proctor.analysis.schema_data import ClockOffset, DataQuality, FrameCounts, Gap, Gaps
from proctor.analysis.verdict import Observed, judge
from proctor.analysis.wording import basis, clock, length, recommendations, speed

POLICY = Policy()
HOUR = Observed(3600.0, 1.0)
TITLES = {"gaze": "Gaze off screen", "phone": "Phone in view", "absent": "No face in view"}
GROUPS = {"gaze": Group.ATTENTION, "phone": Group.DEVICE, "absent": Group.PRESENCE}


def seen(rule, level=Level.CONCERN, strength=0.5, start=0.0):
    return Finding(
        category=rule,
        group=GROUPS[rule],
        level=level,
        start_seconds=start,
        end_seconds=start + 5,
        strength=strength,
        message=f"{rule} was seen",
        frame_ids=("0-0", "0-0", "0-0"),
        observed=Measured(signal="x", value=1.0, threshold=0.5, unit="s"),
        rule=rule,
    )


def quality(gaps, before, after):
    return DataQuality(
        sufficient=True,
        observed_seconds=3600.0,
        session_seconds=3600.0,
        coverage=1.0,
        before_first_frame_seconds=before,
        after_last_frame_seconds=after,
        frames=FrameCounts(stored=3600, analysed=3600, missing=0),
        frames_per_second=1.0,
        gaps=Gaps(
            count=len(gaps),
            total_seconds=0.0,
            longest=[Gap(start_seconds=start, end_seconds=end) for start, end in gaps],
        ),
        clock_offset=ClockOffset(least_seconds=0.0, greatest_seconds=0.0, drift_ppm=None, jumps=0),
        features_never_seen=[],
    )


def why(*findings, observed=HOUR, policy=POLICY):
    return basis(judge(findings, observed, policy), observed, policy, TITLES)


def advice(*findings, observed=HOUR, gaps=(), before=0.0, after=0.0, troubles=()):
    verdict = judge(findings, observed, POLICY)
    return recommendations(verdict, findings, quality(gaps, before, after), troubles)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (59.9, "0:00:59"), (3661, "1:01:01")])
def test_points_in_time(seconds, text):
    assert clock(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(8, "8 s"), (119, "119 s"), (720, "12 min")])
def test_lengths_of_time(seconds, text):
    assert length(seconds) == text


def test_the_score_is_put_down_to_its_rules():
    assert why(seen("gaze")) == "Score 39 of 100: Gaze off screen 39."
    assert why() == "Score 0 of 100, no finding scores."


def test_a_limit_on_the_priority_is_explained():
    """Both limits: one indirect group, and no concern at all; but only where they change something."""
    gaze = [seen("gaze", strength=1.0)] * 9
    assert "no higher than" not in why(*gaze)
    generous = Policy(rules={"gaze": Rule(points=100)})
    assert "ranks no higher than medium" in why(*gaze, policy=generous)
    assert "ranks no higher than low" in why(seen("gaze", Level.INFO), policy=generous)


def test_grounds_are_named():
    assert why(seen("phone")).endswith("There is direct evidence (device).")
    assert "independent evidence (attention, presence)" in why(seen("gaze"), seen("absent"))


def test_too_little_is_said_to_be_too_little():
    """It is neither good nor bad news."""
    short = Observed(100.0, 0.5)
    assert why(observed=short).endswith(
        "Too little to judge: 100 s observed, 50% of the session, at least 5 min and 60% are needed."
    )
    assert advice(observed=short) == [
        "Too little was observed to rank this session, which is no sign of misconduct."
    ]


def test_the_strongest_concerns_are_recommended_in_order_of_time():
    findings = [seen("gaze", strength=number / 10, start=100.0 * (9 - number)) for number in range(9)]
    looks = [each for each in advice(*findings) if each.startswith("Look at")]
    assert looks[0] == "Look at 0:01:40 to 0:01:45: gaze was seen"
    assert looks == sorted(looks)
    assert "There are 4 more concerns among the findings." in advice(*findings)


def test_info_findings_that_count_deserve_a_glance():
    infos = [seen("gaze", Level.INFO, strength=1.0)] * 30
    assert advice(*infos) == ["30 info findings came often enough to be counted; a glance at them is enough."]


def test_the_longest_silences_are_named_in_order_of_time():
    """Short ones are not worth a sentence."""
    gaps = [(0, 70), (100, 130), (200, 500), (600, 680), (700, 790)]
    told = advice(gaps=gaps, before=60, after=59)
    assert [each for each in told if "No frames" in each] == [
        f"No frames came in from {times}: nothing is known of that time, and it counts for nothing."
        for times in ("0:03:20 to 0:08:20", "0:10:00 to 0:11:20", "0:11:40 to 0:13:10")
    ]
    assert "Nothing is known of the first 60 s of the session." in told
    assert not any("last" in each for each in told)


def test_no_sentence_accuses():
    texts = [why(seen("phone", strength=1.0)), *advice(seen("phone", strength=1.0), troubles=["X (broke)"])]
    for text in texts:
        assert not {"cheat", "cheater", "cheating", "guilty", "caught"} & set(text.lower().split())


def test_what_is_too_short_does_not_look_long_enough():
    assert "4 min 59 s observed" in why(observed=Observed(299.9, 1.0))
    assert "59% of the session" in why(observed=Observed(900.0, 0.599))


def test_how_fast_a_clock_went():
    assert [speed(ppm) for ppm in (12.5, -80.0)] == ["12.5 ppm slow", "80 ppm fast"]
