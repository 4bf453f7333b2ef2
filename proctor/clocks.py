"""The clocks of sessions' clients, known for longer than one connection."""

from proctor.clock import ClientClock
from proctor.latest import Latest

_KNOWN_SESSIONS = 10_000
"""Those that were connected to last."""


class Clocks:
    """What this process knows of the clocks of its latest sessions' clients."""

    def __init__(self) -> None:
        self._clocks: Latest[ClientClock] = Latest(_KNOWN_SESSIONS)

    def connect(self, session_id: str) -> ClientClock:
        """Return a clock for a new connection, which begins with what is known of the session's last one.

        Each has its own, as two devices may be connected at a time.
        """
        return self._keep(session_id, self.of_requests(session_id).successor())

    def of_requests(self, session_id: str) -> ClientClock:
        """Return the clock for frames that come without a connection."""
        return self._keep(session_id, self._clocks.get(session_id) or ClientClock())

    def _keep(self, session_id: str, clock: ClientClock) -> ClientClock:
        self._clocks.put(session_id, clock)
        return clock
