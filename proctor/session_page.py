"""A session's report with its signals and its review as one page, to be kept or printed without a server."""

from contextlib import suppress
from pathlib import Path

import msgspec

from proctor.analysis.policy import Policy
from proctor.analysis.schema import Report
from proctor.errors import Conflict, InvalidRequest
from proctor.offline.recording import Recording, read_recording
from proctor.review_view import ReviewView
from proctor.reviewing import Case


def session_page(case: Case, review: ReviewView, dump: Path, policy: Policy) -> bytes:
    """Return the page; without signals where the dump is gone. Blocks.

    Raises:
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
    recording = Recording(case.session, [])
    with suppress(InvalidRequest):  # the dump is gone, or was damaged
        recording = read_recording(dump, case.session.started_ms)
    return page(report, recording, policy, review=review).encode()
