"""Signing in to the pages: with a key, with an account of an OpenID provider, and what a cookie opens."""

import base64
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from functools import partial
from urllib.parse import quote_plus

import httpx
import jwt
import msgspec
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import rsa
from quart import Response
from trio_websocket import ConnectionClosed

from proctor.access import gate, pages
from proctor.access.oidc import name_of
from proctor.access.oidc import open_provider as provider_of
from proctor.access.roles import Role
from proctor.access.tokens import SigningKey, sign
from proctor.audit import Audit
from proctor.errors import Misconfigured
from proctor.storage.audit_log import AuditLog
from proctor.storage.credentials import Credentials
from proctor.storage.pool import open_pool
from proctor.web.cookies import Cookies
from proctor.web.origins import Own
from proctor.web.pages.shell import local_path
from tests.fixtures.provider import CLIENT, SECRET, OpenIDProvider, open_provider
from tests.fixtures.server import Server, open_server, settings_for
from tests.web.test_access import key_for, refused

FOREIGN = rsa.generate_private_key(65537, 2048)
PUBLIC = "http://proctor.example"


@pytest.fixture
def provider() -> Iterator[OpenIDProvider]:
    with open_provider() as opened:
        yield opened


class Guarded:
    """A server with authentication on, an OpenID provider, and a key for each role but admin."""

    def __init__(self, server: Server, keys: dict[Role, str], provider: OpenIDProvider) -> None:
        self.server, self.keys, self.provider = server, keys, provider
        self.http = server.http

    async def with_key(self, role: Role, onward: str = "/", **headers: str) -> httpx.Response:
        """Sign in as somebody who has a key pasted in."""
        form = {"key": f" {self.keys[role]} ", "next": onward}
        return await self.http.post("/sign-in", data=form, headers=headers)

    async def with_account(self, onward: str = "/") -> httpx.Response:
        """Sign in as somebody who has an account at the provider."""
        back = self.provider.authorize(await self.sent(onward))
        return await self.http.get(back.removeprefix(PUBLIC))

    async def sent(self, onward: str = "/") -> str:
        """Return where the browser is sent to sign in."""
        answer = await self.http.get("/sign-in/provider", params={"next": onward})
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    async def opened(self) -> int:
        """Return how a request for something of reviewers and of the exam system is answered."""
        return (await self.http.get("/api/v1/session")).status_code

    @property
    def csrf(self) -> str:
        """What the pages of who is signed in send along."""
        claims = jwt.decode(self.http.cookies["proctor"], options={"verify_signature": False})
        return str(claims["csrf"])

    @property
    def signing_key(self) -> SigningKey:
        """What the server's tokens are signed with."""
        path = self.server.settings.database_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as database:
            row = database.execute("SELECT kid, secret, created_ms FROM signing_keys").fetchone()
        return SigningKey(*row)


@pytest.fixture
async def guarded(tmp_path, provider, monkeypatch) -> AsyncIterator[Guarded]:
    monkeypatch.setattr(gate, "REFRESH_SECONDS", 0.1)
    settings = settings_for(
        tmp_path,
        public_url=PUBLIC,
        oidc_issuer=provider.url,
        oidc_client_id=CLIENT,
        oidc_client_secret=SECRET,
        oidc_roles={"exam-office": ["integration", "reviewer"], "vip": ["admin"]},
    )
    keys = {role: await key_for(settings, role) for role in (Role.REVIEWER, Role.INTEGRATION, Role.PROCTOR)}
    async with open_server(settings) as server:
        yield Guarded(server, keys, provider)


def told(answer: httpx.Response) -> str:
    found = re.search(r'role="alert" lang="en">([^<]*)<', answer.text)
    assert found, answer.text
    return found[1]


