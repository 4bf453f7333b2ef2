"""The proctors' way to see running exams: a WebSocket that tells all sessions, then what changes."""

from collections.abc import Awaitable, Callable
from functools import partial

import structlog
import trio
from quart import Blueprint, websocket

from proctor.access.gate import REFRESH_SECONDS
from proctor.errors import Unauthenticated, Unavailable
from proctor.services import Services
from proctor.web.access import principal, standing, subprotocol
from proctor.web.cookies import Cookies
from proctor.web.upgrade import hand_over
from proctor.web.websocket import WebSocket
from proctor.wire import CloseCode

_log = structlog.get_logger(__name__)


def monitor_routes(services: Services, cookies: Cookies) -> Blueprint:
    """Return the route of proctors."""
    routes = Blueprint("monitor", __name__)

    @routes.websocket("/api/v1/monitor/ws")
    async def watch() -> None:
        hand_over(
            websocket.scope, partial(_serve, services, principal().name, standing(services.gate, cookies))
        )
        await websocket.accept(subprotocol=subprotocol())

    return routes


async def _serve(
    services: Services, name: str, check: Callable[[], Awaitable[None]], socket: WebSocket
) -> None:
    _log.info("proctor watches", name=name)

    def send(text: bytes) -> None:
        socket.send(text)
        socket.flush()

    try:
        socket.receive(lambda _message: None)  # nothing is asked, but a close has to be read
        with services.feed.joined(send, lambda: socket.unsent_bytes):
            await _until_shut_out(check, socket)
        if not socket.gone.is_set():
            _log.info("proctor is shut out", name=name)
            socket.close(CloseCode.UNAUTHORIZED, CloseCode.UNAUTHORIZED.name.lower())
            await socket.gone.wait()
    except trio.Cancelled:
        socket.close(CloseCode.RESTARTING, CloseCode.RESTARTING.name.lower())
        raise
    _log.info("proctor left", name=name)


async def _until_shut_out(check: Callable[[], Awaitable[None]], socket: WebSocket) -> None:
    """Return when the proctor is gone, or may not watch any more."""
    while not socket.gone.is_set():
        with trio.move_on_after(REFRESH_SECONDS):
            await socket.gone.wait()
        try:
            await check()
        except Unauthenticated:
            return
        except Unavailable as failure:
            _log.warning("who watches is not looked at again", reason=failure.detail)
