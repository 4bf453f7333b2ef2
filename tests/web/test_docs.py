"""The documentation that the server brings: complete, valid, true, and at home in one place."""

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, get_args

import httpx
import jsonschema
import pytest

from proctor import errors
from proctor.features import VOCABULARY
from proctor.replies import ServerMessage
from proctor.web.asyncapi import CLIENT_SHAPES, asyncapi_document
from proctor.wire import CloseCode, ErrorCode
from tests.fixtures.server import Server

pytestmark = pytest.mark.usefixtures("hard_limit")

OPERATIONS = {
    ("get", "/api/v1/session"),
    ("post", "/api/v1/session/start"),
    ("get", "/api/v1/session/{session_id}"),
    ("post", "/api/v1/session/{session_id}/analyze"),
    ("post", "/api/v1/session/{session_id}/end"),
    ("get", "/api/v1/session/{session_id}/signals"),
    ("post", "/api/v1/session/{session_id}/message"),
    ("post", "/api/v1/session/{session_id}/accommodations"),
    ("delete", "/api/v1/session/{session_id}/accommodations/{accommodation_id}"),
    ("post", "/api/v1/session/{session_id}/reanalyze"),
    ("get", "/api/v1/session/{session_id}/analyses"),
    ("get", "/api/v1/session/{session_id}/analyses/{version}"),
    ("get", "/api/v1/session/{session_id}/what-if"),
    ("get", "/api/v1/session/{session_id}/report.html"),
    ("post", "/api/v1/session/{session_id}/transparency"),
    ("get", "/api/v1/review"),
    ("get", "/api/v1/review/{session_id}"),
    ("post", "/api/v1/review/{session_id}"),
    ("get", "/api/v1/review.csv"),
    ("get", "/api/v1/review.json"),
    ("get", "/api/v1/exam/{exam_id}/statistics"),
    ("post", "/api/v1/session/ws/fallback"),
    ("get", "/api/v1/webrtc/livekit/token"),
    ("post", "/api/v1/webrtc/livekit/webhook"),
    ("get", "/api/v1/session/{session_id}/milestones"),
    ("get", "/api/v1/webhooks"),
    ("post", "/api/v1/webhooks"),
    ("delete", "/api/v1/webhooks/{webhook_id}"),
    ("post", "/api/v1/webhooks/{webhook_id}/test"),
    ("get", "/api/v1/webhooks/deliveries"),
    ("post", "/api/v1/webhooks/deliveries/{number}/retry"),
    ("delete", "/api/v1/session/{session_id}"),
    ("delete", "/api/v1/candidate/{candidate_id}"),
    ("get", "/api/v1/candidate/{candidate_id}"),
    ("get", "/health"),
}
LOADING = {"src", "srcset", "href", "action", "data", "poster"}


async def openapi(server: Server) -> dict[str, Any]:
    answer = await server.http.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    document: dict[str, Any] = answer.json()
    return document


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON document."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(child)


def resolve(document: dict[str, Any], reference: str) -> Any:
    root, *keys = reference.split("/")
    assert root == "#"
    found: Any = document
    for key in keys:
        found = found[key]
    return found


async def test_openapi_describes_every_operation_with_schemas_that_hold_together(server: Server):
    document = await openapi(server)
    assert document["openapi"].startswith("3.1.")
    described = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert described == OPERATIONS
    for node in nodes(document):
        if isinstance(node.get("$ref"), str):
            resolve(document, node["$ref"])
        if "schema" in node:
            jsonschema.Draft202012Validator.check_schema(node["schema"])
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for method, path in OPERATIONS:
        operation = document["paths"][path][method]
        assert operation["summary"]
        assert ("{" in path) is any(p["in"] == "path" for p in operation["parameters"])
        assert all(response["description"] for response in operation["responses"].values())
    identifiers = [document["paths"][path][method]["operationId"] for method, path in OPERATIONS]
    assert len(set(identifiers)) == len(identifiers)


