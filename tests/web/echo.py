"""An echo on Proctor's own WebSockets, for the Autobahn testsuite's fuzzing client.

The suite needs a Python 2.7 of its own, and the versions that its package lists in `requires.txt`:

    python2.7 -m virtualenv autobahn
    autobahn/bin/pip install autobahntestsuite==25.10.1 "autobahn[twisted]==0.10.9" Twisted==19.10.0 \\
        txaio==2.1.0 klein==17.10.0 Werkzeug==1.0.1 jinja2==2.11.3 markupsafe==1.1.1 unittest2 \\
        cryptography==3.3.2 pyOpenSSL==19.1.0 service_identity==18.1.0 incremental==16.10.1 \\
        zope.interface==4.6.0 six==1.16.0 setuptools==44.0.0
    python -m tests.web.echo --port 9001 &
    autobahn/bin/wstest -m fuzzingclient -s tests/web/autobahn.json
    python -m tests.web.echo --report autobahn-reports/index.json

Compression (cases 12 and 13) is left out, for it is never negotiated.
"""

import argparse
import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import trio

from proctor.main import run_until_signal
from proctor.settings import Settings
from proctor.web import websocket
from proctor.web.framing import Framing, text_frame
from proctor.web.server import serve
from proctor.web.sockets import Sockets
from proctor.web.upgrade import hand_over
from proctor.web.websocket import WebSocket

_MESSAGE_MAX_BYTES = 32 * 1024 * 1024
"""The suite's largest messages are of 16 MiB."""
_BINARY = 2


class NotingFraming(Framing):
    """Knows of which kind the message of the moment is, which makes no difference to Proctor."""

    kind = 0

    def _next_frame(self, data: bytes, start: int, end: int) -> tuple[int, int, int]:
        found = super()._next_frame(data, start, end)
        if found[2] <= end and found[0] & 0x0F in (1, _BINARY):
            self.kind = found[0] & 0x0F
        return found


async def converse(socket: WebSocket) -> None:
    """Send back every message as it came, until the peer is gone."""

    def echo(message: bytes) -> None:
        frame = bytearray(text_frame(message))
        framing = socket._framing
        assert isinstance(framing, NotingFraming)
        frame[0] = 0x80 | framing.kind
        socket._unsent += frame

    socket.receive(echo)
    await socket.gone.wait()


async def accept(scope: Any, receive: Any, send: Any) -> None:
    """Accept every WebSocket."""
    assert (await receive())["type"] == "websocket.connect"
    hand_over(scope, converse)
    await send({"type": "websocket.accept"})


async def main(port: int, shutdown: trio.Event) -> None:
    """Serve the echo until told to stop."""
    websocket.Framing = NotingFraming  # type: ignore[misc]
    settings = Settings(_env_file=None, message_max_bytes=_MESSAGE_MAX_BYTES, send_timeout_seconds=60)
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    sockets = Sockets(settings)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sockets.run)
        await serve(
            accept,
            settings,
            listeners,
            sockets=sockets,
            shutdown=shutdown,
            before_drain=partial(trio.sleep, 0),
        )
        nursery.cancel_scope.cancel(reason="the server has stopped")


def report(path: Path) -> None:
    """Print how many cases ended how, and those that did not pass."""
    (cases,) = json.loads(path.read_text()).values()
    for judged in ("behavior", "behaviorClose"):
        print(judged, dict(Counter(case[judged] for case in cases.values())))
        for number, case in cases.items():
            if case[judged] not in ("OK", "INFORMATIONAL"):
                print(f"  {number}: {case[judged]}, closed with {case['remoteCloseCode']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--report", type=Path, help="print the outcome of a run instead")
    chosen = parser.parse_args()
    if chosen.report:
        report(chosen.report)
    else:
        trio.run(run_until_signal, partial(main, chosen.port))
