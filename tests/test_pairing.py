"""A finding of one report is that of the other whose time it shares most, and nobody else's."""

import time

import msgspec
import pytest

from proctor.analysis.api import Finding, Group, Level, Observed
from proctor.analysis.pairing import counterparts, pair_findings


def finding(start, end, *, rule="phone", category="phone", strength=0.5):
    observed = Observed(signal="phone_present", value=1.0, threshold=1.0, unit="s")
    return Finding(
        category=category,
        group=Group.DEVICE,
        level=Level.CONCERN,
        start_seconds=start,
        end_seconds=end,
        strength=strength,
        message="A phone was in view.",
        frame_ids=("1-0", "1-0", "1-0"),
        observed=observed,
        rule=rule,
    )


def spans(old, new):
    """Return the pairs that differ as (start, end)."""

    def span(one):
        return None if one is None else (one.start_seconds, one.end_seconds)

    return [(span(before), span(after)) for before, after in pair_findings(old, new)]


def test_an_equal_one_is_nobody_elses():
    a, b = finding(0, 10), finding(10, 20)
    assert spans([a, b], [b]) == [((0, 10), None)]
    overlapping = finding(5, 20)
    assert spans([a, overlapping], [overlapping]) == [((0, 10), None)]


def test_equal_ones_are_counted():
    one = finding(0, 10)
    assert spans([one, one, one], [one]) == [((0, 10), None), ((0, 10), None)]
    assert spans([one], [one, one]) == [(None, (0, 10))]
    assert spans([one, one], [one, one]) == []


def test_the_most_shared_time_decides_whoever_comes_first():
    assert spans([finding(0, 10), finding(10, 20)], [finding(8, 20)]) == [
        ((0, 10), None),
        ((10, 20), (8, 20)),
    ]
    assert spans([finding(8, 20)], [finding(0, 10), finding(10, 20)]) == [
        ((8, 20), (10, 20)),
        (None, (0, 10)),
    ]


def test_each_is_matched_at_most_once():
    old, new = [finding(0, 30)], [finding(0, 14), finding(15, 30)]
    assert spans(old, new) == [((0, 30), (15, 30)), (None, (0, 14))]
    assert spans(new, old) == [((0, 14), None), ((15, 30), (0, 30))]


def test_of_as_much_shared_time_the_lesser_shift_decides():
    assert spans([finding(0, 10)], [finding(0, 60), finding(0, 11)]) == [((0, 10), (0, 11)), (None, (0, 60))]


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (finding(0, 10), finding(10, 20), False),
        (finding(0, 10), finding(11, 20), False),
        (finding(0, 10), finding(9, 20), True),
        (finding(5, 5), finding(5, 5, strength=0.7), True),
        (finding(5, 5), finding(6, 6), False),
        (finding(5, 5), finding(5, 9), True),
        (finding(5, 5), finding(0, 9), True),
        (finding(5, 5), finding(6, 9), False),
        (finding(0, 10), finding(0, 10, rule="other"), False),
        (finding(0, 10), finding(0, 10, category="other"), False),
    ],
)
def test_spans_that_touch_are_two_and_instants_at_one_time_are_one(one, other, together):
    assert counterparts(one, other) is counterparts(other, one) is together
    expected = [(one, other)] if together else [(one, None), (None, other)]
    assert pair_findings([one], [other]) == expected


def test_what_is_only_in_the_new_report_comes_last_in_its_order():
    new = [finding(50, 60), finding(2, 12), finding(70, 80)]
    assert spans([finding(0, 10)], new) == [((0, 10), (2, 12)), (None, (50, 60)), (None, (70, 80))]


def test_long_lists_take_no_long_time():
    old = [finding(5.0 * place, 5.0 * place + 4) for place in range(3000)]
    new = [msgspec.structs.replace(each, strength=0.6) for each in old]
    started = time.perf_counter()
    assert pair_findings(old, new) == list(zip(old, new, strict=True))
    assert time.perf_counter() - started < 2
