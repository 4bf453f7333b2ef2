"""The feature vocabulary, and what each feature may hold."""

import math
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.errors import InvalidRequest
from proctor.features import VOCABULARY, Kind, take_in

BROWSER_HEADER = """
face_present no_of_face face_x face_y face_w face_h left_eye_x left_eye_y right_eye_x right_eye_y nose_tip_x
nose_tip_y mouth_x mouth_y face_conf hand_count left_hand_x left_hand_y right_hand_x right_hand_y
hand_obj_interaction head_pose head_pitch head_yaw head_roll phone_present phone_loc_x phone_loc_y phone_conf
gaze_on_script gaze_direction gazePoint_x gazePoint_y pupil_left_x pupil_left_y pupil_right_x pupil_right_y
"""
ONE_OF_EACH = {
    Kind.FLAG: "phone_present",
    Kind.COUNT: "no_of_face",
    Kind.NUMBER: "head_yaw",
    Kind.CONFIDENCE: "face_conf",
    Kind.TEXT: "head_pose",
}


def test_the_vocabulary_is_what_recordings_of_browsers_have():
    assert list(VOCABULARY) == BROWSER_HEADER.split()


@pytest.mark.parametrize(
    ("kind", "value", "taken"),
    [
        (Kind.FLAG, True, 1),
        (Kind.FLAG, False, 0),
        (Kind.FLAG, 1.0, 1),
        (Kind.COUNT, 2.0, 2),
        (Kind.COUNT, 0, 0),
        (Kind.COUNT, 1000, 1000),
        (Kind.NUMBER, -0.0005, -0.0005),
        (Kind.NUMBER, 2**53, 2**53),
        (Kind.NUMBER, 1e300, 1e300),
        (Kind.CONFIDENCE, 0, 0),
        (Kind.CONFIDENCE, 88, 88),
        (Kind.CONFIDENCE, 0.88, 88.0),
        (Kind.CONFIDENCE, 1, 100),
        (Kind.CONFIDENCE, 1.5, 1.5),
        (Kind.CONFIDENCE, 100, 100),
        (Kind.CONFIDENCE, 1 / 3, 33.3333),
        (Kind.TEXT, "", ""),
        (Kind.TEXT, "None", "None"),
        (Kind.TEXT, "x" * 64, "x" * 64),
    ],
)
def test_a_value_is_taken_in_its_kinds_form(kind, value, taken):
    """Flags and counts become whole numbers, shares percent."""
    (found,) = take_in({ONE_OF_EACH[kind]: value}).values()
    assert found == taken
    assert type(found) is type(taken)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "None"])
def test_an_unknown_value_is_left_out(kind, value):
    """A missing feature is unknown, never 0. For a text "None" is a text, which readers take as unknown."""
    if kind is Kind.TEXT and value is not None:
        return
    assert take_in({ONE_OF_EACH[kind]: value}) == {}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.FLAG, 2),
        (Kind.FLAG, -1),
        (Kind.FLAG, 0.5),
        (Kind.FLAG, "1"),
        (Kind.COUNT, -1),
        (Kind.COUNT, 1.5),
        (Kind.COUNT, 1001),
        (Kind.COUNT, True),
        (Kind.COUNT, 10**400),
        (Kind.NUMBER, True),
        (Kind.NUMBER, "0.5"),
        (Kind.NUMBER, 2**53 + 1),
        (Kind.NUMBER, [1]),
        (Kind.CONFIDENCE, 100.1),
        (Kind.CONFIDENCE, -0.1),
        (Kind.CONFIDENCE, False),
        (Kind.TEXT, 5),
        (Kind.TEXT, "x" * 65),
        (Kind.TEXT, math.nan),
        (Kind.TEXT, {}),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(kind, value):
    name = ONE_OF_EACH[kind]
    with pytest.raises(InvalidRequest, match=re.escape(f"{name} must be {kind.value}, or null")) as caught:
        take_in({name: value, "face_present": 1})
    assert caught.value.field == name


def test_other_names_pass_as_they_are():
    odd = {"blink": None, "emotion": math.nan, "nested": {"face_x": "left"}, "": True}
    assert take_in(odd) == odd


@given(
    st.dictionaries(
        st.sampled_from(list(VOCABULARY)),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70) | st.lists(st.none()),
    )
)
def test_whatever_is_taken_in_is_its_own_normal_form(features):
    """Taken in again, also from JSON, it stays as it is; a confidence up to 1 % would read as a share."""
    try:
        taken = take_in(features)
    except InvalidRequest:
        return
    assert None not in taken.values()
    settled = {name: value for name, value in taken.items() if not (name.endswith("_conf") and value <= 1)}
    assert take_in(msgspec.json.decode(msgspec.json.encode(settled))) == settled