async def test_a_key_opens_the_pages_to_its_roles_until_it_is_revoked(guarded: Guarded):
    first = await guarded.http.get("/")
    assert (first.status_code, first.headers["Location"]) == (302, "/sign-in?next=/")
    answer = await guarded.with_key(Role.REVIEWER, "/docs?a=1")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/docs?a=1")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(answer.headers["Set-Cookie"].split("; "))
    assert await guarded.opened() == 200
    assert (await guarded.http.get("/api/v1/candidate/x")).status_code == 403
    page = (await guarded.http.get("/review")).text
    assert 'href="/review"' in page
    assert 'href="/monitor"' not in page
    refused = await guarded.http.get("/monitor")
    assert (refused.status_code, "for the role proctor" in refused.text) == (403, True)
    async with open_pool(guarded.server.settings) as pool:
        await Credentials(pool).revoke_key(guarded.keys[Role.REVIEWER].split("_")[1], 1)
    with trio.fail_after(30):
        while await guarded.opened() == 200:  # noqa: ASYNC110 - the server tells nobody
            await trio.sleep(0.05)
    assert await guarded.opened() == 401
    assert (await guarded.http.get("/")).headers["Location"] == "/sign-in?next=/"


@pytest.mark.parametrize("by_cookie", [True, False])
async def test_a_monitor_that_is_open_closes_when_the_key_is_revoked(
    guarded: Guarded, monkeypatch, by_cookie
):
    monkeypatch.setattr("proctor.web.monitor.REFRESH_SECONDS", 0.1)
    key = guarded.keys[Role.PROCTOR]
    header = (b"Authorization", f"Bearer {key}".encode())
    if by_cookie:
        await guarded.with_key(Role.PROCTOR)
        header = (b"Cookie", f"proctor={guarded.http.cookies['proctor']}".encode())
    async with guarded.server.socket("/api/v1/monitor/ws", extra_headers=[header]) as client:
        assert (await client.receive())["complete"]
        async with open_pool(guarded.server.settings) as pool:
            await Credentials(pool).revoke_key(key.split("_")[1], 1)
        with trio.fail_after(10), pytest.raises(ConnectionClosed) as closed:
            await client.receive()
    assert (closed.value.reason.code, closed.value.reason.reason) == (3000, "unauthorized")


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"email": "a@b", "email_verified": True}, "a@b"),
        ({"email": "a@b"}, "a@b"),
        ({"email": "a@b", "email_verified": False}, "anna"),
        ({"email": "a@b", "email_verified": "false"}, "anna"),
        ({"email": "a@b", "email_verified": None}, "anna"),
    ],
)
def test_nobody_is_called_by_an_address_that_nobody_has_checked(claims, name):
    """It may be a colleague's, who would stand in the audit trail and as the second reviewer."""
    assert name_of({"sub": "1", "preferred_username": "anna", **claims}) == name


async def test_what_changes_something_needs_the_pages_own_token(guarded: Guarded):
    await guarded.with_key(Role.INTEGRATION)
    start = partial(
        guarded.http.post, "/api/v1/session/start", json={"exam_session_id": "s", "candidate_id": "c"}
    )
    for given in ({}, {pages.CSRF_HEADER: "no"}, {pages.CSRF_HEADER: guarded.csrf[:-1]}):
        answer = await start(headers=given)
        assert answer.status_code == 403
        assert pages.CSRF_HEADER in answer.json()["detail"]
    assert (await start(headers={pages.CSRF_HEADER: guarded.csrf})).status_code == 200
    ended = await guarded.http.post("/api/v1/session/s/end", data={pages.CSRF_FIELD: guarded.csrf})
    assert ended.status_code == 204


async def test_a_header_goes_before_a_cookie(guarded: Guarded):
    """So that a program is never taken for who happens to be signed in."""
    await guarded.with_key(Role.REVIEWER)
    headers = {"Authorization": "Bearer proctor_1"}
    assert (await guarded.http.get("/api/v1/session", headers=headers)).status_code == 401


def in_use() -> int:
    return time.time_ns() // 1_000_000


def of_a_candidate(key: SigningKey) -> str:
    return sign({"sub": "x", "sid": "s", "began": 1}, key, "proctor-candidate", now_ms=in_use(), seconds=60)


def expired(key: SigningKey) -> str:
    session = pages.begin("x", key_id=None, roles=frozenset({Role.REVIEWER}))
    return pages.cookie_of(session, key, now_ms=0, seconds=60)


def of_no_key(key: SigningKey) -> str:
    return pages.cookie_of(pages.begin("x", key_id="0" * 16), key, now_ms=in_use(), seconds=60)


