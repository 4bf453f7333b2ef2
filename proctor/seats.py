"""How many WebSockets may be open at a time: of one session, and from one address."""

import weakref
from collections import Counter
from types import TracebackType

from proctor.errors import Throttled
from proctor.settings import Settings

_RETRY_SECONDS = 5.0
"""What whoever finds no seat is told to wait. Connections whose network is gone are let go meanwhile."""


class Seat:
    """Held by a WebSocket from its handshake on; given up by leaving the block, or once nobody has it.

    For a client may vanish between handshake and WebSocket, where there is no block to leave.
    """

    def __init__(self, seats: "Seats", places: tuple[str, ...]) -> None:
        self._give_up = weakref.finalize(self, seats.give_up, places)
        self._give_up.atexit = False

    def __enter__(self) -> None:
        """Hold it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it up."""
        self._give_up()


class Seats:
    """All that there are in one process."""

    def __init__(self, settings: Settings) -> None:
        self._session_most = settings.session_connections_max
        self._address_most = settings.address_connections_max
        self._taken: Counter[str] = Counter()

    def take(self, session_id: str, address: str) -> Seat:
        """Return a seat.

        Raises:
            Throttled: the session or the address has all that it may have.
        """
        places = (f"session {session_id}", f"address {address}")
        for place, most, setting in zip(
            places,
            (self._session_most, self._address_most),
            ("SESSION_CONNECTIONS_MAX", "ADDRESS_CONNECTIONS_MAX"),
            strict=True,
        ):
            if 0 < most <= self._taken[place]:
                raise Throttled(
                    f"{place} has {most} WebSockets open already ({setting}); close some, or come back later",
                    retry_after_seconds=_RETRY_SECONDS,
                )
        self._taken.update(places)
        return Seat(self, places)

    def give_up(self, places: tuple[str, ...]) -> None:
        """Make the places free again, for `Seat`."""
        self._taken.subtract(places)
        for place in places:
            if not self._taken[place]:
                del self._taken[place]
