"""The AsyncAPI document, held to what the server takes and sends."""

import copy
import json
from typing import Any, get_args

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proctor.features import VOCABULARY, Kind
from proctor.replies import (
    Ack,
    Alert,
    Clock,
    Error,
    Heartbeat,
    Message,
    Resume,
    ServerMessage,
    SessionEnded,
    encode,
)
from proctor.web.asyncapi import CLIENT_SHAPES, Shape, asyncapi_document, client_schemas, server_messages
from proctor.wire import CloseCode, ErrorCode, Frames, Rejected, decode

SESSION = "demo_session"
DOCUMENT = asyncapi_document()


def validator(schema_name: str) -> jsonschema.Draft202012Validator:
    """One schema of the document, with all others to refer to."""
    schema = {"$ref": f"#/components/schemas/{schema_name}", "components": DOCUMENT["components"]}
    return jsonschema.Draft202012Validator(schema)


def references(value: Any) -> set[str]:
    """Everything that a part of the document refers to."""
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("shape", CLIENT_SHAPES, ids=lambda shape: shape.name)
def test_each_example_is_valid_and_accepted(shape: Shape):
    validator(f"client_{shape.name}").validate(shape.example)
    before = copy.deepcopy(shape.example)
    message = decode(json.dumps(shape.example), SESSION, 500)
    assert shape.example == before
    if isinstance(message, Frames):
        assert message.seq == shape.example.get("seq")


@pytest.mark.parametrize("shape", CLIENT_SHAPES, ids=lambda shape: shape.name)
def test_without_what_is_required_an_example_is_neither(shape: Shape):
    """So that the schema's `required` is neither too much nor too little."""
    schema = shape.schema
    for name in schema.get("required") or schema["allOf"][0]["required"]:
        partial = {key: value for key, value in shape.example.items() if key != name}
        assert not validator(f"client_{shape.name}").is_valid(partial)


@pytest.mark.parametrize(
    "message",
    [
        Resume("s", None, "e"),
        Resume("s", 7, "e"),
        Heartbeat("s", "t"),
        Ack(1),
        Error(ErrorCode.INVALID_JSON, "why"),
        Error(ErrorCode.INVALID_SEQ, "why", 1),
        Clock(1, "t"),
        Clock("2026-01-05T09:00:00Z", "t"),
        SessionEnded("s", "t"),
        Message("s", "hello", "t"),
        Alert("s", "no_face", "We cannot see you.", "t"),
    ],
)
def test_what_the_server_sends_is_valid(message: ServerMessage):
    validator(type(message).__name__).validate(json.loads(encode(message)))


def test_every_message_of_both_sides_is_there():
    names = DOCUMENT["components"]["messages"].keys()
    assert {name.removeprefix("client_") for name in names if name.startswith("client_")} == {
        shape.name for shape in CLIENT_SHAPES
    }
    told = {"resume", "heartbeat", "ack", "error", "clock", "session_ended", "message", "alert"}
    assert server_messages().keys() == told
    assert set(server_messages().values()) == set(get_args(ServerMessage))
    operations = DOCUMENT["operations"]
    listed = operations["receive"]["messages"] + operations["send"]["messages"]
    assert {ref["$ref"].rpartition("/")[2] for ref in listed} == set(names)


def test_every_feature_has_its_schema():
    features = client_schemas()["features"]["properties"]
    assert features.keys() == VOCABULARY.keys() | {"timestamp"}


def test_every_code_is_there_with_its_meaning():
    assert DOCUMENT["x-close-codes"] == {str(code.value): code.meaning for code in CloseCode}
    assert DOCUMENT["x-error-codes"] == {code.value: code.meaning for code in ErrorCode}
    assert set(DOCUMENT["components"]["schemas"]["ErrorCode"]["enum"]) == {code.value for code in ErrorCode}


def test_every_reference_leads_somewhere():
    for reference in references(DOCUMENT):
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert place


def test_the_document_is_json_and_its_schemas_are_schemas():
    assert json.loads(msgspec.json.encode(DOCUMENT)) == DOCUMENT
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


VALID = {
    Kind.FLAG: st.sampled_from([0, 1, True, False, None]),
    Kind.COUNT: st.none() | st.integers(0, 1000),
    Kind.NUMBER: st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
    Kind.CONFIDENCE: st.none() | st.floats(0, 100),
    Kind.TEXT: st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=64),
}
odd_values = st.none() | st.booleans() | st.integers(-5, 2000) | st.floats(-5, 105) | st.text(max_size=70)


@given(st.fixed_dictionaries({}, optional={name: VALID[kind] for name, kind in VOCABULARY.items()}))
def test_features_that_are_valid_are_accepted(features):
    message = {"extracted_features": features}
    assert validator("client_extracted_features").is_valid(message)
    decode(json.dumps(message), SESSION, 1)


@given(st.sampled_from(list(VOCABULARY)), odd_values)
@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_feature_is_valid_just_when_it_is_accepted(name, value):
    """But for the engine's "None", which is accepted where it can only mean unknown."""
    message = {"extracted_features": {name: value}}
    valid = validator("client_extracted_features").is_valid(message)
    try:
        decode(json.dumps(message), SESSION, 1)
    except Rejected:
        assert not valid
    else:
        assert valid or value == "None"