async def test_what_openapi_says_is_what_comes(server: Server):
    """Each answer has a described status, and a body that its schema holds true for."""
    document = await openapi(server)
    post, get = server.http.post, server.http.get
    start = {"exam_session_id": "exam", "candidate_id": "someone"}
    frame = {"session_id": "exam", "seq": 1, "extracted_features": {"phone_present": 1}}
    token, fallback = "/api/v1/webrtc/livekit/token", "/api/v1/session/ws/fallback"
    of_session = "/api/v1/session/{session_id}"
    calls = [
        ("/health", await get("/health"), 200),
        ("/api/v1/session/start", await post("/api/v1/session/start", json=start), 200),
        ("/api/v1/session/start", await post("/api/v1/session/start", json={}), 400),
        ("/api/v1/session/start", await post("/api/v1/session/start", content=b""), 415),
        (fallback, await post(fallback, json=frame), 202),
        (fallback, await post(fallback, json={**frame, "seq": -1}), 400),
        ("/api/v1/session", await get("/api/v1/session"), 200),
        ("/api/v1/session", await get("/api/v1/session", params={"limit": 0}), 400),
        (of_session, await get("/api/v1/session/exam"), 200),
        (of_session, await get("/api/v1/session/.x"), 400),
        (of_session, await get("/api/v1/session/nobody"), 404),
        (of_session + "/analyze", await server.post("exam", "analyze"), 200),
        (of_session + "/end", await server.post("exam", "end"), 204),
        (of_session + "/end", await server.post("nobody", "end"), 404),
        ("/api/v1/session/start", await post("/api/v1/session/start", json=start), 409),
        (fallback, await post(fallback, json=frame), 409),
        (token, await get(token), 400),
        (token, await get(token, params={"exam_id": "maths", "member_id": "someone"}), 503),
    ]
    for path, answer, status in calls:
        assert answer.status_code == status, (path, answer.text)
        check(document, path, answer)


def check(document: dict[str, Any], path: str, answer: httpx.Response) -> None:
    described = document["paths"][path][answer.request.method.lower()]["responses"][str(answer.status_code)]
    if "content" not in described:
        assert answer.content == b""
        assert "content-type" not in answer.headers
        return
    ((content_type, content),) = described["content"].items()
    assert answer.headers["content-type"] == content_type
    validator = jsonschema.Draft202012Validator({**document, **content["schema"]})
    validator.validate(answer.json())


async def test_asyncapi_is_served(server: Server):
    answer = await server.http.get("/asyncapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == json.loads(json.dumps(asyncapi_document()))


async def test_the_reports_schema_is_served(server: Server):
    """And holds true for a report."""
    await server.start("exam")
    report = (await server.post("exam", "analyze")).json()
    answer = await server.http.get("/api/v1/schema/report.json")
    assert answer.headers["content-type"] == "application/schema+json"
    jsonschema.Draft202012Validator(answer.json()).validate(report)


class Page(HTMLParser):
    """What a browser would make of the documentation page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.codes: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "iframe", "img", "style"), tag
        self._open.append(tag)
        for name, value in attrs:
            if name in LOADING:
                self.links.append(value or "")
            elif name == "id":
                self.ids.append(value or "")
            assert not name.startswith("on"), name
        if tag == "code":
            self.codes.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.text += data
        if "code" in self._open:
            self.codes[-1] += data


@pytest.fixture
async def page(server: Server) -> Page:
    answer = await server.http.get("/docs")
    assert answer.url.path == "/docs"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Page(answer.text)


async def test_the_page_has_every_operation_code_and_feature(page: Page, server: Server):
    document = await openapi(server)
    for method, path in OPERATIONS:
        assert path in page.codes
        roles = document["paths"][path][method].get("x-roles", [])
        assert ", ".join(roles) in page.text
        assert bool(roles) is (path not in ("/health", "/api/v1/webrtc/livekit/webhook"))
        assert document["paths"][path][method]["summary"].replace("`", "") in page.text
    for shape in CLIENT_SHAPES:
        assert shape.name in page.codes
        assert json.dumps(json.loads(json.dumps(shape.example)), sort_keys=True) in page.text
    for kind in get_args(ServerMessage):
        assert kind.__struct_config__.tag in page.codes
        assert set(kind.__struct_fields__) <= set(page.codes)
    for code in ErrorCode:
        assert code.value in page.codes
        assert code.meaning.replace("`", "") in page.text
    for code in CloseCode:
        assert str(code.value) in page.codes
        assert code.meaning.replace("`", "") in page.text
    assert set(VOCABULARY) <= set(page.codes)


async def test_the_page_loads_nothing_and_leads_nowhere_else(page: Page, server: Server):
    assert page.links
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids
        else:
            assert link.startswith("/")
            assert (await server.http.get(link)).status_code == 200
    sheet = (await server.http.get("/docs.css")).text
    assert "color-scheme" in sheet
    assert "url(" not in sheet
    assert "@import" not in sheet


async def test_a_problem_links_to_its_explanation(page: Page, server: Server):
    assert len(set(page.ids)) == len(page.ids)
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.ProctorError):
            assert f"problem-{kind.title.lower().replace(' ', '-')}" in page.ids
    problem = (await server.post("nobody", "end")).json()
    path, _, fragment = problem["type"].partition("#")
    assert path == "/docs"
    assert fragment in page.ids
