"""Which role a request needs, and whether whoever makes it has that."""

from collections.abc import Mapping
from urllib.parse import quote

import trio
from quart import Quart, Response, g, redirect, request, websocket
from quart.wrappers import Request, Websocket
from werkzeug.wrappers import Response as WerkzeugResponse

from proctor.access.gate import Gate
from proctor.access.pages import CSRF_FIELD, CSRF_HEADER
from proctor.access.roles import STAFF, Principal, Role
from proctor.audit import Action, Audit, Who
from proctor.errors import Forbidden, Unauthenticated, Unavailable
from proctor.web.cookies import Cookies

SUBPROTOCOL = "proctor.v1"
"""What a WebSocket speaks, for clients that have to name something beside their token."""

_NOTE_SECONDS = 5.0
_TOKEN_PROTOCOL = "token."  # noqa: S105 - what stands before a token
_CANDIDATE, _INTEGRATION, _PROCTOR, _REVIEWER, _ADMIN = Role

PUBLIC: frozenset[Role] = frozenset()
"""For everybody, with and without a key."""

NEEDED: Mapping[str, frozenset[Role]] = {
    "stream.stream": frozenset({_CANDIDATE}),
    "stream.fallback": frozenset({_CANDIDATE}),
    "sessions.start": frozenset({_INTEGRATION}),
    "sessions.list_sessions": frozenset({_INTEGRATION, _PROCTOR, _REVIEWER}),
    "sessions.get": frozenset({_CANDIDATE, _INTEGRATION, _PROCTOR, _REVIEWER}),
    "sessions.analyze": frozenset({_INTEGRATION, _PROCTOR, _REVIEWER}),
    "sessions.end": frozenset({_INTEGRATION, _PROCTOR}),
    "accommodations.grant": frozenset({_PROCTOR}),
    "accommodations.withdraw": frozenset({_PROCTOR}),
    "analyses.reanalyze": frozenset({_REVIEWER}),
    "analyses.versions": frozenset({_REVIEWER}),
    "analyses.version": frozenset({_REVIEWER}),
    "signals.session_signals": frozenset({_PROCTOR, _REVIEWER}),
    "monitor.watch": frozenset({_PROCTOR}),
    "privacy.erase_session": frozenset({_ADMIN}),
    "privacy.erase_candidate": frozenset({_ADMIN}),
    "privacy.export": frozenset({_ADMIN}),
    "livekit.token": frozenset({_CANDIDATE, _INTEGRATION, _PROCTOR}),
    "health.health": PUBLIC,
    "health.metrics": STAFF,
    "home.home": STAFF,
    "monitor_page.monitor": frozenset({_PROCTOR}),
    "session_page.session": frozenset({_PROCTOR, _REVIEWER}),
    "try_page.try_it": PUBLIC,
    "assets.asset": PUBLIC,
    "sign_in.ask": PUBLIC,
    "sign_in.with_key": PUBLIC,
    "sign_in.elsewhere": PUBLIC,
    "sign_in.back": PUBLIC,
    "sign_in.sign_out": PUBLIC,
    "sign_in.language": PUBLIC,
    "docs.docs": PUBLIC,
    "docs.style": PUBLIC,
    "docs.asyncapi": PUBLIC,
    "docs.report": PUBLIC,
    "client.file": PUBLIC,
    "openapi": PUBLIC,
}
"""By endpoint, the roles of which one is needed. What is not listed is for nobody."""

PAGES = frozenset({"home.home", "monitor_page.monitor", "session_page.session"})
"""Endpoints that people look at, and are sent to sign in from."""


