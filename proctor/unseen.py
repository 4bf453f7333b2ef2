"""Which sessions have frames that nobody has looked at, and which of them are to be looked at first."""

from collections.abc import Collection, Iterable
from itertools import islice
from typing import Any

import trio

from proctor.analysis.calm import SessionCalm, Want
from proctor.latest import Latest
from proctor.storage.frames import FrameMessage

PATIENCE_SECONDS = 15.0
"""How long a calm session waits for a look."""

_KNOWN = 10_000
"""Sessions whose calm is known, those that were looked at last. Others are as new."""
_SHARE = 5
"""One place in so many is for those whose turn it is, however many are in haste, and one for the patient."""


class Unseen:
    """Grows as frames are stored; whoever looks at sessions takes them out."""

    def __init__(self) -> None:
        self._in_haste: dict[str, None] = {}
        self._in_turn: dict[str, None] = {}
        self._patient: dict[str, float] = {}
        """Calm sessions that had frames stored, and when that began."""
        self._lanes: tuple[dict[str, Any], ...] = (self._in_haste, self._in_turn, self._patient)
        self._calm: Latest[SessionCalm] = Latest(_KNOWN)
        """Of sessions that were looked at."""

    def stored(self, message: FrameMessage) -> None:
        """Note that a message's frames were stored."""
        name = message.session_id
        if name in self._in_haste:
            return
        want = self._want(name, message)
        if want is Want.HASTE:
            self._move(name, self._in_haste)
        elif want is Want.TURN and name not in self._in_turn:
            self._move(name, self._in_turn)
        elif name not in self._in_turn:
            self._patient.setdefault(name, trio.current_time())

    def add(self, session_ids: Iterable[str]) -> None:
        """Have these looked at in their turn."""
        for name in session_ids:
            if name not in self._in_haste and name not in self._in_turn:
                self._move(name, self._in_turn)

    def take(self, most: int) -> list[str]:
        """Take out those whose turn it is, among equals those first that wait for longest."""
        since = trio.current_time() - PATIENCE_SECONDS
        due = [name for name, began in islice(self._patient.items(), most) if began <= since]
        lanes: list[Collection[str]] = [self._in_haste, self._in_turn, due]
        taken: list[str] = []
        for place, lane in enumerate(lanes, 1):
            reserved = sum(min(len(each), most // _SHARE) for each in lanes[place:])
            taken += islice(lane, most - len(taken) - reserved)
        for name in taken:
            self._remove(name)
        return taken

    def _want(self, name: str, message: FrameMessage) -> Want:
        calm = self._calm.get(name)
        if calm is None:  # it is new, unless it waits already for who has only begun to look
            return Want.TURN if name in self._in_turn else Want.HASTE
        wants = (calm.after(each.time_ms, each.head + b'"}') for each in message.frames)
        return max(wants, default=Want.NONE)

    def _move(self, name: str, lane: dict[str, None]) -> None:
        self._remove(name)
        lane[name] = None

    def _remove(self, name: str) -> None:
        for lane in self._lanes:
            lane.pop(name, None)

    def seen(self, session_id: str, calm: SessionCalm | None) -> None:
        """Note what a look at a session has shown."""
        self._calm.put(session_id, calm or SessionCalm(turn_ms=0))

    def forget(self, session_id: str) -> None:
        """Nobody will look at the session any more."""
        self._calm.forget(session_id)

    def clear(self) -> None:
        """Forget everything."""
        for lane in self._lanes:
            lane.clear()
        self._calm = Latest(_KNOWN)
