"""Session ids, frame ids, points in time, and the tree of errors."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor import errors
from proctor.errors import InvalidRequest, ProctorError, Throttled
from proctor.model import FrameId, check_session_id
from proctor.times import iso_from_ms, ms_from_iso


@pytest.mark.parametrize("session_id", ["a", "0", "_", "-", "demo_session", "a.b..c", "A-1", "x" * 128])
def test_session_ids_of_the_rule_pass(session_id):
    assert check_session_id(session_id) == session_id


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "..",
        ".a",
        "a/b",
        "a b",
        "a\n",
        "a\0b",
        "\na",
        "é",
        "\u0661",
        "a%00",
        "x" * 129,
        None,
        5,
        b"a",
        ["a"],
    ],
)
def test_anything_else_is_no_session_id(value):
    """Nothing that could leave a folder, break a log line or mean two things to two readers."""
    with pytest.raises(InvalidRequest, match="a session id is made of letters") as caught:
        check_session_id(value)
    assert caught.value.field == "session_id"


@given(st.text())
def test_a_session_id_is_safe_in_keys_paths_and_urls(text):
    try:
        check_session_id(text)
    except InvalidRequest:
        return
    assert re.fullmatch(r"(?!\.)[\w.-]{1,128}", text, re.ASCII)


@given(st.integers(0, 10**14), st.integers(0, 10**9))
def test_a_frame_id_is_read_as_it_was_written(time_ms, number):
    assert FrameId.parse(str(FrameId(time_ms, number))) == FrameId(time_ms, number)


@given(st.lists(st.tuples(st.integers(0, 10**13), st.integers(0, 10**6)), min_size=2))
def test_frame_ids_sort_by_time_then_arrival(pairs):
    assert [tuple(frame_id) for frame_id in sorted(FrameId(*pair) for pair in pairs)] == sorted(pairs)


@pytest.mark.parametrize("text", ["", "-", "5", "5-", "-5", "a-1", "1-b", "1.5-2"])
def test_what_is_no_frame_id_is_refused(text):
    with pytest.raises(ValueError, match="invalid literal"):
        FrameId.parse(text)


@pytest.mark.parametrize(
    ("time_ms", "iso"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_767_603_600_000, "2026-01-05T09:00:00.000Z"),
        (1_767_603_600_007, "2026-01-05T09:00:00.007Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_written_in_utc_with_milliseconds(time_ms, iso):
    assert iso_from_ms(time_ms) == iso


@given(st.integers(0, 10**14))
def test_a_time_is_read_as_it_was_written(time_ms):
    assert ms_from_iso(iso_from_ms(time_ms)) == time_ms


def test_problem_types_tell_all_errors_apart():
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ProctorError)
    ]
    assert len(kinds) <= 10
    slugs = {kind.__new__(kind).slug for kind in kinds}
    assert len(slugs) == len(kinds)
    assert all(re.fullmatch("[a-z-]+", slug) for slug in slugs)
    assert all(400 <= kind.status < 600 for kind in kinds)


def test_an_error_carries_what_happened_and_where():
    error = InvalidRequest("port must be a number", field="port")
    assert (str(error), error.detail, error.field) == ("port must be a number",) * 2 + ("port",)
    assert Throttled("too soon", retry_after_seconds=0.5).retry_after_seconds == 0.5
