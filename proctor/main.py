"""Runs the server: services, listening socket, signals, and the order in which all of it stops."""

import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from ipaddress import ip_address

import structlog
import trio

from proctor.errors import Misconfigured
from proctor.services import open_services
from proctor.settings import Settings
from proctor.web.app import create_app
from proctor.web.server import serve
from proctor.wire import CloseCode

_log = structlog.get_logger(__name__)
_BACKLOG = 1024


async def run(
    settings: Settings,
    *,
    shutdown: trio.Event,
    listeners: list[trio.SocketListener] | None = None,
    elsewhere: Mapping[str, str] | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown` is set, then stop within `shutdown_timeout_seconds`.

    Reports the server's URL through `task_status` once it accepts connections. `listeners` are what to accept
    them on, if it is not for this process to listen; `elsewhere` is what `/health` shows to be down besides.

    Raises:
        Misconfigured: a setting, policy, plugin, schema or address that cannot be served with.
    """
    async with open_services(settings) as services:
        app = create_app(services)
        if elsewhere is not None:
            services.supervisor.elsewhere = elsewhere
        if listeners is None:
            listeners = await listen(settings.host, settings.port)
        if not services.gate.on:
            await _check_loopback(listeners)
        url = url_of(settings.host, listeners)
        _log.info("serving", url=url, database=services.database.kind, frames=services.store.kind)
        task_status.started(url)
        await serve(
            app,
            settings,
            listeners,
            sockets=services.sockets,
            shutdown=shutdown,
            before_drain=partial(services.roster.close_all, CloseCode.RESTARTING),
        )
    _log.info("stopped")


async def start(
    nursery: trio.Nursery,
    settings: Settings,
    shutdown: trio.Event,
    listeners: list[trio.SocketListener] | None = None,
    elsewhere: Mapping[str, str] | None = None,
) -> str:
    """Start :func:`run` as what this process is for, and return the server's URL."""
    _allow_many_connections()
    serving = partial(run, settings, shutdown=shutdown, listeners=listeners, elsewhere=elsewhere)
    url: str = await nursery.start(serving)
    # What is there by now stays until the end. Unfrozen, each full collection would look through all of it
    # and hold up every acknowledgement for nearly a tenth of a second.
    gc.collect()
    gc.freeze()
    # Messages on their way are many objects that live for milliseconds. To look for garbage among them every
    # few hundred costs a tenth of what is done about a message.
    gc.set_threshold(10_000, 10, 20)
    return url


def _allow_many_connections() -> None:
    """Each connection is an open file, of which a process has 1,024 by default, and more if it asks."""
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):  # where the system's own limit is lower, it says so when reached
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def run_until_signal(task: Callable[[trio.Event], Awaitable[None]]) -> None:
    """Run `task(shutdown)`, with `shutdown` set on SIGTERM or SIGINT; a second signal cancels it."""
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:

        async def watch(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                task_status.started()
                async for number in signals:
                    name = signal.Signals(number).name
                    if shutdown.is_set():
                        nursery.cancel_scope.cancel(reason=f"second signal, {name}")
                    _log.info("stopping", signal=name)
                    shutdown.set()

        await nursery.start(watch)
        await task(shutdown)
        nursery.cancel_scope.cancel(reason="server stopped")


def url_of(host: str, listeners: list[trio.SocketListener]) -> str:
    """Return the address that clients use."""
    return f"http://{f'[{host}]' if ':' in host else host}:{listeners[0].socket.getsockname()[1]}"


async def listen(host: str, port: int) -> list[trio.SocketListener]:
    """Listen on an address. Raises Misconfigured where that cannot be."""
    try:
        return await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
    except OSError as failure:
        raise Misconfigured(f"cannot listen on {host}:{port}: {failure}", field="port") from failure


async def _check_loopback(listeners: list[trio.SocketListener]) -> None:
    """Refuse what others can reach while whoever reaches it may read and end every exam."""
    for listener in listeners:
        address = listener.socket.getsockname()[0]
        if not ip_address(address).is_loopback:
            for opened in listeners:
                await opened.aclose()
            raise Misconfigured(
                f"{address} is not a loopback address, and authentication is off; turn it on with "
                "`proctor keys create NAME --role integration`, which prints a key, or listen on 127.0.0.1",
                field="host",
            )
