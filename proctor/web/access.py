"""Which role a request needs, and whether whoever makes it has that."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from urllib.parse import quote

import trio
from quart import Quart, Response, g, has_request_context, redirect, request, websocket
from quart.wrappers import Request, Websocket
from werkzeug.wrappers import Response as WerkzeugResponse

from proctor.access.gate import Gate
from proctor.access.limits import Limits, network_of
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

WELCOMING = frozenset({"pages.try"})
"""Pages for everybody that offer more to who is signed in."""

PAGES: Mapping[str, frozenset[Role]] = {
    "home.home": STAFF,
    "pages.monitor": frozenset({_PROCTOR}),
    "session_page.session": frozenset({_PROCTOR, _REVIEWER}),
    "session_page.room": frozenset({_PROCTOR}),
    "pages.review": frozenset({_REVIEWER}),
    "exam_page.exam": frozenset({_REVIEWER, _ADMIN}),
    "webhook_pages.show": frozenset({_ADMIN}),
}
"""By endpoint that people look at, and are sent to sign in from, the roles of which one is needed."""

NEEDED: Mapping[str, frozenset[Role]] = {
    **PAGES,
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
    "analyses.what_if": frozenset({_REVIEWER, _ADMIN}),
    "review.queue": frozenset({_REVIEWER}),
    "review.read": frozenset({_REVIEWER}),
    "review.act": frozenset({_REVIEWER}),
    "exports.queue_csv": frozenset({_REVIEWER}),
    "exports.queue_json": frozenset({_REVIEWER}),
    "exports.page": frozenset({_REVIEWER}),
    "statistics.exam": frozenset({_REVIEWER, _ADMIN}),
    "transparency.link": frozenset({_REVIEWER}),
    "transparency.page": PUBLIC,
    "transparency.state": PUBLIC,
    "messages.send": frozenset({_PROCTOR}),
    "signals.session_signals": frozenset({_PROCTOR, _REVIEWER}),
    "monitor.watch": frozenset({_PROCTOR}),
    "privacy.erase_session": frozenset({_ADMIN}),
    "privacy.erase_candidate": frozenset({_ADMIN}),
    "privacy.export": frozenset({_ADMIN}),
    "livekit.token": frozenset({_CANDIDATE, _INTEGRATION, _PROCTOR}),
    "milestones.livekit": PUBLIC,  # LiveKit signs what it sends
    "milestones.milestones": frozenset({_PROCTOR, _REVIEWER}),
    "webhooks.list_webhooks": frozenset({_ADMIN}),
    "webhooks.add": frozenset({_ADMIN}),
    "webhooks.remove": frozenset({_ADMIN}),
    "webhooks.test": frozenset({_ADMIN}),
    "webhooks.deliveries": frozenset({_ADMIN}),
    "webhooks.retry": frozenset({_ADMIN}),
    "webhook_pages.retry": frozenset({_ADMIN}),
    "health.health": PUBLIC,
    "health.metrics": STAFF,
    "pages.try": PUBLIC,
    "assets.asset": PUBLIC,
    "sign_in.ask": PUBLIC,
    "sign_in.with_key": PUBLIC,
    "sign_in.elsewhere": PUBLIC,
    "sign_in.back": PUBLIC,
    "sign_in.sign_out": PUBLIC,
    "sign_in.language": PUBLIC,
    "docs.docs": PUBLIC,
    "docs.privacy": PUBLIC,
    "docs.style": PUBLIC,
    "docs.asyncapi": PUBLIC,
    "docs.report": PUBLIC,
    "client.file": PUBLIC,
    "openapi": PUBLIC,
}
"""By endpoint, the roles of which one is needed. What is not listed is for nobody."""


def guard_access(app: Quart, gate: Gate, cookies: Cookies, limits: Limits) -> None:
    """Let nobody do what their role does not need, or ask too often.

    A request brings its key or token as `Authorization: Bearer …`. A browser's WebSocket cannot, and brings a
    candidate's token as the subprotocol `token.…` or as `?token=…`. Keys are not taken there, because
    addresses end up in other people's logs. People who are signed in bring a cookie.
    """

    async def recognise(asked: Request | Websocket, token: str | None = None) -> Principal | None:
        # A preflight carries no credentials; an address that does not exist is told to be so.
        endpoint = None if asked.method == "OPTIONS" else asked.endpoint
        public = endpoint is None or NEEDED.get(endpoint) is PUBLIC
        header = asked.headers.get("Authorization")
        if not public and gate.on and token is not None:
            return await identified(limits, token, gate.by_token, key_id=None)
        if not public and gate.on and (header or "").lower().startswith("bearer "):
            credential = (header or "").partition(" ")[2].strip()
            key_id = gate.key_named(credential)
            return await identified(limits, credential, gate.identify, key_id=key_id)
        if not public and gate.on and header is None and cookies.signed_in in asked.cookies:
            try:
                somebody = await _signed_in(gate, cookies, asked)
            except Unauthenticated:  # whoever made up a cookie is a visitor as others are
                limits.visit(network_of(client_address()), trio.current_time())
                raise
            limits.hold(f"of {somebody.name}", trio.current_time())
            return somebody
        limits.visit(network_of(client_address()), trio.current_time())
        if not public:
            return await _identified(gate, header)
        if gate.on and endpoint in WELCOMING and cookies.signed_in in asked.cookies:
            with suppress(Unauthenticated):
                g.principal = await _signed_in(gate, cookies, asked)
        return None

    @app.before_request
    async def check_request() -> WerkzeugResponse | None:
        try:
            somebody = await recognise(request)
        except Unauthenticated:
            if request.endpoint not in PAGES:
                raise
            return redirect(f"/sign-in?next={quote(request.full_path.removesuffix('?'))}")
        _admit(somebody, request.endpoint, request.view_args)
        return None

    @app.before_websocket
    async def check_websocket() -> None:
        somebody = await recognise(websocket, _token_of_websocket())
        _admit(somebody, websocket.endpoint, websocket.view_args)

    async def say_how(response: Response | None) -> Response | None:
        if response is not None and response.status_code == Unauthenticated.status:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    app.after_request(say_how)
    app.after_websocket(say_how)  # type: ignore[type-var]


def principal() -> Principal:
    """Return who makes the request that is being served; not for public ones."""
    found: Principal = g.principal
    return found


def client_address() -> str:
    """Return the address that the request, or the WebSocket's handshake, comes from."""
    return (request if has_request_context() else websocket).remote_addr or ""


