"""Which role a request needs, and whether whoever makes it has that."""

from collections.abc import Mapping

import trio
from quart import Quart, Response, g, has_request_context, request, websocket

from proctor.access.gate import Gate
from proctor.access.limits import Limits, network_of
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
    "openapi": PUBLIC,
}
"""By endpoint, the roles of which one is needed. What is not listed is for nobody."""


def guard_access(app: Quart, gate: Gate, limits: Limits) -> None:
    """Let nobody do what their role does not need, or ask too often.

    A request brings its key or token as `Authorization: Bearer …`. A browser's WebSocket cannot, and brings a
    candidate's token as the subprotocol `token.…` or as `?token=…`. Keys are not taken there, because
    addresses end up in other people's logs.
    """

    async def recognise(
        endpoint: str | None, header: str | None, token: str | None = None
    ) -> Principal | None:
        address, now = network_of(client_address()), trio.current_time()
        has_key = token is not None or (header or "").lower().startswith("bearer ")
        if endpoint is None or NEEDED.get(endpoint) is PUBLIC or not (gate.on and has_key):
            limits.visit(address, now)
            return None if endpoint is None else await _identified(gate, endpoint, header)
        if token is not None:
            return await limits.identify(token, None, address, now, gate.by_token)
        credential = (header or "").partition(" ")[2].strip()
        return await limits.identify(credential, gate.key_named(credential), address, now, gate.identify)

    @app.before_request
    async def check_request() -> None:
        # A preflight carries no credentials; an address that does not exist is told to be so.
        endpoint = None if request.method == "OPTIONS" else request.endpoint
        somebody = await recognise(endpoint, request.headers.get("Authorization"))
        _admit(somebody, endpoint, request.view_args)

    @app.before_websocket
    async def check_websocket() -> None:
        header, token = websocket.headers.get("Authorization"), _token_of_websocket()
        somebody = await recognise(websocket.endpoint, header, token)
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
