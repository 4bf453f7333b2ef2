"""JSON as it is taken from clients."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.strict_json import DEPTH_MAX, parse


@given(
    st.recursive(st.none() | st.booleans() | st.floats(-1e300, 1e300) | st.text(), st.lists, max_leaves=20)
)
def test_ordinary_json_is_read_as_the_standard_library_reads_it(value):
    """As text and as bytes."""
    text = json.dumps(value, ensure_ascii=False)
    assert parse(text) == parse(text.encode()) == json.loads(text)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_are_not_json_become_null(constant):
    assert parse(f'{{"a": [{constant}, 1], "b": "é"}}') == {"a": [None, 1], "b": "é"}
    assert parse(f'{{"a": {constant}}}'.encode()) == {"a": None}


def test_the_names_of_constants_in_text_stay_text():
    assert parse('{"NaN": "Infinity"}') == {"NaN": "Infinity"}


@pytest.mark.parametrize(
    "data",
    [
        "",
        b"",
        "{",
        "{'a': 1}",
        '{"a": 1} x',
        '{"a": 1e400}',
        '{"a": NaN',
        '{"a": NaN, "b": undefined}',
        b'"\xff"',
        b'{"\xff": NaN}',
        b'\xef\xbb\xbf{"a": NaN}',
        '{"a": NaN}'.encode("utf-16"),
        '"\\ud800"',
        '"\ud800"',
        '{"a": NaN, "b": "\\ud800"}',
        '{"a": NaN, "\ud800": 1}',
        "1" * 5000,
        '{"a": NaN, "b": ' + "1" * 5000 + "}",
    ],
)
def test_what_a_store_or_another_parser_would_refuse_is_refused(data):
    """With ValueError and nothing else, whichever of the two parsers gave up."""
    with pytest.raises(ValueError, match=r"not UTF-8 JSON: ."):
        parse(data)


@pytest.mark.parametrize("encode", [str, str.encode])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_depth_is_bounded(opening, closing, encode):
    """One level more than allowed is refused, and so is what no parser can recurse into."""
    levels = opening.count("[") + opening.count("{")
    most = DEPTH_MAX // levels
    parse(encode(opening * most + "1" + closing * most))
    for times in (most + 1, 100_000):
        with pytest.raises(ValueError, match=r"deep|recursion"):
            parse(encode(opening * times + "1" + closing * times))


def test_many_brackets_side_by_side_are_not_deep():
    value = {"frames": [{"x": [[]]}] * 500, "text": "[" * 100}
    assert parse(json.dumps(value)) == value