def who() -> Who:
    """Return for the audit trail who makes the request, and from where."""
    return Who(actor=principal().name, address=client_address())


async def identified(
    limits: Limits,
    credential: str,
    identify: Callable[[str], Awaitable[Principal]],
    *,
    key_id: str | None,
) -> Principal:
    """Return who holds a credential, held to the limits for where it comes from. Raises as `Limits` does."""
    address = network_of(client_address())
    return await limits.identify(credential, key_id, address, trio.current_time(), identify)


def standing(gate: Gate, cookies: Cookies) -> Callable[[], Awaitable[None]]:
    """Return what tells later whether whoever opens the WebSocket that is being served may still have it.

    It raises Unauthenticated once their key was revoked or has expired, or they are signed in no more, and
    Unavailable while that cannot be told.
    """
    header, cookie = websocket.headers.get("Authorization"), websocket.cookies.get(cookies.signed_in)

    async def check() -> None:
        if header is None and cookie is not None and gate.on:
            await gate.by_cookie(cookie)
        else:
            await _identified(gate, header)

    return check


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


async def _identified(gate: Gate, header: str | None) -> Principal:
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


def _admit(somebody: Principal | None, endpoint: str | None, arguments: Mapping[str, str] | None) -> None:
    if somebody is None or endpoint is None:
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
