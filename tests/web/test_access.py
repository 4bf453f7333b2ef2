"""Who gets in, and to what: every endpoint, every role, tokens on WebSockets, the address to listen on."""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import pytest
import trio
from trio_websocket import ConnectionRejected

from proctor.access.keys import make_key
from proctor.access.roles import STAFF, Role
from proctor.errors import Misconfigured
from proctor.main import run
from proctor.settings import Settings
from proctor.storage.credentials import Credentials
from proctor.storage.pool import open_pool
from proctor.web.access import NEEDED, PAGES, PUBLIC
from tests.fixtures.livekit import KEY, SECRET, room_event, signed
from tests.fixtures.server import Server, open_server, settings_for

LIVEKIT = {
    "livekit_url": "wss://livekit.example.org",
    "livekit_api_key": KEY,
    "livekit_api_secret": SECRET,
}
FRAME = {"seq": 1, "extracted_features": {"face_present": 1}}


async def key_for(settings: Settings, *roles: Role) -> str:
    text, key = make_key("+".join(roles), frozenset(roles), now_ms=0)
    async with open_pool(settings) as pool:
        await Credentials(pool).add_key(key)
    return str(text)


class Guarded:
    """A server with authentication on, a key per role, and two started sessions."""

    def __init__(self, server: Server, keys: dict[Role, str]) -> None:
        self.server = server
        self.keys = keys
        self.tokens: dict[str, str] = {}

    def headers(self, credential: str | Role | None) -> dict[str, str]:
        if credential is None:
            return {}
        text = self.keys[credential] if isinstance(credential, Role) else credential
        return {"Authorization": f"Bearer {text}"}

    async def ask(
        self, credential: str | Role | None, method: str, path: str, **options: Any
    ) -> httpx.Response:
        return await self.server.http.request(method, path, headers=self.headers(credential), **options)

    async def start(self, session_id: str, **more: Any) -> dict[str, Any]:
        body = {"exam_session_id": session_id, "candidate_id": f"candidate of {session_id}"} | more
        answer = await self.ask(Role.INTEGRATION, "POST", "/api/v1/session/start", json=body)
        assert answer.status_code == 200, answer.text
        self.tokens[session_id] = answer.json()["token"]
        return answer.json()


@asynccontextmanager
async def open_guarded(settings: Settings) -> AsyncIterator[Guarded]:
    keys = {role: await key_for(settings, role) for role in sorted(STAFF)}
    async with open_server(settings) as server:
        guarded = Guarded(server, keys)
        await guarded.start("mine", exam_id="algebra")
        await guarded.start("other", exam_id="algebra")
        yield guarded


@pytest.fixture
async def guarded(tmp_path) -> AsyncIterator[Guarded]:
    async with open_guarded(settings_for(tmp_path, **LIVEKIT)) as opened:
        yield opened


REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "sessions.start": (
        "POST",
        "/api/v1/session/start",
        {"json": {"exam_session_id": "new", "candidate_id": "somebody"}},
    ),
    "sessions.list_sessions": ("GET", "/api/v1/session", {}),
    "sessions.get": ("GET", "/api/v1/session/mine", {}),
    "sessions.analyze": ("POST", "/api/v1/session/mine/analyze", {}),
    "sessions.end": ("POST", "/api/v1/session/ending/end", {}),
    "accommodations.grant": (
        "POST",
        "/api/v1/session/mine/accommodations",
        {"json": {"accommodations": [{"type": "exempt", "rule": "phone", "reason": "granted"}]}},
    ),
    "accommodations.withdraw": ("DELETE", "/api/v1/session/mine/accommodations/none", {}),
    "analyses.reanalyze": (
        "POST",
        "/api/v1/session/mine/reanalyze",
        {"json": {"requested_by": "r", "reason": "r"}},
    ),
    "analyses.versions": ("GET", "/api/v1/session/mine/analyses", {}),
    "analyses.version": ("GET", "/api/v1/session/mine/analyses/1", {}),
    "analyses.what_if": ("GET", "/api/v1/session/mine/what-if?policy=strict", {}),
    "review.queue": ("GET", "/api/v1/review", {}),
    "review.read": ("GET", "/api/v1/review/mine", {}),
    "review.act": (
        "POST",
        "/api/v1/review/mine",
        {"json": {"seen": 0, "version": 1, "act": "decide", "decision": "no_issue"}},
    ),
    "exports.queue_csv": ("GET", "/api/v1/review.csv", {}),
    "exports.queue_json": ("GET", "/api/v1/review.json", {}),
    "exports.page": ("GET", "/api/v1/session/mine/report.html", {}),
    "statistics.exam": ("GET", "/api/v1/exam/algebra/statistics", {}),
    "transparency.link": ("POST", "/api/v1/session/mine/transparency", {}),
    "transparency.page": ("GET", "/transparency/none", {}),
    "transparency.state": ("POST", "/transparency/none", {}),
    "privacy.erase_session": ("DELETE", "/api/v1/session/erased", {}),
    "privacy.erase_candidate": ("DELETE", "/api/v1/candidate/nobody", {}),
    "privacy.export": ("GET", "/api/v1/candidate/nobody", {}),
    "livekit.token": ("GET", "/api/v1/webrtc/livekit/token?exam_id=algebra&member_id=m", {}),
    "milestones.milestones": ("GET", "/api/v1/session/mine/milestones", {}),
    "milestones.livekit": (
        "POST",
        "/api/v1/webrtc/livekit/webhook",
        signed(room_event("room_started", "EV_1")),
    ),
    "webhooks.list_webhooks": ("GET", "/api/v1/webhooks", {}),
    "webhooks.add": ("POST", "/api/v1/webhooks", {"json": {"url": "https://127.0.0.1/"}}),
    "webhooks.remove": ("DELETE", "/api/v1/webhooks/0123456789abcdef", {}),
    "webhooks.test": ("POST", "/api/v1/webhooks/0123456789abcdef/test", {}),
    "webhooks.deliveries": ("GET", "/api/v1/webhooks/deliveries", {}),
    "webhooks.retry": ("POST", "/api/v1/webhooks/deliveries/1/retry", {}),
    "webhook_pages.show": ("GET", "/webhooks", {}),
    "webhook_pages.retry": ("POST", "/webhooks/deliveries/1/retry", {}),
    "stream.fallback": ("POST", "/api/v1/session/ws/fallback", {"json": {"session_id": "mine", **FRAME}}),
    "health.metrics": ("GET", "/metrics", {}),
    "health.health": ("GET", "/health", {}),
    "home.home": ("GET", "/", {}),
    "pages.monitor": ("GET", "/monitor", {}),
    "exam_page.exam": ("GET", "/exam/algebra", {}),
    "pages.review": ("GET", "/review/mine", {}),
    "session_page.room": ("GET", "/session/mine/room", {}),
    "session_page.session": ("GET", "/session/mine", {}),
    "messages.send": ("POST", "/api/v1/session/mine/message", {"json": {"text": "hello"}}),
    "signals.session_signals": ("GET", "/api/v1/session/mine/signals", {}),
    "client.file": ("GET", "/proctor-client.js", {}),
    "pages.try": ("GET", "/try", {}),
    "assets.asset": ("GET", "/assets/pages.css", {}),
    "sign_in.ask": ("GET", "/sign-in", {}),
    "sign_in.language": ("POST", "/language", {}),
    "sign_in.sign_out": ("POST", "/sign-out", {}),
    # Public as well; what they answer is in test_sign_in.py.
    "sign_in.with_key": ("GET", "/sign-in", {}),
    "sign_in.elsewhere": ("GET", "/sign-in", {}),
    "sign_in.back": ("GET", "/sign-in", {}),
    "docs.docs": ("GET", "/docs", {}),
    "docs.privacy": ("GET", "/privacy", {}),
    "docs.style": ("GET", "/docs.css", {}),
    "docs.asyncapi": ("GET", "/asyncapi.json", {}),
    "docs.report": ("GET", "/api/v1/schema/report.json", {}),
    "openapi": ("GET", "/openapi.json", {}),
}


