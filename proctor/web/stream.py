"""The exam takers' way in: a WebSocket, or single requests where WebSockets are blocked."""

from contextlib import suppress
from functools import partial
from typing import Any, cast

import structlog
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, WebsocketScope
from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response, request, websocket
from quart_schema import document_request, document_response
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIWebsocketConnection
from werkzeug.datastructures import Headers

from proctor.connection import Connection
from proctor.errors import InvalidRequest, SessionEnded, Unavailable
from proctor.ingest import clock_message, frame_message
from proctor.minimise import drop_features
from proctor.model import SESSION_ID_PATTERN, ExamSession, check_session_id
from proctor.pace import Allowances, Pace
from proctor.replies import SessionEnded as SessionEndedMessage
from proctor.replies import encode
from proctor.seats import Seat, Seats
from proctor.services import Services, now_ms
from proctor.storage.frames import FrameMessage, Outcome, ResumePoint
from proctor.times import iso_from_ms
from proctor.web.access import client_address, principal, subprotocol
from proctor.web.problems import Problem, problem_response
from proctor.web.upgrade import ClientGone, Serve, hand_over
from proctor.web.websocket import WebSocket
from proctor.wire import ClockReading, CloseCode, Frames, Rejected, parse_json, read_message

_log = structlog.get_logger(__name__)


_STORE_SECONDS = 5.0
"""How long a request waits for its message to be stored."""