def guard_access(app: Quart, gate: Gate, cookies: Cookies) -> None:
    """Let nobody do what their role does not need.

    A request brings its key or token as `Authorization: Bearer …`. A browser's WebSocket cannot, and brings a
    candidate's token as the subprotocol `token.…` or as `?token=…`. Keys are not taken there, because
    addresses end up in other people's logs. People who are signed in bring a cookie.
    """

    @app.before_request
    async def check_request() -> WerkzeugResponse | None:
        # A preflight carries no credentials; an address that does not exist is told to be so.
        if request.method == "OPTIONS" or request.endpoint is None:
            return None
        try:
            somebody = await _identified(gate, cookies, request)
        except Unauthenticated:
            if request.endpoint not in PAGES:
                raise
            return redirect(f"/sign-in?next={quote(request.full_path.removesuffix('?'))}")
        _admit(somebody, request.endpoint, request.view_args)
        return None

    @app.before_websocket
    async def check_websocket() -> None:
        if websocket.endpoint is None:
            return
        token = _token_of_websocket()
        somebody: Principal | None
        if token is not None and gate.on:
            somebody = await gate.by_token(token)
        else:
            somebody = await _identified(gate, cookies, websocket)
        _admit(somebody, websocket.endpoint, websocket.view_args)

    @app.after_request
    async def say_how(response: Response) -> Response:
        if response.status_code == Unauthenticated.status:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response


def principal() -> Principal:
    """Return who makes the request that is being served; not for public ones."""
    found: Principal = g.principal
    return found


def who() -> Who:
    """Return for the audit trail who makes the request, and from where."""
    return Who(actor=principal().name, address=request.remote_addr)


async def note_done(audit: Audit, action: Action, subject: str, *, before: object, after: object) -> None:
    """Record what the request has done already, also if whoever made it hangs up meanwhile.

    Raises:
        Unavailable: it could not be recorded.
    """
    with trio.move_on_after(_NOTE_SECONDS, shield=True) as noting:
        await audit.record(action, subject, **who(), before=before, after=after)
    if noting.cancelled_caught:
        raise Unavailable("it is done, but could not be recorded; the audit trail lacks it")


def subprotocol() -> str | None:
    """Return what to answer a WebSocket that names subprotocols; browsers insist on an answer."""
    return SUBPROTOCOL if SUBPROTOCOL in websocket.requested_subprotocols else None


async def _identified(gate: Gate, cookies: Cookies, asked: Request | Websocket) -> Principal | None:
    header = asked.headers.get("Authorization")
    if NEEDED.get(asked.endpoint or "") is PUBLIC:
        return None
    if header is None and gate.on and cookies.signed_in in asked.cookies:
        return await _signed_in(gate, cookies, asked)
    scheme, _, credential = (header or "").partition(" ")
    if header is not None and scheme.lower() != "bearer":
        raise Unauthenticated("write the header as `Authorization: Bearer KEY_OR_TOKEN`")
    return await gate.identify(credential.strip() if header is not None else None)


async def _signed_in(gate: Gate, cookies: Cookies, asked: Request | Websocket) -> Principal:
    """Return who is signed in to the pages. Browsers send a cookie whoever has them send something."""
    somebody, session = await gate.by_cookie(asked.cookies[cookies.signed_in])
    g.page_session = session
    if isinstance(asked, Websocket):
        # Of its own page, since the origins that may stream, with a token, may not act for who is signed in.
        if not cookies.is_own(asked):
            raise Forbidden("only this server's own pages may open this with a cookie; others send a key")
    elif asked.method not in ("GET", "HEAD"):
        given = asked.headers.get(CSRF_HEADER)
        if given is None and asked.mimetype == "application/x-www-form-urlencoded":
            given = (await asked.form).get(CSRF_FIELD)
        session.check_csrf(given)
    return somebody


def _admit(somebody: Principal | None, endpoint: str, arguments: Mapping[str, str] | None) -> None:
    if somebody is None:
        return
    needed = NEEDED.get(endpoint, frozenset())
    if not needed & somebody.roles:
        wanted = " or ".join(sorted(needed)) or "nobody"
        has = ", ".join(sorted(somebody.roles)) or "none"
        raise Forbidden(f"this is for the role {wanted}; {somebody.name!r} has {has}")
    if arguments and "session_id" in arguments:
        somebody.check_session(arguments["session_id"])
    g.principal = somebody


def _token_of_websocket() -> str | None:
    for protocol in websocket.requested_subprotocols:
        if protocol.startswith(_TOKEN_PROTOCOL):
            return protocol.removeprefix(_TOKEN_PROTOCOL)
    token: str | None = websocket.args.get("token")
    return token
