"""A session's signals over time, for whoever looks at it: a page, or a program that draws."""

from collections.abc import Sequence
from functools import partial

import msgspec
import numpy as np
import trio
from quart import Blueprint, Response
from quart_schema import document_response

from proctor.analysis.policy import policy_of
from proctor.errors import UnknownSession
from proctor.model import ExamSession, check_session_id
from proctor.offline.signals import Line, diagrams, signals
from proctor.services import Services
from proctor.storage.dumps import find_dump, read_dump
from proctor.storage.encryption import DumpKeys
from proctor.storage.frames import frame_id_of
from proctor.web.problems import Problem

_AT_ONCE = 1
"""Sessions read at a time, whose frames are then in memory; a long one's are some hundred megabytes."""


class DrawnLine(msgspec.Struct, frozen=True):
    """One signal."""

    name: str
    seconds: list[float]
    """Since the first frame, event time."""
    values: list[float | None]
    """None where it is unknown, or no frames came."""


class Drawn(msgspec.Struct, frozen=True):
    """Signals that belong into one diagram."""

    title: str
    steps: bool
    """They keep a value until the next frame, instead of moving towards it."""
    lines: list[DrawnLine]


class Happened(msgspec.Struct, frozen=True):
    """An event that the browser sent."""

    seconds: float
    name: str


class SessionSignals(msgspec.Struct, frozen=True):
    """What there is to draw of a session. Long lines go through the extremes of thousands of parts."""

    first_frame_ms: int | None
    """From when seconds are counted, milliseconds since the epoch; None without frames."""
    diagrams: list[Drawn]
    events: list[Happened]


def signal_routes(services: Services) -> Blueprint:
    """Return the route of signals."""
    routes = Blueprint("signals", __name__)
    turn = trio.CapacityLimiter(_AT_ONCE)
    keys = DumpKeys.of(services.settings)

    async def frames_of(session: ExamSession) -> Sequence[bytes]:
        if session.dumped:
            folder, session_id = services.settings.dump_directory, session.session_id
            path = await trio.to_thread.run_sync(find_dump, folder, session_id)
            if path is None:
                raise UnknownSession(f"the dump of {session_id!r} has expired or was removed")
            return await trio.to_thread.run_sync(partial(read_dump, path, keys=keys))
        with await services.archive.recording(session.session_id) as recording:
            return (await trio.to_thread.run_sync(recording.page)).frames

    @routes.get("/api/v1/session/<session_id>/signals")
    @document_response(SessionSignals)
    @document_response(Problem, 400)
    @document_response(Problem, 404)
    @document_response(Problem, 503)
    async def session_signals(session_id: str) -> Response:
        """Read a session's signals over time: its stored frames as lines, few enough to draw."""
        session = await services.sessions.get(check_session_id(session_id))
        policy = policy_of(services.policies, session.policy)
        async with turn:
            frames = await frames_of(session)
            found = await trio.to_thread.run_sync(_drawn, frames, policy.observation.gap_seconds)
        return Response(msgspec.json.encode(found), content_type="application/json")

    return routes


def _drawn(frames: Sequence[bytes], gap_seconds: float) -> SessionSignals:
    if not frames:
        return SessionSignals(None, [], [])
    origin_ms = frame_id_of(frames[0]).time_ms
    found = signals(frames, origin_ms)
    return SessionSignals(
        origin_ms,
        [
            Drawn(each.plan.title, each.plan.steps, [_line(line) for line in each.lines])
            for each in diagrams(found, gap_seconds)
        ],
        [Happened(round(each.seconds, 3), each.name) for each in found.happenings],
    )


def _line(line: Line) -> DrawnLine:
    values: list[float | None] = line.values.tolist()
    for place in np.flatnonzero(np.isnan(line.values)).tolist():
        values[place] = None
    return DrawnLine(line.name, np.round(line.seconds, 3).tolist(), values)
