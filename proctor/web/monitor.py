"""The proctors' way to see running exams: a WebSocket that tells all sessions, then what changes."""

from functools import partial

import structlog
import trio
from quart import Blueprint, websocket

from proctor.services import Services
from proctor.web.access import principal, subprotocol
from proctor.web.upgrade import hand_over
from proctor.web.websocket import WebSocket
from proctor.wire import CloseCode

_log = structlog.get_logger(__name__)


def monitor_routes(services: Services) -> Blueprint:
    """Return the route of proctors."""
    routes = Blueprint("monitor", __name__)

    @routes.websocket("/api/v1/monitor/ws")
    async def watch() -> None:
        hand_over(websocket.scope, partial(_serve, services, principal().name))
        await websocket.accept(subprotocol=subprotocol())

    return routes


async def _serve(services: Services, name: str, socket: WebSocket) -> None:
    _log.info("proctor watches", name=name)

    def send(text: bytes) -> None:
        socket.send(text)
        socket.flush()

    try:
        socket.receive(lambda _message: None)  # nothing is asked, but a close has to be read
        with services.feed.joined(send):
            await socket.gone.wait()
    except trio.Cancelled:
        socket.close(CloseCode.RESTARTING, CloseCode.RESTARTING.name.lower())
        raise
    _log.info("proctor left", name=name)
