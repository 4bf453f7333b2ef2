"""Frames that amount to a finding, and somebody who waits for it in the live report."""

import http.client
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import msgspec

from tests.bench.load import Failed, single_messages

_PHONE_SECONDS = 2
_COMPLETE_SECONDS = 1
"""A phone is a finding once it was in view for so long: `info_seconds` in config/default.toml."""
_MARGIN_SECONDS = 3
"""Of nothing to find, at both ends."""
_ASKERS = 8
_AGAIN_SECONDS = 1.0
"""The server answers one request a second for each session."""
_GIVE_UP_SECONDS = 20.0


def phone_messages(
    count: int, per_second: int, clients: int, holders: int
) -> tuple[list[Sequence[bytes]], dict[int, int]]:
    """Messages of clients, of whom some hold up a phone one after another.

    Returns them with, by the place of each of those `holders`, the message that makes it a finding.
    """
    interval_ms = 1000 // per_second
    reading = single_messages(count, interval_ms)
    on_the_phone = single_messages(count, interval_ms, phone_present=1, phone_conf=95)
    margin, length = _MARGIN_SECONDS * per_second, _PHONE_SECONDS * per_second
    everyone: list[Sequence[bytes]] = [reading] * clients
    completing = {}
    for turn in range(holders):
        place = turn * clients // holders
        start = margin + (count - 2 * margin - length) * turn // holders
        stop = start + length
        everyone[place] = [*reading[:start], *on_the_phone[start:stop], *reading[stop:]]
        completing[place] = start + _COMPLETE_SECONDS * per_second
    return everyone, completing


class Reviewer:
    """Asks for reports, in threads, until they show a phone. Use in a `with`, which ends the threads."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pool = ThreadPoolExecutor(_ASKERS)
        self._asked: dict[str, Future[float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def ask(self, session_id: str) -> None:
        """Begin to ask for a session's report, unless it has been asked for already."""
        if session_id not in self._asked:
            self._asked[session_id] = self._pool.submit(self._wait_for, session_id, time.perf_counter())

    def delays(self) -> Sequence[float]:
        """Seconds from each `ask` until a report with the finding was there. Waits for all of them."""
        return [waiting.result() for waiting in self._asked.values()]

    def _wait_for(self, session_id: str, since: float) -> float:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_GIVE_UP_SECONDS)
        try:
            while time.perf_counter() < since + _GIVE_UP_SECONDS:
                connection.request("POST", f"/api/v1/session/{session_id}/analyze")
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != http.client.OK:
                    raise Failed(f"a report was asked for, the server answered {answer.status} {body!r}")
                if any(found["category"] == "phone" for found in msgspec.json.decode(body)["findings"]):
                    return time.perf_counter() - since
                time.sleep(_AGAIN_SECONDS)
        finally:
            connection.close()
        raise Failed(f"{session_id} has no finding in its report after {_GIVE_UP_SECONDS:.0f} s")