def of_a_foreign_key(key: SigningKey) -> str:
    session = pages.begin("x", key_id=None, roles=frozenset({Role.REVIEWER}))
    other = SigningKey(key.kid, "00" * 32, 0)
    return pages.cookie_of(session, other, now_ms=in_use(), seconds=60)


@pytest.mark.parametrize("make", [of_a_candidate, expired, of_no_key, of_a_foreign_key, lambda key: "a.b.c"])
async def test_other_cookies_open_nothing(guarded: Guarded, make):
    guarded.http.cookies.set("proctor", make(guarded.signing_key))
    assert await guarded.opened() == 401
    assert (await guarded.http.get("/")).status_code == 302


@pytest.mark.parametrize("key", ["", "proctor_1_2", f"proctor_{'0' * 16}_{'a' * 43}", "\0<b>"])
async def test_a_wrong_key_is_told_on_the_form(guarded: Guarded, key: str):
    answer = await guarded.http.post("/sign-in", data={"key": key})
    assert answer.status_code == 401
    assert "API key" in told(answer)
    assert "Set-Cookie" not in answer.headers


async def test_a_form_of_another_site_signs_nobody_in_or_out(guarded: Guarded):
    """Nor one of an origin that may stream: to be signed in as somebody else is an attack, too."""
    for origin in ("http://localhost:3000", "null"):
        assert (await guarded.with_key(Role.REVIEWER, Origin=origin)).status_code == 403
        assert (await guarded.http.post("/sign-out", headers={"Origin": origin})).status_code == 403
    assert (await guarded.with_key(Role.REVIEWER, Origin=PUBLIC)).status_code == 303
    assert await guarded.opened() == 200
    assert (await guarded.http.post("/sign-out", headers={"Origin": PUBLIC})).status_code == 303
    assert await guarded.opened() == 401


async def test_a_websocket_takes_the_cookie_of_its_own_pages_only(guarded: Guarded):
    await guarded.with_key(Role.PROCTOR)
    cookie = ("Cookie", f"proctor={guarded.http.cookies['proctor']}")
    for origin, reason in (("http://localhost:3000", "own pages"), (PUBLIC, "for the role candidate")):
        answer = await refused(guarded.server, "s", extra_headers=[cookie, ("Origin", origin)])
        assert answer.status_code == 403
        assert reason in (answer.body or b"").decode()


async def test_an_account_has_the_roles_of_its_groups(guarded: Guarded):
    provider = guarded.provider
    provider.keys = {"another": rsa.generate_private_key(65537, 2048), **provider.keys}
    answer = await guarded.with_account("/docs")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/docs")
    assert (provider.asked["scope"], provider.asked["tenant"]) == ("openid email profile", "school")
    basic = base64.b64encode(f"{quote_plus(CLIENT)}:{quote_plus(SECRET)}".encode()).decode()
    assert provider.bodies[-1][1] == f"Basic {basic}"
    assert await guarded.opened() == 200
    assert (await guarded.http.get("/api/v1/candidate/x")).status_code == 403
    assert "proctor-oidc" not in guarded.http.cookies
    async with open_pool(guarded.server.settings) as pool:
        entry, *_ = await Audit(AuditLog(pool), in_use).entries()
    assert (entry.action, entry.actor) == ("signed_in", "anna@school.example")
    assert msgspec.json.decode(entry.after)["roles"] == ["integration", "reviewer"]