async def test_every_endpoint_is_for_its_roles_alone(guarded):
    """Others are told what it needs, whoever they are, and nothing has happened."""
    await guarded.start("ending")
    assert REQUESTS.keys() | {"stream.stream", "monitor.watch"} == NEEDED.keys()
    for endpoint, (method, path, options) in REQUESTS.items():
        needed = NEEDED[endpoint]
        if needed is PUBLIC:
            nobody = await guarded.server.http.request(method, path, **options)
            # A link's token is its own key; who has none is told so by the page.
            expected = (401,) if "transparency" in endpoint else (200, 204, 303)
            assert nobody.status_code in expected, endpoint
            continue
        nobody = await guarded.ask(None, method, path, **options)
        if endpoint in PAGES:
            assert nobody.headers["Location"].startswith("/sign-in?next=/"), endpoint
        else:
            assert nobody.status_code == 401, endpoint
            assert nobody.headers["www-authenticate"] == "Bearer"
        for role in sorted(STAFF):
            answer = await guarded.ask(role, method, path, **options)
            if role in needed:
                assert answer.status_code not in (401, 403), (endpoint, role, answer.text)
            else:
                assert answer.status_code == 403, (endpoint, role)
                assert endpoint in PAGES or answer.json()["type"] == "/docs#problem-forbidden"
                assert all(each in answer.text for each in needed)
        answer = await guarded.ask(guarded.tokens["mine"], method, path, **options)
        assert (answer.status_code == 403) == (Role.CANDIDATE not in needed or "livekit" in endpoint), (
            endpoint
        )


async def test_a_token_is_for_its_own_session(guarded):
    """Wherever the session is named: in the address, in a body."""
    mine = guarded.tokens["mine"]
    assert (await guarded.ask(mine, "GET", "/api/v1/session/mine")).status_code == 200
    assert (await guarded.ask(mine, "GET", "/api/v1/session/other")).status_code == 403
    fallback = "/api/v1/session/ws/fallback"
    assert (
        await guarded.ask(mine, "POST", fallback, json={"session_id": "mine", **FRAME})
    ).status_code == 202
    other = await guarded.ask(mine, "POST", fallback, json={"session_id": "other", **FRAME})
    assert (other.status_code, other.json()["detail"][:30]) == (403, "this token is for another sess")
    none = await guarded.ask(mine, "POST", fallback, json={"session_id": "unheard-of", **FRAME})
    assert none.status_code == 403, "nobody learns which sessions there are"
    async with guarded.server.stream("other", extra_headers=[bearer(guarded.tokens["other"])]) as client:
        assert client.resumed["last_seq"] is None, "the frame went nowhere"


async def refused(server: Server, session_id: str, **options: Any) -> ConnectionRejected:
    """Return how a WebSocket is refused."""
    with pytest.RaisesGroup(ConnectionRejected, flatten_subgroups=True) as raised:
        async with server.stream(session_id, **options):
            pass
    (failure,) = raised.value.split(ConnectionRejected)[0].exceptions
    while isinstance(failure, BaseExceptionGroup):
        (failure,) = failure.exceptions
    assert isinstance(failure, ConnectionRejected)
    return failure


async def refusal(guarded: Guarded, session_id: str, **options: Any) -> int:
    """Return the status that a WebSocket is refused with."""
    return (await refused(guarded.server, session_id, **options)).status_code


def bearer(credential: str) -> tuple[bytes, bytes]:
    return b"Authorization", f"Bearer {credential}".encode()


