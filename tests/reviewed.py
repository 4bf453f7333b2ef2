"""Ended sessions with real reports, written straight into a database: what there is to review."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from proctor.analysis.discovery import discover, find_plugins
from proctor.analysis.fold import Job, ReportRequest, report
from proctor.analysis.policy import Policy, built_in_policy
from proctor.model import ExamSession
from proctor.storage.database import Database
from proctor.testing import FACE, ORIGIN_MS, held

CALM = FACE | {"gaze_on_script": 1, "head_yaw": 0.02, "phone_present": 0}
PHONE = CALM | {"phone_present": 1, "phone_conf": 90}
TWO = CALM | {"no_of_face": 2}

EXAMS: Mapping[str, Sequence[tuple[float, Mapping[str, Any]]]] = {
    "high": ((200, CALM), (30, PHONE), (100, CALM), (20, PHONE), (60, TWO), (300, CALM)),
    "none": ((700, CALM),),
    "short": ((60, CALM),),
}
"""What goes on in each; `short` is too short to judge."""


@cache
def policy_with(shadow: str | None = None) -> Policy:
    """Return the built-in policy, perhaps with a rule on trial."""
    made = built_in_policy(discover(plugins=PLUGINS))
    if shadow is None:
        return made
    rule = msgspec.structs.replace(made.rules[shadow], shadow=True)
    return msgspec.structs.replace(made, rules={**made.rules, shadow: rule})


PLUGINS = tuple(plugin for plugin in find_plugins() if plugin.package == "proctor")


@cache
def report_on(session_id: str, kind: str, exam_id: str = "algebra", shadow: str | None = None) -> bytes:
    """Return the final report on such an exam."""
    frames = held(*EXAMS[kind], fps=2)
    request = ReportRequest(_session(session_id, exam_id), final=True, analysed_ms=ORIGIN_MS)
    return report(request, Job(PLUGINS, policy_with(shadow), None, frames))


def _session(session_id: str, exam_id: str, **more: Any) -> ExamSession:
    fields = {"candidate_id": f"candidate of {session_id}", "started_ms": ORIGIN_MS} | more
    return ExamSession(session_id=session_id, exam_id=exam_id, **fields)


async def sat(
    database: Database,
    session_id: str,
    kind: str = "high",
    exam_id: str = "algebra",
    *,
    shadow: str | None = None,
    **more: Any,
) -> bytes:
    """Have somebody sit an exam to its end. Returns the report."""
    await database.start_session(_session(session_id, exam_id, **more))
    await database.begin_ending(session_id, ORIGIN_MS + 800_000)
    made = report_on(session_id, kind, exam_id, shadow)
    await database.save_report(session_id, made)
    await database.mark_ended(session_id)
    return made
