"""What one task at a time has, where one process is all there is: claimed names, and analysis states."""

from itertools import count

import trio

CLAIMS_BEFORE_PRUNING = 1000


class Leases:
    """Kept in memory, for they mean nothing once the process has ended. Any thread may use it."""

    def __init__(self) -> None:
        self._claims: dict[str, tuple[float, str]] = {}
        self._turns: dict[str, tuple[float, int]] = {}
        self._tokens = count(1)

    def claim(self, name: str, seconds: float, holder: str) -> float:
        """As :meth:`proctor.storage.frames.FrameStore.claim`. In a Trio task only."""
        now = trio.current_time()
        until, has_it = self._claims.get(name, (now, ""))
        if until > now and (not holder or holder != has_it):
            return until - now
        if len(self._claims) >= CLAIMS_BEFORE_PRUNING:
            self._claims = {other: held for other, held in self._claims.items() if held[0] > now}
        self._claims[name] = now + seconds, holder
        return 0.0

    def take(self, session_id: str, seconds: float) -> int | None:
        """Return a token, or None while somebody else has the state. In a Trio task only."""
        now = trio.current_time()
        until, _ = self._turns.get(session_id, (now, 0))
        if until > now:
            return None
        token = next(self._tokens)
        self._turns[session_id] = now + seconds, token
        return token

    def has(self, session_id: str, token: int) -> bool:
        """Tell whether `token` is the one given out last, and neither given back nor cleared since."""
        return self._turns.get(session_id, (0.0, 0))[1] == token

    def keep(self, session_id: str, token: int, seconds: float) -> None:
        """Hold on to the state for so long. In a Trio task only."""
        if self.has(session_id, token):
            self._turns[session_id] = trio.current_time() + seconds, token

    def give_back(self, session_id: str, token: int) -> None:
        """Let others take the state, unless they have already."""
        if self.has(session_id, token):
            del self._turns[session_id]

    def clear(self, session_id: str) -> None:
        """Whoever has the state can save it no more."""
        self._turns.pop(session_id, None)