async def test_browsers_bring_their_token_as_a_subprotocol_or_in_the_address(guarded):
    token = guarded.tokens["mine"]
    async with guarded.server.stream("mine", subprotocols=["proctor.v1", f"token.{token}"]) as client:
        assert client.connection.subprotocol == "proctor.v1"
        assert (await client.ask(FRAME))["seq"] == 1
    async with guarded.server.stream(f"mine?token={token}") as client:
        assert client.connection.subprotocol is None
        assert client.resumed["last_seq"] == 1
    async with guarded.server.stream("mine", extra_headers=[bearer(token)]) as client:
        assert client.resumed["last_seq"] == 1


@pytest.mark.parametrize(
    ("session_id", "options", "status"),
    [
        ("mine", {}, 401),
        ("mine?token=", {}, 401),
        ("mine?token=a.b.c", {}, 401),
        ("mine", {"subprotocols": ["proctor.v1", "token.a.b.c"]}, 401),
        ("mine", {"extra_headers": [(b"Authorization", b"Basic YTpi")]}, 401),
        ("mine?token={other}", {}, 403),
        ("unheard-of?token={mine}", {}, 403),
        ("mine?token={key}", {}, 401),
        ("mine", {"extra_headers": "key"}, 403),
    ],
)
async def test_whoever_has_no_token_of_the_session_streams_nothing(guarded, session_id, options, status):
    """Also with the key of a program, and never with one in an address, which others may write down."""
    key = guarded.keys[Role.INTEGRATION]
    if options.get("extra_headers") == "key":
        options = {"extra_headers": [bearer(key)]}
    address = session_id.format(key=key, **guarded.tokens)
    assert await refusal(guarded, address, **options) == status


async def test_a_token_for_a_session_that_is_gone_begins_none(guarded):
    """As after a candidate was erased."""
    token = guarded.tokens["mine"]
    claims = jwt.decode(token, options={"verify_signature": False})
    settings = guarded.server.settings
    async with open_pool(settings) as pool:
        [key] = await Credentials(pool).signing_keys()
    gone = jwt.encode(claims | {"sid": "gone"}, bytes.fromhex(key.secret), "HS256", {"kid": key.kid})
    assert await refusal(guarded, f"gone?token={gone}") == 404
    assert (await guarded.ask(Role.PROCTOR, "GET", "/api/v1/session/gone")).status_code == 404


async def test_start_tells_until_when_its_token_is_good(guarded):
    again = await guarded.start("mine", exam_id="algebra")
    claims = jwt.decode(again["token"], options={"verify_signature": False})
    assert abs(claims["exp"] - time.time() - guarded.server.settings.candidate_token_seconds) < 60
    assert again["token_expires_at"].startswith("20")


async def test_a_token_is_not_for_the_next_session_of_the_same_id(guarded):
    """Which somebody else may take, once the first was erased and the frame store has forgotten it."""
    token = guarded.tokens["mine"]
    assert (await guarded.ask(Role.ADMIN, "DELETE", "/api/v1/session/mine")).status_code == 204
    with sqlite3.connect(guarded.server.settings.frame_store_path) as frames:
        frames.execute("UPDATE sessions SET sealed = 0")
    await guarded.start("mine", candidate_id="somebody else", exam_id="algebra")
    assert (await guarded.ask(token, "GET", "/api/v1/session/mine")).status_code == 403
    query = {"exam_id": "algebra", "member_id": "somebody else"}
    rooms = await guarded.ask(token, "GET", TestRooms.PATH, params=query)
    assert rooms.status_code == 403
    fallback = {"session_id": "mine", **FRAME}
    sent = await guarded.ask(token, "POST", "/api/v1/session/ws/fallback", json=fallback)
    assert sent.status_code == 403
    assert await refusal(guarded, f"mine?token={token}") == 403


