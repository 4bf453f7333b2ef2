"""Everything that is kept about a candidate, as one JSON document that is never in memory as a whole."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import trio

from proctor.archive import Archive
from proctor.errors import Unavailable
from proctor.model import ExamSession
from proctor.settings import Settings
from proctor.storage.database import Database
from proctor.storage.dumps import find_dump
from proctor.storage.encryption import DumpKeys, open_dump
from proctor.storage.reviews import Reviews

_CHUNK_BYTES = 2**18
_encode = msgspec.json.encode

OfSession = Callable[[str], Awaitable[list[Any]]]
"""Finds what there is of a session, by its id."""


async def exported(
    candidate_id: str,
    sessions: Sequence[ExamSession],
    database: Database,
    reviews: Reviews,
    archive: Archive,
    settings: Settings,
    more: Mapping[str, OfSession],
) -> AsyncGenerator[bytes, None]:
    """Yield, bit by bit, `{"candidate_id", "sessions": […]}`.

    Each of the sessions is `{"session", "reports": […], "review": […], "frames": […]}`. Reports
    are all versions with who asked for them and why; the review is all that reviewers did and the candidate
    said; frames are the dump's, or of a running session those that were stored so far. `more` has, by name,
    what else there is of a session of some id.

    Raises:
        Unavailable: something is down; what came until then is no whole document.
    """
    keys = DumpKeys.of(settings)
    yield b'{"candidate_id":%b,"sessions":[' % _encode(candidate_id)
    for place, session in enumerate(sessions):
        yield b'%b{"session":%b,"reports":[' % (b"," if place else b"", _encode(session))
        for number, analysis in enumerate(await database.list_analyses(session.session_id)):
            report = await database.get_report(session.session_id, analysis.version) or b"null"
            yield b'%b{"analysis":%b,"report":%b}' % (b"," if number else b"", _encode(analysis), report)
        yield b'],"review":%b' % _encode(await reviews.events(session.session_id))
        for name, of_session in more.items():
            yield b",%b:%b" % (_encode(name), _encode(await of_session(session.session_id)))
        yield b',"frames":'
        path = await trio.to_thread.run_sync(find_dump, settings.dump_directory, session.session_id)
        frames = _recorded(archive, session.session_id) if path is None else _dumped(path, keys)
        async with aclosing(frames) as parts:
            async for part in parts:
                yield part
        yield b"}"
    yield b"]}\n"


async def check_dumps(sessions: Sequence[ExamSession], settings: Settings) -> None:
    """Return if the dumps of all sessions can be opened. Raises Unavailable."""
    keys = DumpKeys.of(settings)

    def check() -> None:
        for session in sessions:
            path = find_dump(settings.dump_directory, session.session_id)
            if path is not None:
                with open_dump(path, keys) as file:
                    file.read(1)

    try:
        await trio.to_thread.run_sync(check)
    except OSError as error:
        raise Unavailable(f"cannot read a dump: {error.strerror or error}") from error


async def _dumped(path: Path, keys: DumpKeys) -> AsyncGenerator[bytes, None]:
    file = await trio.to_thread.run_sync(open_dump, path, keys)
    try:
        while chunk := await trio.to_thread.run_sync(file.read, _CHUNK_BYTES):
            yield chunk
    finally:
        file.close()


async def _recorded(archive: Archive, session_id: str) -> AsyncGenerator[bytes, None]:
    separator = b"["
    with await archive.recording(session_id) as recording:
        async with aclosing(recording.frames()) as frames:
            async for frame in frames:
                yield separator + frame
                separator = b","
    yield b"[]" if separator == b"[" else b"]"
