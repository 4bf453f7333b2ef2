"""An echo behind Proctor's own server, for the Autobahn testsuite's fuzzing client.

The suite (PyPI `autobahntestsuite`) needs a Python 2.7 of its own:

    python2.7 -m virtualenv autobahn && autobahn/bin/pip install -r requirements.txt (see its package)
    python -m tests.web.echo --port 9001 &
    autobahn/bin/wstest -m fuzzingclient -s tests/web/autobahn.json

Compression (cases 12 and 13) is left out, for it is never negotiated.
"""

import argparse
from functools import partial
from typing import Any

import trio

from proctor.main import run_until_signal
from proctor.settings import Settings
from proctor.web.server import serve

_MESSAGE_MAX_BYTES = 32 * 1024 * 1024
"""The suite's largest messages are of 16 MiB."""


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send back every message as it came."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"], "bytes": event["bytes"]})


async def main(port: int, shutdown: trio.Event) -> None:
    """Serve the echo until told to stop."""
    settings = Settings(_env_file=None, message_max_bytes=_MESSAGE_MAX_BYTES, send_timeout_seconds=60)
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    await serve(echo, settings, listeners, shutdown=shutdown, before_drain=partial(trio.sleep, 0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9001)
    trio.run(run_until_signal, partial(main, parser.parse_args().port))
