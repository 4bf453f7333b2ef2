"""How many WebSockets may be open at a time."""

import pytest

from proctor.errors import Throttled
from proctor.seats import Seats
from proctor.settings import Settings


def seats(session: int, address: int) -> Seats:
    return Seats(Settings(_env_file=None, session_connections_max=session, address_connections_max=address))


def test_a_session_and_an_address_have_so_many():
    """Leaving makes room, and so does a handshake that came to nothing."""
    hall = seats(2, 3)
    first, second = hall.take("a", "here"), hall.take("a", "here")
    with pytest.raises(Throttled, match=r"session a has 2 .*SESSION_CONNECTIONS_MAX"):
        hall.take("a", "there")
    third = hall.take("b", "here")
    with pytest.raises(Throttled, match=r"address here has 3 .*ADDRESS_CONNECTIONS_MAX"):
        hall.take("c", "here")
    with first:
        pass
    with pytest.raises(RuntimeError, match="on purpose"), third:
        raise RuntimeError("on purpose")
    kept = [hall.take("c", "here"), hall.take("a", "here")]
    with pytest.raises(Throttled):
        hall.take("a", "there")
    del second
    kept.append(hall.take("a", "there"))
    with pytest.raises(Throttled):
        hall.take("a", "there")
    del first, third
    kept.clear()
    assert not hall._taken, "nothing is kept of those that are gone"


def test_without_a_limit_there_is_always_one():
    hall = seats(0, 0)
    assert len([hall.take("a", "here") for _ in range(1000)]) == 1000
