"""Floods against a whole server with small limits: who makes them is told to wait, and nobody else is.

The server trusts this machine as its proxy, so that each client can have an address of its own.
"""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from proctor.access.roles import Role
from proctor.storage.audit_log import AuditLog
from proctor.storage.pool import open_pool
from tests.fixtures.server import settings_for
from tests.web.raw import client_frame, read_head, upgrade
from tests.web.test_access import FRAME, Guarded, open_guarded

pytestmark = pytest.mark.usefixtures("hard_limit")

LIMITS = {
    "session_connections_max": 2,
    "address_connections_max": 3,
    "key_requests_per_second": 1,
    "address_requests_per_second": 1,
    "address_failures_per_minute": 5,
    "max_frames_per_second": 10,
    "batch_max_frames": 100,
    "trusted_proxies": ["127.0.0.0/8"],
}
BURST = 30
FALLBACK = "/api/v1/session/ws/fallback"


def at(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": f"6.6.6.6, {address}"}


def refused(answer: httpx.Response, setting: str) -> bool:
    """Tell whether this is the refusal of a limit, complete."""
    if answer.status_code != 429:
        return False
    assert setting in answer.json()["detail"], answer.text
    assert int(answer.headers["retry-after"]) >= 1
    return True


@asynccontextmanager
async def knock(
    guarded: Guarded, session_id: str, address: str, **headers: str
) -> AsyncIterator[tuple[bytes, trio.SocketStream]]:
    """Ask for a WebSocket; gives the head of the answer, and the socket."""
    token = guarded.tokens[session_id]
    lines = [f"{name}: {value}" for name, value in at(address, **headers).items()]
    async with await trio.open_tcp_stream("127.0.0.1", guarded.server.port) as stream:
        await stream.send_all(upgrade(f"/api/v1/session/ws/{session_id}?token={token}", *lines))
        head, _ = await read_head(stream)
        yield head, stream


async def enters(guarded: Guarded, session_id: str, address: str) -> bool:
    async with knock(guarded, session_id, address) as (head, _):
        if head.startswith(b"HTTP/1.1 101"):
            return True
        assert head.startswith(b"HTTP/1.1 429"), head
        assert b"\r\nretry-after: 5\r\n" in head
        assert b"content-security-policy" in head
        return False


async def test_floods_cost_those_who_make_them(tmp_path: Path):
    async with open_guarded(settings_for(tmp_path, **LIMITS)) as guarded:
        await _sockets(guarded)
        await _visitors(guarded)
        await _guesses(guarded)
        await _candidates(guarded)
        await _frames(guarded)
        await _keys(guarded)
        await _trail(guarded)


async def _sockets(guarded: Guarded) -> None:
    """Two of a session, three from an address; leaving makes room."""
    async with AsyncExitStack() as opened:
        for session_id, address in (("mine", "192.0.2.1"), ("mine", "192.0.2.1"), ("other", "192.0.2.1")):
            head, _ = await opened.enter_async_context(knock(guarded, session_id, address))
            assert head.startswith(b"HTTP/1.1 101")
        assert not await enters(guarded, "mine", "192.0.2.2"), "the session has two"
        assert not await enters(guarded, "other", "192.0.2.1"), "the address has three"
        assert await enters(guarded, "other", "192.0.2.2")
    while not await enters(guarded, "mine", "192.0.2.1"):  # noqa: ASYNC110 - the server has no event for it
        await trio.sleep(0.05)


async def _visitors(guarded: Guarded) -> None:
    """Whoever has no key is counted by address; who has one is not in their way."""

    async def visit(address: str, path: str = "/docs.css") -> httpx.Response:
        return await guarded.server.http.get(path, headers=at(address))

    answers = [await visit("192.0.2.3", path) for path in ("/docs.css", "/nowhere", "/api/v1/session") * 11]
    assert {answer.status_code for answer in answers[:BURST]} == {200, 401, 404}
    assert refused(answers[-1], "ADDRESS_REQUESTS_PER_SECOND")
    made_up = at("192.0.2.3") | {"Cookie": "proctor=made.up.one"}
    assert refused(await guarded.server.http.get("/api/v1/session", headers=made_up), "ADDRESS_REQUESTS")
    assert (await visit("192.0.2.4")).status_code == 200
    headers = guarded.headers(Role.PROCTOR) | at("192.0.2.3")
    assert (await guarded.server.http.get("/api/v1/session/mine", headers=headers)).status_code == 200
    assert await enters(guarded, "other", "192.0.2.3")


async def _guesses(guarded: Guarded) -> None:
    """Where somebody guesses at a key, it opens to who has used it, and so do other keys and tokens."""
    used, fresh = guarded.keys[Role.INTEGRATION], guarded.keys[Role.REVIEWER]

    async def look(credential: str, address: str = "192.0.2.5") -> httpx.Response:
        headers = guarded.headers(credential) | at(address)
        return await guarded.server.http.get("/api/v1/session/mine", headers=headers)

    for key in (used, fresh):
        guesses = [await look(key[:-2] + f"{number:02}") for number in range(8)]
        assert guesses[0].status_code in (401, 429)
        assert refused(guesses[-1], "ADDRESS_FAILURES_PER_MINUTE")
    assert (await look(used)).status_code == 200
    assert (await look(guarded.tokens["mine"])).status_code == 200
    assert (await look(guarded.keys[Role.PROCTOR])).status_code == 200
    form = {"data": {"key": fresh}, "headers": at("192.0.2.5")}
    signed_in = await guarded.server.http.post("/sign-in", **form)
    assert (signed_in.status_code, int(signed_in.headers["Retry-After"]) > 0) == (429, True), (
        "nor on the pages"
    )
    assert (await look(fresh, "192.0.2.6")).status_code == 200
    assert await enters(guarded, "other", "192.0.2.5")


async def _candidates(guarded: Guarded) -> None:
    """Requests and handshakes with a session's tokens are the session's, from wherever they come."""
    fallback = {
        "headers": at("192.0.2.7") | guarded.headers(guarded.tokens["mine"]),
        "json": {"session_id": "mine"},
    }
    while not refused(await guarded.server.http.post(FALLBACK, **fallback), "KEY_REQUESTS_PER_SECOND"):
        pass
    async with knock(guarded, "mine", "192.0.2.8") as (head, _):
        assert head.startswith(b"HTTP/1.1 429")
    assert await enters(guarded, "other", "192.0.2.7")


async def _frames(guarded: Guarded) -> None:
    """What a session may send is not renewed by coming back, and shared with the fallback."""
    batch = {"type": "batch", "frames": [{}] * 100}
    async with knock(guarded, "other", "192.0.2.9") as (_, stream):
        for seq in range(1, 5):
            await stream.send_all(client_frame(json.dumps({**batch, "seq": seq}).encode()))
        said = b""
        while b'"seq":4' not in said:
            said += await stream.receive_some()
        assert b"too_fast" in said
    async with knock(guarded, "other", "192.0.2.9") as (_, stream):
        said = b""
        while b"too_fast" not in said:
            said += await stream.receive_some()
        headers = guarded.headers(guarded.tokens["other"])
        body: dict[str, Any] = {"session_id": "other", **FRAME, "seq": 9}
        answer = await guarded.server.http.post(FALLBACK, headers=headers, json=body)
        assert refused(answer, "MAX_FRAMES_PER_SECOND")


async def _keys(guarded: Guarded) -> None:
    """A key is counted wherever it is used."""
    answers = []
    for number in range(BURST + 5):
        headers = guarded.headers(Role.INTEGRATION) | at(f"192.0.2.{number}")
        answers.append(await guarded.server.http.get("/api/v1/session/mine", headers=headers))
    assert answers[0].status_code == 200
    assert refused(answers[-1], "KEY_REQUESTS_PER_SECOND")
    assert (await guarded.ask(Role.REVIEWER, "GET", "/api/v1/session/mine")).status_code == 200


async def _trail(guarded: Guarded) -> None:
    """Who acted from where is what the trusted proxy says, and nothing before that."""
    headers = guarded.headers(Role.PROCTOR) | at("192.0.2.10")
    assert (await guarded.server.http.post("/api/v1/session/mine/end", headers=headers)).status_code == 204
    async with open_pool(guarded.server.settings) as pool:
        newest = (await AuditLog(pool).oldest(after=None, limit=1_000))[-1]
    assert (newest.action, newest.address) == ("session_ended", "192.0.2.10")
