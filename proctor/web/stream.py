"""The exam takers' way in: a WebSocket, or single requests where WebSockets are blocked."""

from contextlib import suppress
from typing import Any, cast

import structlog
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, WebsocketScope
from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint, Response, request, websocket
from quart_schema import document_request, document_response
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIWebsocketConnection

from proctor.clock import ClientClock
from proctor.connection import Connection, PeerGone
from proctor.errors import InvalidRequest, SessionEnded, Unavailable
from proctor.ingest import frame_message
from proctor.model import check_session_id
from proctor.services import Services, now_ms
from proctor.storage.frames import Outcome
from proctor.times import iso_from_ms
from proctor.web.problems import Problem, problem_response
from proctor.web.websocket import ClientGone
from proctor.wire import ClockReading, CloseCode, Rejected, encode, parse_json, read_message
from proctor.wire import SessionEnded as SessionEndedMessage

_log = structlog.get_logger(__name__)


_STORE_SECONDS = 5.0
"""How long a request waits for its message to be stored."""


class DirectWebSocket(TrioASGIWebsocketConnection):
    """Quart's WebSocket without a task and a queue of its own between the server and the handler.

    quart-trio cancels the handler when its client leaves, whatever it still holds; here the handler receives
    everything in order and then learns that the client has left, by PeerGone.
    """

    def __init__(self, app: QuartTrio, scope: WebsocketScope) -> None:
        self.app = app
        self.scope = scope
        self._accepted = False
        self._closed = False
        self.receive_channel = cast("Any", self)  # where quart-trio's wrapper finds `receive`

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Run the handler on the server's own `receive` and `send`."""
        self._receive = receive
        await super(TrioASGIWebsocketConnection, self).handle_websocket(
            self._create_websocket_from_scope(send), send
        )

    async def send_data(self, send: ASGISendCallable, data: str | bytes) -> None:
        """Send a message; to a client that is gone, nothing: `receive` tells."""
        with suppress(ClientGone):
            await super().send_data(send, data)

    async def close_connection(self, send: ASGISendCallable, code: int, reason: str) -> None:
        """Send a close; to a client that is gone, nothing."""
        with suppress(ClientGone):
            await super().close_connection(send, code, reason)

    async def receive(self) -> bytes | str:
        """Return the next message. Raises PeerGone."""
        while True:
            event = cast("dict[str, Any]", await self._receive())
            if event["type"] == "websocket.receive":
                data: bytes | None = event["bytes"]
                return event["text"] if data is None else data
            if event["type"] == "websocket.disconnect":
                raise PeerGone


class FallbackMessage(BaseModel):
    """Any message of the WebSocket, with the session it belongs to."""

    model_config = ConfigDict(extra="allow")

    session_id: str
    extracted_features: dict[str, Any] | None = Field(default=None, description="Features of one frame.")


class Accepted(BaseModel):
    """The message is stored."""

    status: str = Field("accepted", description="Always `accepted`.")
    session_id: str
    frames: int = Field(description="How many frames the message held.")
    duplicate: bool = Field(description="Its `seq` was stored before; it was not stored again.")
    seq: int | None = Field(default=None, description="The message's `seq`, acknowledged.")


def stream_routes(services: Services) -> Blueprint:
    """Return the routes of exam takers."""
    routes = Blueprint("stream", __name__)

    @routes.websocket("/api/v1/session/ws/<session_id>")
    async def stream(session_id: str) -> None:
        check_session_id(session_id)
        try:
            await services.sessions.admit(session_id)
        except SessionEnded:
            await websocket.accept()
            await websocket.send(encode(SessionEndedMessage(session_id, iso_from_ms(now_ms()))))
            await websocket.close(CloseCode.SESSION_ENDED, CloseCode.SESSION_ENDED.name.lower())
            return
        await websocket.accept()
        await _serve(services, session_id)

    @routes.post("/api/v1/session/ws/fallback")
    @document_request(FallbackMessage)
    @document_response(Accepted, 202)
    @document_response(Problem, 400)
    @document_response(Problem, 409)
    @document_response(Problem, 503)
    async def fallback() -> Response:
        """Take one message from a client that cannot hold a WebSocket.

        The body is any message of the WebSocket, with its `session_id`. Answers once it is stored.
        """
        received_ms = now_ms()
        try:
            body = parse_json(await request.get_data())
            if not isinstance(body, dict):
                raise InvalidRequest("the body must be a JSON object", field="body")
            session_id = check_session_id(body.get("session_id"))
            message = read_message(body, session_id, services.settings.batch_max_frames)
        except Rejected as rejected:
            services.metrics.errors.labels(rejected.code.value).inc()
            return problem_response(400, "Invalid request", rejected.detail, code=rejected.code.value)
        if isinstance(message, ClockReading):
            raise InvalidRequest(
                "a clock message needs a WebSocket; send frames with their timestamps", field="type"
            )
        await services.sessions.admit(session_id)
        stored_form = frame_message(session_id, message, ClientClock(), received_ms)
        with trio.move_on_after(_STORE_SECONDS) as storing:
            outcome = await services.ingest.store(stored_form)
        if storing.cancelled_caught:
            raise Unavailable("the frame store is not answering; send the message again, with its seq")
        if outcome is Outcome.SEALED:
            raise SessionEnded(f"session {session_id!r} has ended; the message was not stored")
        if outcome is Outcome.CONFLICT:
            detail = f"seq {message.seq} was stored before with other content; number new messages upwards"
            return problem_response(409, "Conflict", detail, code="seq_conflict")
        accepted = Accepted(
            status="accepted",
            session_id=session_id,
            frames=len(message.frames),
            duplicate=outcome is Outcome.DUPLICATE,
            seq=message.seq,
        )
        return Response(accepted.model_dump_json(exclude_none=True), 202, content_type="application/json")

    return routes


async def _serve(services: Services, session_id: str) -> None:
    connection = Connection(
        websocket,
        session_id,
        ingest=services.ingest,
        settings=services.settings,
        metrics=services.metrics,
        now_ms=now_ms,
    )
    _log.info("client connected", session=session_id)
    try:
        with services.roster.joined(connection):
            await connection.run()
        _log.info("client left", session=session_id)
    except* Exception:  # noqa: BLE001 - the border: a connection's failure is that connection's
        _log.exception("connection failed", session=session_id)
        await websocket.close(CloseCode.INTERNAL_ERROR, "internal_error")
