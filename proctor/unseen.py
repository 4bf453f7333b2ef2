"""Which sessions have frames that nobody has looked at, those first that cannot wait."""

from collections.abc import Iterable
from itertools import islice

import trio

from proctor.analysis.calm import SessionCalm
from proctor.storage.frames import FrameMessage

PATIENCE_SECONDS = 15.0
"""How long a calm session waits for a look."""

_PATIENT_PLACES = 5
"""One place in so many is for sessions that have been patient, however many others cannot wait."""


class Unseen:
    """Grows as frames are stored; whoever looks at sessions takes them out."""

    def __init__(self) -> None:
        self._hurried: dict[str, None] = {}
        self._patient: dict[str, float] = {}
        """Calm sessions that had frames stored, and when that began."""
        self._calm: dict[str, SessionCalm] = {}

    def __len__(self) -> int:
        return len(self._hurried) + len(self._patient)

    def stored(self, message: FrameMessage) -> None:
        """Note that a message's frames were stored."""
        name = message.session_id
        if name in self._hurried:
            return
        calm = self._calm.get(name)
        if calm is None or any(calm.ended_by(each.time_ms, each.head + b'"}') for each in message.frames):
            self.add([name])
        else:
            self._patient.setdefault(name, trio.current_time())

    def add(self, session_ids: Iterable[str]) -> None:
        """Have these looked at as soon as it can be."""
        for name in session_ids:
            self._patient.pop(name, None)
            self._hurried.setdefault(name)

    def take(self, most: int) -> list[str]:
        """Take out those whose turn it is, among equals those first that wait for longest."""
        since = trio.current_time() - PATIENCE_SECONDS
        due = [name for name, began in islice(self._patient.items(), most) if began <= since]
        places = max(most - len(self._hurried), most // _PATIENT_PLACES)
        taken = due[:places]
        taken += islice(self._hurried, most - len(taken))
        for name in taken:
            self._patient.pop(name, None)
            self._hurried.pop(name, None)
        return taken

    def seen(self, session_id: str, calm: SessionCalm | None) -> None:
        """Note what a look at a session has shown."""
        if calm is None:
            self._calm.pop(session_id, None)
        else:
            self._calm[session_id] = calm

    def forget(self, session_id: str) -> None:
        """Nobody will look at the session any more."""
        self._calm.pop(session_id, None)

    def clear(self) -> None:
        """Forget everything."""
        for each in (self._hurried, self._patient, self._calm):
            each.clear()
