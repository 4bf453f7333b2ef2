"""Which role a request needs, and whether whoever makes it has that."""

from collections.abc import Mapping

import trio
from quart import Quart, Response, g, request, websocket

from proctor.access.gate import Gate
from proctor.access.roles import STAFF, Principal, Role
from proctor.audit import Action, Audit, Who
from proctor.errors import Forbidden, Unauthenticated, Unavailable

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
    "privacy.erase_session": frozenset({_ADMIN}),
    "privacy.erase_candidate": frozenset({_ADMIN}),
    "privacy.export": frozenset({_ADMIN}),
    "livekit.token": frozenset({_CANDIDATE, _INTEGRATION, _PROCTOR}),
    "health.health": PUBLIC,
    "health.metrics": STAFF,
    "docs.home": PUBLIC,
    "docs.docs": PUBLIC,
    "docs.style": PUBLIC,
    "docs.asyncapi": PUBLIC,
    "docs.report": PUBLIC,
    "assets.asset": PUBLIC,
    "assets.try_page": PUBLIC,
    "openapi": PUBLIC,
}
"""By endpoint, the roles of which one is needed. What is not listed is for nobody."""


def guard_access(app: Quart, gate: Gate) -> None:
    """Let nobody do what their role does not need.

    A request brings its key or token as `Authorization: Bearer …`. A browser's WebSocket cannot, and brings a
    candidate's token as the subprotocol `token.…` or as `?token=…`. Keys are not taken there, because
    addresses end up in other people's logs.
    """

    @app.before_request
    async def check_request() -> None:
        # A preflight carries no credentials; an address that does not exist is told to be so.
        if request.method != "OPTIONS" and request.endpoint is not None:
            somebody = await _identified(gate, request.endpoint, request.headers.get("Authorization"))
            _admit(somebody, request.endpoint, request.view_args)

    @app.before_websocket
    async def check_websocket() -> None:
        if websocket.endpoint is None:
            return
        token = _token_of_websocket()
        somebody: Principal | None
        if token is not None and gate.on:
            somebody = await gate.by_token(token)
        else:
            somebody = await _identified(gate, websocket.endpoint, websocket.headers.get("Authorization"))
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


async def _identified(gate: Gate, endpoint: str, header: str | None) -> Principal | None:
    if NEEDED.get(endpoint) is PUBLIC:
        return None
    scheme, _, credential = (header or "").partition(" ")
    if header is not None and scheme.lower() != "bearer":
        raise Unauthenticated("write the header as `Authorization: Bearer KEY_OR_TOKEN`")
    return await gate.identify(credential.strip() if header is not None else None)


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
