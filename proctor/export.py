"""Everything that is kept about a candidate, as one JSON document that is never in memory as a whole."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import trio

from proctor.archive import Archive
from proctor.model import ExamSession
from proctor.settings import Settings
from proctor.storage.database import Database
from proctor.storage.dumps import dump_path

_CHUNK_BYTES = 2**18
_encode = msgspec.json.encode

OfSession = Callable[[str], Awaitable[list[Any]]]
"""Finds what there is of a session, by its id."""


async def exported(
    candidate_id: str,
    sessions: Sequence[ExamSession],
    database: Database,
    archive: Archive,
    settings: Settings,
    more: Mapping[str, OfSession],
) -> AsyncGenerator[bytes, None]:
    """Yield `{"candidate_id", "sessions": [{"session", "reports": […], "frames": […]}, …]}`, bit by bit.

    Reports are all versions with who asked for them and why; frames are the dump's, or of a running session
    those that were stored so far. `more` has, by name, what else there is of a session of some id.

    Raises:
        Unavailable: something is down; what came until then is no whole document.
    """
    yield b'{"candidate_id":%b,"sessions":[' % _encode(candidate_id)
    for place, session in enumerate(sessions):
        yield b'%b{"session":%b,"reports":[' % (b"," if place else b"", _encode(session))
        for number, analysis in enumerate(await database.list_analyses(session.session_id)):
            report = await database.get_report(session.session_id, analysis.version) or b"null"
            yield b'%b{"analysis":%b,"report":%b}' % (b"," if number else b"", _encode(analysis), report)
        yield b"]"
        for name, of_session in more.items():
            yield b",%b:%b" % (_encode(name), _encode(await of_session(session.session_id)))
        yield b',"frames":'
        path = dump_path(settings.dump_directory, session.session_id)
        frames = _dumped(path) if await trio.Path(path).exists() else _recorded(archive, session.session_id)
        async with aclosing(frames) as parts:
            async for part in parts:
                yield part
        yield b"}"
    yield b"]}\n"


async def _dumped(path: Path) -> AsyncGenerator[bytes, None]:
    async with await trio.open_file(path, "rb") as file:
        while chunk := await file.read(_CHUNK_BYTES):
            yield chunk


async def _recorded(archive: Archive, session_id: str) -> AsyncGenerator[bytes, None]:
    separator = b"["
    with await archive.recording(session_id) as recording:
        async with aclosing(recording.frames()) as frames:
            async for frame in frames:
                yield separator + frame
                separator = b","
    yield b"[]" if separator == b"[" else b"]"