@pytest.mark.parametrize(
    ("wrong", "status", "reason"),
    [
        ({"claims": {"nonce": "another"}}, 401, "another sign-in"),
        ({"claims": {"nonce": None}}, 401, "nonce"),
        ({"claims": {"aud": "another"}}, 401, "Audience"),
        ({"claims": {"aud": [CLIENT, "b"], "azp": "b"}}, 401, "another client"),
        ({"claims": {"iss": "https://evil.example"}}, 401, "another provider"),
        ({"claims": {"exp": 1}}, 401, "expired"),
        ({"claims": {"email": "Candidate"}}, 400, "another name"),
        ({"claims": {"groups": ["teachers"]}}, 403, "groups teachers"),
        ({"claims": {"groups": None}}, 403, "groups none"),
        ({"claims": {"groups": {"exam-office": 1}}}, 403, "groups none"),
        ({"signed_with": {"algorithm": "HS256", "key": "s" * 32}}, 401, "alg value"),
        ({"signed_with": {"algorithm": "none", "key": None}}, 401, "alg value"),
        ({"signed_with": {"algorithm": "RS256", "headers": {"kid": "unknown"}}}, 401, "none of the provider"),
        ({"signed_with": {"algorithm": "RS256", "key": FOREIGN}}, 401, "Signature"),
        ({"metadata": {"issuer": "https://evil.example"}}, 503, "calls itself"),
        ({"metadata": {"token_endpoint": None}}, 503, "token_endpoint"),
        ({"metadata": {"token_endpoint": "http://127.0.0.1:1/"}}, 503, "does not answer"),
        ({"metadata": {"jwks_uri": "nonsense"}}, 503, "does not answer"),
    ],
)  # fmt: skip
async def test_an_account_that_is_not_proved_opens_nothing(guarded: Guarded, wrong, status, reason):
    sent = await guarded.sent()
    for name, value in wrong.items():
        setattr(guarded.provider, name, value)
    answer = await guarded.http.get(guarded.provider.authorize(sent).removeprefix(PUBLIC))
    assert answer.status_code == status
    assert reason in told(answer)
    assert "proctor" not in guarded.http.cookies


async def test_only_the_browser_that_began_a_sign_in_ends_it(guarded: Guarded):
    back = guarded.provider.authorize(await guarded.sent()).removeprefix(PUBLIC)
    for path in (back.replace("state=", "state=x"), "/sign-in/callback?code=1", "/sign-in/callback"):
        assert "begin it again" in told(await guarded.http.get(path))
    answer = {"state": guarded.provider.asked["state"], "error": "<b>denied"}
    assert "&lt;b&gt;denied" in told(await guarded.http.get("/sign-in/callback", params=answer))
    guarded.http.cookies.clear()
    assert "in this browser" in told(await guarded.http.get(back))
    assert not guarded.provider.bodies


async def test_without_a_provider_or_authentication_the_form_says_so(server: Server):
    assert "nobody has to sign in" in (await server.http.get("/sign-in")).text
    assert "OIDC_ISSUER" in told(await server.http.get("/sign-in/provider"))
    german = await server.http.get("/sign-in", headers={"Accept-Language": "fr, de-CH;q=0.8, en;q=0.5"})
    assert '<html lang="de">' in german.text
    await server.http.post("/language", data={"language": "en", "next": "/sign-in"})
    chosen = await server.http.get("/sign-in", headers={"Accept-Language": "de"})
    assert '<html lang="en">' in chosen.text


def test_cookies_are_for_tls_only_where_browsers_come_by_it():
    cookies = Cookies(Own("https://proctor.example/"))
    response = Response("")
    cookies.set(response, cookies.signed_in, "x", 60)
    assert response.headers["Set-Cookie"].startswith("__Host-proctor=x;")
    assert "; Secure;" in response.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "given",
    [None, "", "docs", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nb", "/ä", "/a\\b"],
)
def test_nobody_is_sent_elsewhere(given):
    assert local_path(given) == "/"


@pytest.mark.parametrize(
    ("setting", "value", "field"),
    [
        ("public_url", "", "public_url"),
        ("oidc_client_id", "", "oidc_client_id"),
        ("oidc_roles", {}, "oidc_roles"),
        ("oidc_roles", {"a": ["candidate"]}, "oidc_roles"),
        ("oidc_roles", {"a": ["boss"]}, "oidc_roles"),
    ],
)
def test_a_provider_set_up_in_part_stops_the_server(tmp_path, setting, value, field):
    whole = {
        "public_url": PUBLIC,
        "oidc_issuer": "https://login.example",
        "oidc_client_id": "p",
        "oidc_roles": {"a": ["admin"]},
    }
    assert provider_of(settings_for(tmp_path, **whole)) is not None
    with pytest.raises(Misconfigured) as refused:
        provider_of(settings_for(tmp_path, **whole | {setting: value}))
    assert refused.value.field == field