class HandedOverWebSocket(TrioASGIWebsocketConnection):
    """Quart's WebSocket for a handler that accepts or refuses, and has no part in what follows.

    The handler puts what serves the WebSocket into its scope; see `proctor.web.upgrade`.
    """

    def __init__(self, app: QuartTrio, scope: WebsocketScope) -> None:
        self.app = app
        self.scope = scope
        self._accepted = False
        self._closed = False
        self.receive_channel = cast("Any", self)  # where quart-trio's wrapper finds `receive`

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Run the handler without a task and a queue for messages, of which it gets none."""
        await super(TrioASGIWebsocketConnection, self).handle_websocket(
            self._create_websocket_from_scope(send), send
        )

    async def accept_connection(
        self, send: ASGISendCallable, headers: Headers, subprotocol: str | None
    ) -> None:
        """Accept, unless the client is gone. In either case Quart need not close then."""
        with suppress(ClientGone):
            await super().accept_connection(send, headers, subprotocol)
        self._closed = True

    async def receive(self) -> bytes | str:
        """Refuse: messages go elsewhere."""
        raise RuntimeError("a handler of WebSockets accepts them and returns")


class FallbackMessage(BaseModel):
    """Any message of the WebSocket, with the session it belongs to."""

    model_config = ConfigDict(extra="allow")

    session_id: str = Field(json_schema_extra={"pattern": f"^{SESSION_ID_PATTERN}$"})
    extracted_features: dict[str, Any] | None = Field(default=None, description="Features of one frame.")


class Accepted(BaseModel):
    """The message is stored."""

    status: str = Field("accepted", description="Always `accepted`.")
    session_id: str
    frames: int = Field(description="How many frames the message held.")
    duplicate: bool = Field(description="Its `seq` was stored before; it was not stored again.")
    seq: int | None = Field(default=None, description="The message's `seq`, acknowledged.")
    server_timestamp: str | None = Field(
        default=None, description="Of a `clock` message: the server's time at its receipt."
    )


def stream_routes(services: Services) -> Blueprint:
    """Return the routes of exam takers."""
    routes = Blueprint("stream", __name__)
    allowances, seats = Allowances(services.settings), Seats(services.settings)

    @routes.websocket("/api/v1/session/ws/<session_id>")
    async def stream(session_id: str) -> None:
        check_session_id(session_id)
        try:
            session = await services.sessions.admit(session_id)
            principal().check_own(session)
            resume = await services.store.resume_point(session_id)
            serve = partial(_serve, services, session, resume, Pace(allowances.of(session_id)))
        except SessionEnded:
            serve = partial(_refuse_ended, session_id)
        seat = seats.take(session_id, client_address())
        hand_over(websocket.scope, partial(_serve_seated, seat, serve))
        await websocket.accept(subprotocol=subprotocol())

    @routes.post("/api/v1/session/ws/fallback")
    @document_request(FallbackMessage)
    @document_response(Accepted, 202)
    @document_response(Problem, 400)
    @document_response(Problem, 409)
    @document_response(Problem, 429)
    @document_response(Problem, 503)
    async def fallback() -> Response:
        """Take one message from a client that cannot hold a WebSocket.

        The body is any message of the WebSocket, with its `session_id`. Answers once it is stored. To a
        session that sends more than `MAX_FRAMES_PER_SECOND`, 429 says in `Retry-After` how long to wait.
        """
        received_ms = now_ms()
        try:
            body = parse_json(await request.get_data())
            if not isinstance(body, dict):
                raise InvalidRequest("the body must be a JSON object", field="body")
            session_id = check_session_id(body.get("session_id"))
            principal().check_session(session_id)
            message = read_message(body, session_id, services.settings.batch_max_frames)
        except Rejected as rejected:
            services.metrics.errors.labels(rejected.code.value).inc()
            return problem_response(400, "Invalid request", rejected.detail, code=rejected.code.value)
        session = await services.sessions.admit(session_id)
        principal().check_own(session)
        frames = None if isinstance(message, ClockReading) else message.frames
        # First, for what is refused is to set no clock: it comes again, and later.
        allowances.spend(session_id, 1 if frames is None else len(frames), trio.current_time())
        stored_form = _stored_form(services, session, message, received_ms)
        outcome = await _store(services, stored_form)
        if outcome is Outcome.CONFLICT:
            detail = f"seq {message.seq} was stored before with other content; number new messages upwards"
            return problem_response(409, "Conflict", detail, code="seq_conflict")
        accepted = Accepted(
            status="accepted",
            session_id=session_id,
            frames=len(frames or ()),
            duplicate=outcome is Outcome.DUPLICATE,
            seq=message.seq,
            server_timestamp=iso_from_ms(received_ms) if frames is None else None,
        )
        return Response(accepted.model_dump_json(exclude_none=True), 202, content_type="application/json")

    return routes


def _stored_form(
    services: Services, session: ExamSession, message: Frames | ClockReading, received_ms: int
) -> FrameMessage:
    clock = services.clocks.of_requests(session.session_id)
    if isinstance(message, ClockReading):
        clock.fix(message.client_ms, received_ms)
        return clock_message(session.session_id, message)
    drop_features(message, services.dropped(session))
    return frame_message(session.session_id, message, clock, received_ms)


async def _store(services: Services, message: FrameMessage) -> Outcome:
    if message.seq is None and not message.frames:  # a clock that is told leaves nothing
        return Outcome.STORED
    with trio.move_on_after(_STORE_SECONDS) as storing:
        receipt = await services.ingest.store(message)
    if storing.cancelled_caught:
        raise Unavailable("the frame store is not answering; send the message again, with its seq")
    if receipt.outcome is Outcome.SEALED:
        raise SessionEnded(f"session {message.session_id!r} has ended; the message was not stored")
    return receipt.outcome


async def _serve_seated(seat: Seat, serve: Serve, socket: WebSocket) -> None:
    with seat:
        await serve(socket)


async def _serve(
    services: Services, session: ExamSession, resume: ResumePoint, pace: Pace, socket: WebSocket
) -> None:
    session_id = session.session_id
    connection = Connection(
        socket,
        session_id,
        dropped=services.dropped(session),
        clock=services.clocks.connect(session_id),
        pace=pace,
        ingest=services.ingest,
        settings=services.settings,
        metrics=services.metrics,
        now_ms=now_ms,
    )
    if resume.epoch != services.store.epoch:  # emptied since it was asked
        resume = ResumePoint(None, services.store.epoch)
    _log.info("client connected", session=session_id)
    with services.roster.joined(connection), services.presence.noted(session_id):
        await connection.run(resume)
    _log.info("client left", session=session_id)


async def _refuse_ended(session_id: str, socket: WebSocket) -> None:
    """Tell a client that comes too late why nobody listens."""
    socket.send(encode(SessionEndedMessage(session_id, iso_from_ms(now_ms()))))
    socket.close(CloseCode.SESSION_ENDED, CloseCode.SESSION_ENDED.name.lower())
    await socket.gone.wait()