class TestRooms:
    """LiveKit: candidates as themselves in their own exam, proctors unseen."""

    PATH = "/api/v1/webrtc/livekit/token"

    async def grants(self, guarded: Guarded, credential: Role | str, exam_id: str, member_id: str) -> Any:
        query = {"exam_id": exam_id, "member_id": member_id}
        answer = await guarded.ask(credential, "GET", self.PATH, params=query)
        if answer.status_code != 200:
            return answer.status_code, answer.json()["detail"]
        return jwt.decode(answer.json()["token"], options={"verify_signature": False})["video"]

    async def test_a_candidate_joins_its_own_exam_as_itself(self, guarded):
        mine = guarded.tokens["mine"]
        granted = await self.grants(guarded, mine, "algebra", "candidate of mine")
        assert (granted["canPublish"], granted.get("hidden", False)) == (True, False)
        assert (granted["canSubscribe"], granted["canPublishData"]) == (False, False)
        status, detail = await self.grants(guarded, mine, "geometry", "candidate of mine")
        assert (status, "exam_id" in detail) == (403, True)
        status, detail = await self.grants(guarded, mine, "algebra", "candidate of other")
        assert (status, "member_id" in detail) == (403, True)

    async def test_a_candidate_has_no_name_of_its_choice_and_no_room_after_the_end(self, guarded):
        query = {"exam_id": "algebra", "member_id": "candidate of mine", "name": "Chief Proctor"}
        answer = await guarded.ask(guarded.tokens["mine"], "GET", self.PATH, params=query)
        claims = jwt.decode(answer.json()["token"], options={"verify_signature": False})
        assert claims["name"] == "candidate of mine"
        await guarded.ask(Role.PROCTOR, "POST", "/api/v1/session/mine/end")
        answer = await guarded.ask(guarded.tokens["mine"], "GET", self.PATH, params=query)
        assert (answer.status_code, "over" in answer.json()["detail"]) == (403, True)

    async def test_proctors_are_hidden_and_programs_hand_out_any_token(self, guarded):
        watching = await self.grants(guarded, Role.PROCTOR, "algebra", "p")
        assert (watching["canPublish"], watching["hidden"], watching["canSubscribe"]) == (False, True, True)
        handed_out = await self.grants(guarded, Role.INTEGRATION, "algebra", "anyone")
        assert (handed_out["canPublish"], handed_out.get("hidden", False)) == (True, False)
        assert handed_out["canSubscribe"] is True


async def test_nothing_of_a_credential_is_logged_or_told(guarded, capfd):
    token, key = guarded.tokens["mine"], guarded.keys[Role.REVIEWER]
    wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
    answers = [
        await guarded.ask(wrong, "GET", "/api/v1/session"),
        await guarded.ask(key, "POST", "/api/v1/session/mine/end"),
        await guarded.ask(token + "x", "GET", "/api/v1/session/mine"),
        await guarded.ask(None, "GET", "/health"),
    ]
    assert await refusal(guarded, f"other?token={token}") == 403
    assert await refusal(guarded, f"mine?token={token}x") == 401
    said = "".join(capfd.readouterr()) + "".join(answer.text for answer in answers)
    for secret in (token.split(".")[2], key[-43:], wrong[-43:]):
        assert secret not in said


async def test_a_preflight_needs_no_key(guarded):
    asks = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    answer = await guarded.server.http.options("/api/v1/session/start", headers=asks)
    assert answer.status_code == 200
    assert "Authorization" in answer.headers["access-control-allow-headers"]


async def test_without_keys_only_loopback_addresses_are_served(tmp_path):
    """And it says how to turn authentication on; then they are."""
    settings = settings_for(tmp_path, host="0.0.0.0")
    with pytest.RaisesGroup(
        pytest.RaisesExc(Misconfigured, match="proctor keys create"), flatten_subgroups=True
    ):
        await run(settings, shutdown=trio.Event())
    await key_for(settings, Role.ADMIN)
    async with open_server(settings) as server:
        url = f"http://127.0.0.1:{server.port}/api/v1/session"
        async with httpx.AsyncClient() as client:
            assert (await client.get(url)).status_code == 401
