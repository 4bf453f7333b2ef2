"""Requests that nobody should send: each gets a problem document that says why, and costs nobody anything."""

import json
import re
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import pytest
import trio

from proctor.admissions import Admissions
from proctor.logs import set_up_logging
from proctor.model import SESSION_ID_RULE, ExamSession
from proctor.web.headers import HEADERS
from proctor.web.server import _Peer
from tests.fixtures.server import Server, open_server, settings_for
from tests.web.raw import read_head, read_to_end, upgrade

pytestmark = pytest.mark.usefixtures("hard_limit")

START = "/api/v1/session/start"
FALLBACK = "/api/v1/session/ws/fallback"
IDS = {
    "parent folder": "..",
    "hidden file": ".x",
    "NUL": "a%00b",
    "line break": "a%0aLOG",
    "slash": "a%2Fb",
    "space": "a%20b",
    "one character too long": "x" * 129,
    "far too long": "x" * 9_000,
    "beyond ASCII": "%C3%BC",
    "no UTF-8": "a%ff",
    "empty": "",
}


class Answer(NamedTuple):
    """What the server said before it closed the connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The body, which must be a problem document about this very answer."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem: dict[str, Any] = json.loads(self.body)
        assert problem["status"] == self.status
        assert problem["title"]
        assert problem["detail"]
        return problem


async def ask(server: Server, request: bytes) -> Answer:
    """Send bytes and read to the end, as no HTTP library would do without first tidying up the address."""
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
        await stream.send_all(request)
        head, _, body = (await read_to_end(stream)).partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    return Answer(int(status.split()[1]), dict(line.lower().split(": ", 1) for line in headers), body)


def http(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    lines = {"host": "test", "connection": "close", "content-length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def send_json(path: str, body: bytes, **headers: str) -> bytes:
    return http("POST", path, body, **{"content-type": "application/json", **headers})


def with_id(key: str, quoted: str) -> bytes:
    """A body with the id as it is, not percent-encoded."""
    encoded = json.dumps(unquote_to_bytes(quoted).decode(errors="surrogateescape"), ensure_ascii=True)
    return f'{{"{key}": {encoded}, "candidate_id": "someone"}}'.encode()


def every_place(quoted: str) -> dict[str, bytes]:
    """Every request that takes a session id, with this one."""
    return {
        "start": send_json(START, with_id("exam_session_id", quoted)),
        "get": http("GET", f"/api/v1/session/{quoted}"),
        "analyze": http("POST", f"/api/v1/session/{quoted}/analyze"),
        "end": http("POST", f"/api/v1/session/{quoted}/end"),
        "websocket": upgrade(f"/api/v1/session/ws/{quoted}"),
        "fallback": send_json(FALLBACK, with_id("session_id", quoted)),
    }


async def test_no_place_takes_what_is_no_session_id(tmp_path: Path, capsys):
    """Also before a WebSocket is opened; nothing is logged as a failure, and nothing breaks a log line."""
    set_up_logging("text", "debug")
    async with open_server(settings_for(tmp_path)) as server:
        for kind, quoted in IDS.items():
            for place, request in every_place(quoted).items():
                answer = await ask(server, request)
                assert 400 <= answer.status < 500, (kind, place, answer)
                # Half of what is no UTF-8 is no JSON either, and refused as such.
                if not (kind == "no UTF-8" and place in ("start", "fallback")):
                    assert SESSION_ID_RULE in answer.problem["detail"], (kind, place)
        assert (await server.http.get("/api/v1/session")).json()["sessions"] == []
    logged = capsys.readouterr().err.splitlines()
    assert logged
    assert all(re.match(r"\d{4}-\d\d-\d\dT\S+ \[(debug|info)", line) for line in logged), logged


async def test_a_client_that_is_gone_before_its_websocket_opens_is_no_failure(
    tmp_path: Path, capsys, monkeypatch
):
    """It happens all day, and would fill the log with tracebacks."""
    send = _Peer._send

    async def send_slowly(peer: _Peer, data: bytes) -> None:
        await send(peer, data)
        await trio.sleep(0.05)

    set_up_logging("text", "debug")
    async with open_server(settings_for(tmp_path)) as server:
        for _ in range(5):
            async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
                await stream.send_all(upgrade("/api/v1/session/ws/exam") + b"early")
                assert (await read_to_end(stream)).startswith(b"HTTP/1.1 400")
        monkeypatch.setattr(_Peer, "_send", send_slowly)
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(upgrade("/api/v1/session/ws/exam"))
            assert await stream.receive_some()
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.sleep(0.1)
        async with server.stream("exam") as client:
            assert (await client.ask({"extracted_features": {}, "seq": 1}))["type"] == "ack"
    assert "failed" not in capsys.readouterr().err


async def test_the_longest_session_id_works_everywhere(server: Server):
    longest = "Az09._-".ljust(128, "x")
    assert (await server.start(longest)).status_code == 200
    async with server.stream(longest) as client:
        assert (await client.ask({"seq": 1, "extracted_features": {}}))["type"] == "ack"
    assert (await server.post(longest, "analyze")).status_code == 200
    assert len(await server.frames(longest)) == 1


@pytest.fixture
async def abroad(tmp_path: Path) -> AsyncIterator[Server]:
    """A server that pages of one other site may use."""
    async with open_server(settings_for(tmp_path, allowed_origins=["https://exam.example"])) as running:
        yield running


async def may_stream(server: Server, **headers: str) -> bool:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
        await stream.send_all(upgrade("/api/v1/session/ws/exam", *lines))
        head, _ = await read_head(stream)
        return head.startswith(b"HTTP/1.1 101")


async def test_only_some_pages_may_stream_or_change_something(abroad: Server):
    """A browser sends a plain POST and opens a WebSocket for any page, so the server has to refuse."""
    await abroad.start("exam")
    body = json.dumps({"session_id": "exam", "extracted_features": {}}).encode()
    for headers in ({}, {"origin": "http://test"}, {"origin": "https://exam.example"}):
        assert await may_stream(abroad, **headers), headers
        assert (await ask(abroad, http("POST", FALLBACK, body, **headers))).status == 202, headers
        assert (await ask(abroad, http("GET", "/health", **headers))).status == 200
    for origin in ("https://evil.example", "https://exam.example.evil.example", "null"):
        headers = {"origin": origin}
        assert not await may_stream(abroad, **headers), origin
        for path in (START, FALLBACK, "/api/v1/session/exam/end", "/api/v1/session/exam/analyze"):
            refused = await ask(abroad, http("POST", path, body, content_type="text/plain", **headers))
            assert refused.status == 403, (origin, path)
            assert "ALLOWED_ORIGINS" in refused.problem["detail"]
            assert "access-control-allow-origin" not in refused.headers
        assert (await ask(abroad, http("GET", "/health", **headers))).status == 200
    assert (await abroad.http.get("/api/v1/session/exam")).json()["status"] == "active"


@pytest.mark.parametrize(
    ("origin", "allowed"), [("https://exam.example", True), ("https://evil.example", False)]
)
async def test_a_preflight_tells_a_browser_who_may_call(abroad: Server, origin, allowed):
    preflight = {"origin": origin, "access-control-request-method": "POST"}
    wanted = {**preflight, "access-control-request-headers": "content-type"}
    answer = await ask(abroad, http("OPTIONS", START, **wanted))
    assert answer.status == 200
    granted = {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}
    if not allowed:
        assert granted == {}
        return
    assert granted["access-control-allow-origin"] == origin
    assert granted["access-control-allow-methods"] == "get, post"
    assert granted["access-control-allow-headers"] == "authorization, content-type"
    # An error is for the page, too, and so is how long to wait.
    failed = await ask(abroad, http("GET", "/api/v1/session/nobody", origin=origin))
    assert failed.headers["access-control-allow-origin"] == origin
    assert failed.headers["access-control-expose-headers"] == "retry-after, www-authenticate"
    assert "origin" in failed.headers["vary"]


def chunked(path: str, body: bytes) -> bytes:
    request = http("POST", path, content_type="application/json", transfer_encoding="chunked")
    request = request.replace(b"content-length: 0\r\n", b"")
    return request + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


async def test_a_body_over_the_limit_is_413(tmp_path: Path):
    """Also if its length is not said beforehand."""
    body = json.dumps({"exam_session_id": "s", "session_id": "s", "candidate_id": "c" * 2_000}).encode()
    async with open_server(settings_for(tmp_path, request_max_bytes=2_000)) as server:
        for path in (START, FALLBACK):
            for send in (send_json, chunked):
                answer = await ask(server, send(path, body))
                assert answer.status == 413, (path, send)
                assert "2000 bytes" in answer.problem["detail"]
        assert (await server.start("s")).status_code == 200


UNUSABLE = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b'{"exam_session_id": "s", "candidate_id": "\xff"}',
    b'{"exam_session_id": "s", "candidate_id": "\\ud800"}',
    b'{"session_id": "s", "candidate_id": 1e999}',
    b"[" * 100_000,
    b'{"a":' * 40 + b"1" + b"}" * 40,
)


async def test_a_body_that_is_no_usable_json_object_is_400(server: Server):
    for path in (START, FALLBACK):
        for body in UNUSABLE:
            answer = await ask(server, send_json(path, body))
            assert answer.status == 400, (path, body[:50])
            assert answer.problem["detail"]


FAULTY: tuple[tuple[dict[str, Any], set[str]], ...] = (
    ({}, {"exam_session_id", "candidate_id"}),
    ({"exam_session_id": "s"}, {"candidate_id"}),
    ({"exam_session_id": 7, "candidate_id": "c"}, {"exam_session_id"}),
    ({"exam_session_id": "s", "candidate_id": ""}, {"candidate_id"}),
    ({"exam_session_id": "s", "candidate_id": "c" * 257}, {"candidate_id"}),
    ({"exam_session_id": "s", "candidate_id": "a\0b"}, {"candidate_id"}),
    ({"exam_session_id": "s", "candidate_id": "c", "exam_id": []}, {"exam_id"}),
    ({"exam_session_id": "s", "candidate_id": "c", "policy": "../default"}, {"policy"}),
    ({"exam_session_id": "s", "candidate_id": "c", "metadata": []}, {"metadata"}),
    ({"exam_session_id": "s", "candidate_id": "c", "colour": "red"}, {"colour"}),
)


async def test_the_fields_at_fault_are_named(server: Server):
    for body, fields in FAULTY:
        answer = await ask(server, send_json(START, json.dumps(body).encode()))
        assert answer.status == 400, body
        assert {error["field"] for error in answer.problem["errors"]} == fields
        assert all(error["detail"] for error in answer.problem["errors"])


async def test_a_start_has_to_say_that_it_is_json(server: Server):
    """Otherwise any page could start sessions by submitting a form."""
    body = b'{"exam_session_id": "s", "candidate_id": "c"}'
    for content_type in ("text/plain", "application/x-www-form-urlencoded"):
        answer = await ask(server, http("POST", START, body, content_type=content_type))
        assert answer.status == 415
        assert "application/json" in answer.problem["detail"]


async def test_another_method_is_405_and_says_which_there_are(server: Server):
    for method, path, allowed in (
        ("PUT", "/api/v1/session/exam", ["DELETE", "GET", "HEAD", "OPTIONS"]),
        ("GET", "/api/v1/session/exam/end", ["OPTIONS", "POST"]),
        ("PUT", "/health", ["GET", "HEAD", "OPTIONS"]),
        ("POST", "/docs", ["GET", "HEAD", "OPTIONS"]),
    ):
        answer = await ask(server, http(method, path))
        assert answer.status == 405, (method, path)
        assert sorted(answer.headers["allow"].split(", ")) == [name.lower() for name in allowed]
        assert ", ".join(allowed) in answer.problem["detail"]


async def test_a_websockets_address_says_so_to_others(server: Server):
    answer = await ask(server, http("GET", "/api/v1/session/ws/exam"))
    assert answer.status == 400
    assert "ws://" in answer.problem["detail"]


async def test_a_client_that_asks_for_it_is_closed_at_once(server: Server):
    """Proxies that speak HTTP/1.0 ask so with every request."""
    with trio.fail_after(1):
        assert (await ask(server, http("GET", "/health"))).status == 200


async def test_elsewhere_is_404(server: Server):
    for path in ("/nowhere", "/api/v1/session/exam/", "/api/v1//session", "/docs/", "/api/v1/session/a/b"):
        answer = await ask(server, http("GET", path))
        assert answer.status == 404, path
        assert answer.problem["type"] == "about:blank"


@pytest.mark.parametrize("farewell", ["reset", "early bytes"])
async def test_a_client_that_does_not_wait_for_its_handshake_leaves_no_trouble_behind(
    tmp_path: Path, monkeypatch, capsys, farewell
):
    """Whoever could fill the log with tracebacks would hide in it."""
    asked, gone = trio.Event(), trio.Event()

    async def admit_late(self: Admissions, session_id: str) -> ExamSession:
        asked.set()
        await gone.wait()
        return ExamSession(session_id=session_id, started_ms=0)

    monkeypatch.setattr(Admissions, "admit", admit_late)
    async with open_server(settings_for(tmp_path)) as server:
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as client:
            await client.send_all(upgrade("/api/v1/session/ws/exam"))
            await asked.wait()
            if farewell == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.socket.close()
            else:
                await client.send_all(b"too early")
                await read_head(client)
        await trio.sleep(0.05)
        gone.set()
        await trio.sleep(0.05)
        assert (await server.http.get("/health")).status_code == 200
    logged = capsys.readouterr().err
    assert "Traceback" not in logged
    assert "failed" not in logged


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/docs", 200),
        ("GET", "/docs.css", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/session", 200),
        ("POST", START, 415),
        ("DELETE", "/health", 405),
    ],
)
async def test_every_answer_tells_browsers_what_to_refuse(server: Server, method, path, status):
    """Scripts and frames above all; also of errors."""
    answer = await ask(server, http(method, path))
    assert answer.status == status
    for name, value in HEADERS.items():
        assert answer.headers[name.lower()] == value.lower()
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "server" not in answer.headers
