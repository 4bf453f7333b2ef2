"""How an exam session is written into its row and read from it."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from proctor.accommodations import AnyAccommodation
from proctor.errors import InvalidRequest
from proctor.model import ExamSession, check_session_id
from proctor.storage.tables import KEY_CHARACTERS, exam_sessions


def is_session(session_id: str) -> sa.ColumnElement[bool]:
    """Return the condition that a row is this session's. Raises InvalidRequest for what is no session id."""
    return exam_sessions.c.session_id == check_session_id(session_id)


def row_of(session: ExamSession) -> dict[str, Any]:
    """Return a session's row. Raises InvalidRequest for what one of the databases cannot hold."""
    for field in ("candidate_id", "exam_id", "policy"):
        check_text(getattr(session, field), field)
    row = msgspec.structs.asdict(session)
    row["accommodations"] = written(session.accommodations)
    try:
        row["metadata"] = msgspec.json.encode(session.metadata).decode()
    except (UnicodeEncodeError, TypeError) as error:
        raise InvalidRequest("metadata cannot be written as JSON", field="metadata") from error
    row["status"] = session.status.value
    return row


def session_of(row: Any) -> ExamSession:
    """Return what a row of `exam_sessions` holds."""
    fields = {name: row[name] for name in ExamSession.__struct_fields__}
    for name in ("metadata", "accommodations"):
        fields[name] = msgspec.json.decode(fields[name])
    return msgspec.convert(fields, ExamSession)


def written(accommodations: Sequence[AnyAccommodation]) -> str:
    """Return accommodations as their column has them."""
    return msgspec.json.encode(accommodations).decode()


def check_text(value: str | None, field: str, characters: int = KEY_CHARACTERS) -> None:
    """Refuse on SQLite too what PostgreSQL refuses: who grows must be able to move the rows there."""
    if value is None:
        return
    if len(value) > characters:
        raise InvalidRequest(f"longer than {characters} characters", field=field)
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        raise InvalidRequest("contains a NUL or half a surrogate pair, which cannot be stored", field=field)
