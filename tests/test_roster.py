"""Which connections there are, and what reaches which of them."""

import pytest
import trio

from proctor.roster import Roster
from proctor.wire import CloseCode


class FakeConnection:
    """Notes what it is told to do; its intake takes a second to stop."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.told: list[object] = []

    async def stop_intake(self) -> None:
        await trio.sleep(1)
        self.told.append("stop intake")

    def finish(self, code: CloseCode) -> None:
        self.told.append(code)

    def renew(self, epoch: str) -> None:
        self.told.append(epoch)


@pytest.fixture
def roster() -> Roster:
    return Roster()


def test_a_connection_is_on_the_roster_for_as_long_as_it_runs(roster):
    """Also when it fails, and while others of its session go on."""
    first, second, other = FakeConnection("a"), FakeConnection("a"), FakeConnection("b")
    with roster.joined(first), roster.joined(other):
        with pytest.raises(ZeroDivisionError):
            _fail_on(roster, second)
        assert len(roster) == 2
        roster.finish("a")
    assert len(roster) == 0
    roster.finish("a")
    assert first.told == [CloseCode.SESSION_ENDED]
    assert second.told == other.told == []


def _fail_on(roster: Roster, connection: FakeConnection) -> None:
    with roster.joined(connection):
        assert len(roster) == 3
        raise ZeroDivisionError


def test_a_session_can_come_back_while_its_last_connection_leaves(roster):
    """The set of a session's connections is made anew; the old one must not take the new one's place."""
    first, second = FakeConnection("a"), FakeConnection("a")
    with roster.joined(first):
        pass
    with roster.joined(second):
        roster.finish("a")
    assert second.told == [CloseCode.SESSION_ENDED]


async def test_intake_of_a_sessions_connections_stops_at_the_same_time(roster, autojump_clock):
    mine, other = [FakeConnection("a") for _ in range(3)], FakeConnection("b")
    with roster.joined(mine[0]), roster.joined(mine[1]), roster.joined(mine[2]), roster.joined(other):
        with trio.fail_after(1.01):
            await roster.stop_intake("a")
    assert [connection.told for connection in mine] == [["stop intake"]] * 3
    assert other.told == []
    await roster.stop_intake("nobody")


def test_a_client_that_joins_just_after_the_end_learns_of_it(roster):
    """It was admitted while the session ran; silent, it would never be told otherwise."""
    roster.finish("a")
    late, other = FakeConnection("a"), FakeConnection("b")
    with roster.joined(late), roster.joined(other):
        pass
    assert late.told == [CloseCode.SESSION_ENDED]
    assert other.told == []


def test_only_so_many_ended_sessions_are_remembered(roster, monkeypatch):
    monkeypatch.setattr("proctor.roster._ENDED_REMEMBERED", 3)
    for session_id in "abcad":
        roster.finish(session_id)
    told = {}
    for session_id in "abcd":
        connection = FakeConnection(session_id)
        with roster.joined(connection):
            told[session_id] = bool(connection.told)
    assert told == {"a": False, "b": True, "c": True, "d": True}


async def test_closing_all_hears_everybody_out_and_turns_later_ones_away(roster, autojump_clock):
    connections = [FakeConnection(session_id) for session_id in "aab"]
    late = FakeConnection("c")
    with roster.joined(connections[0]), roster.joined(connections[1]), roster.joined(connections[2]):
        with trio.fail_after(1.01):
            await roster.close_all(CloseCode.RESTARTING)
        with roster.joined(late):
            pass
    assert [connection.told for connection in connections] == [["stop intake", CloseCode.RESTARTING]] * 3
    assert late.told == [CloseCode.RESTARTING]


def test_that_the_store_was_emptied_reaches_every_connection(roster):
    connections = [FakeConnection(session_id) for session_id in "aab"]
    with roster.joined(connections[0]), roster.joined(connections[1]), roster.joined(connections[2]):
        roster.renew("another")
    assert [connection.told for connection in connections] == [["another"]] * 3
