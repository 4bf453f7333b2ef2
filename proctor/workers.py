"""Several server processes on one port, and the one that starts them, watches over them and stops them.

It listens, and each worker accepts on the same sockets: whoever is idle takes the next connection, none that
waits is lost with a worker that dies, and a port that is taken is a mistake that is told. With a socket for
each worker (SO_REUSEPORT) none of that holds.

A pair of sockets joins it to each worker. The worker says when it accepts connections, and is told, a line of
JSON at a time, which of the others are down. When the sockets close, the worker stops as on SIGTERM, so none
stays behind, however their parent went.
"""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from tempfile import TemporaryDirectory

import msgspec
import structlog
import trio
from prometheus_client.multiprocess import mark_process_dead

from proctor.errors import Misconfigured
from proctor.main import listen, start, url_of
from proctor.metrics import SHARED_FOLDER
from proctor.settings import Settings

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_STEADY_SECONDS = 60.0
"""A worker that ran so long is started again after the first pause."""
_CLOSING_SECONDS = 5.0
"""What a worker may take to stop beyond `shutdown_timeout_seconds`, before it is killed."""
_TELL_SECONDS = 1.0
_READY = b"ready\n"


class Crew:
    """The workers, as their parent sees them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listeners: list[trio.SocketListener] = []
        self._environment: dict[str, str] = {}
        self._controls: dict[str, trio.SocketStream] = {}
        self._down: dict[str, str] = {}
        self._changed = trio.Event()
        self._begun = trio.Event()
        """Set when the first worker is ready, or never will be."""
        self.exit_status = 0
        """Not 0 if the first worker could not be started, or one did not stop in good order."""

    async def run(
        self, shutdown: trio.Event, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep the workers running until `shutdown` is set, then have them stop; what does not is killed.

        Reports the server's URL once the first is ready. If it never is, it has said why, and the others are
        not tried.

        Raises:
            Misconfigured: an address that cannot be listened on, or no store that the workers could share.
        """
        settings = self._settings
        if not settings.redis_url:
            detail = "several workers share their frames through Redis: set REDIS_URL, or WORKERS=1"
            raise Misconfigured(detail, field="workers")
        self._listeners = await listen(settings.host, settings.port)
        url = url_of(settings.host, self._listeners)
        with TemporaryDirectory(prefix="proctor-metrics-") as folder:
            self._environment = {**os.environ, SHARED_FOLDER: folder}
            async with trio.open_nursery() as nursery:
                # The others follow when the first is up. So a mistake is told once, and a SQLite database has
                # been brought up to date.
                nursery.start_soon(self._keep, "worker 1", shutdown)
                await self._begun.wait()
                task_status.started(url)
                if not self.exit_status:
                    for number in range(2, settings.workers + 1):
                        nursery.start_soon(self._keep, f"worker {number}", shutdown)
                    await self._tell_until(shutdown)
                grace = settings.shutdown_timeout_seconds + _CLOSING_SECONDS
                nursery.cancel_scope.deadline = trio.current_time() + grace
                for resource in (*self._listeners, *self._controls.values()):
                    await resource.aclose()
            if nursery.cancel_scope.cancelled_caught:
                self.exit_status = 1

    async def _keep(self, name: str, shutdown: trio.Event) -> None:
        """Run a worker until `shutdown` is set, again with growing pauses whenever it ends."""
        pause = _FIRST_PAUSE_SECONDS
        self._note(name, "is being started")
        while not shutdown.is_set():
            began = trio.current_time()
            status = await self._run_once(name)
            if shutdown.is_set():
                # A service manager signals all of them, also one that does not listen to signals yet.
                self.exit_status = self.exit_status or int(status not in (0, -signal.SIGTERM))
                break
            why = signal.Signals(-status).name if status < 0 else f"exit status {status}"
            self._note(name, f"ended with {why}, and is being started again")
            _log.error("worker ended", worker=name, reason=why)
            if not self._begun.is_set():
                self.exit_status = status if status > 0 else 1
                break
            if trio.current_time() - began > _STEADY_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            with trio.move_on_after(pause):
                await shutdown.wait()
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        self._begun.set()

    def _note(self, name: str, trouble: str | None) -> None:
        if trouble is None:
            self._down.pop(name, None)
        else:
            self._down[name] = trouble
        self._changed.set()

    async def _run_once(self, name: str) -> int:
        """Run a worker to its end, and return its exit status; cancelled, kill it."""
        ours, theirs = socket.socketpair()
        passed_on = (theirs.fileno(), *(listener.socket.fileno() for listener in self._listeners))
        with theirs:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "proctor", "worker", name, *map(str, passed_on)],
                stdin=subprocess.DEVNULL,
                pass_fds=passed_on,
                env=self._environment,
                process_group=0,  # so that Ctrl+C reaches the parent alone
            )
        control = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        self._controls[name] = control
        try:
            async with control:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    if await control.receive_some() == _READY:
                        self._begun.set()
                        self._note(name, None)
                return await process.wait()
        finally:
            process.kill()
            mark_process_dead(process.pid, self._environment[SHARED_FOLDER])  # type: ignore[no-untyped-call]

    async def _tell_until(self, shutdown: trio.Event) -> None:
        """Tell every worker which others are down, whenever that changes."""
        async with trio.open_nursery() as nursery:

            async def tell() -> None:
                while True:
                    await self._changed.wait()
                    self._changed = trio.Event()
                    for name, control in list(self._controls.items()):
                        others = {other: why for other, why in self._down.items() if other != name}
                        with (
                            trio.move_on_after(_TELL_SECONDS),
                            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
                        ):
                            await control.send_all(msgspec.json.encode(others) + b"\n")

            nursery.start_soon(tell)
            await shutdown.wait()
            nursery.cancel_scope.cancel(reason="workers stopping")


async def be_worker(
    settings: Settings, name: str, control_fd: int, listening: list[int], shutdown: trio.Event
) -> None:
    """Serve on the sockets that the parent has passed on, until it wants that no more or is gone."""
    structlog.contextvars.bind_contextvars(worker=name)
    control = trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=control_fd)))
    listeners = [
        trio.SocketListener(trio.socket.from_stdlib_socket(socket.socket(fileno=number)))
        for number in listening
    ]
    elsewhere: dict[str, str] = {}

    async def heed() -> None:
        lines = [b""]
        with suppress(trio.BrokenResourceError):
            while data := await control.receive_some():
                lines = (lines[-1] + data).split(b"\n")
                if len(lines) > 1:
                    elsewhere.clear()
                    elsewhere.update(msgspec.json.decode(lines[-2]))
        _log.info("stopping", reason="told by the parent, or left by it")
        shutdown.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(heed)
        async with trio.open_nursery() as serving:
            await start(serving, settings, shutdown, listeners, elsewhere)
            with suppress(trio.BrokenResourceError):
                await control.send_all(_READY)
        nursery.cancel_scope.cancel(reason="worker stopped")
