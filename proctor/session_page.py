"""A session's report with its signals and its review as one page, to be kept or printed without a server."""

from contextlib import suppress
from pathlib import Path

import msgspec

from proctor.analysis.policy import Policy
from proctor.analysis.schema import Report
from proctor.errors import Conflict, InvalidRequest
from proctor.model import ExamSession
from proctor.offline.recording import Recording
from proctor.review_view import ReviewView
from proctor.reviewing import Case
from proctor.storage.dumps import find_dump, read_dump
from proctor.storage.encryption import DumpKeys
from proctor.storage.frames import frame_id_of


def session_page(case: Case, review: ReviewView, policy: Policy, folder: Path, keys: DumpKeys) -> bytes:
    """Return the page; without signals where the dump in this folder is gone. Blocks.

    Raises:
        Unavailable: the dump is encrypted, and none of the keys opens it.
        Conflict: the report is one of an earlier Proctor, which has not all that the page tells.
    """
    from proctor.offline.page import page  # draws, which few servers are ever asked for

    try:
        report = msgspec.json.decode(case.report, type=Report)
    except msgspec.ValidationError as error:
        raise Conflict(
            "an earlier Proctor made the report, and it has not all that the page tells; judge the session "
            "again, then it has"
        ) from error
    return page(report, _recording(case.session, folder, keys), policy, review=review).encode()


def _recording(session: ExamSession, folder: Path, keys: DumpKeys) -> Recording:
    path, frames = find_dump(folder, session.session_id), []
    with suppress(InvalidRequest):  # it was damaged
        frames = read_dump(path, keys=keys) if path is not None else []
    if frames:  # signals are counted from the first, as findings are
        session = msgspec.structs.replace(session, started_ms=frame_id_of(frames[0]).time_ms)
    return Recording(session, frames)
