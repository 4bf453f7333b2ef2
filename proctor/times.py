"""Points in time, written and read."""

from datetime import UTC, datetime
from functools import lru_cache

_MILLISECONDS = [f".{ms:03d}Z" for ms in range(1000)]


def iso_from_ms(time_ms: int) -> str:
    """ISO 8601 in UTC with milliseconds and a `Z`, e.g. `2026-01-05T09:00:00.000Z`."""
    seconds, ms = divmod(time_ms, 1000)
    return _iso_seconds(seconds) + _MILLISECONDS[ms]


@lru_cache(maxsize=1024)  # frames of all sessions share their seconds
def _iso_seconds(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]  # strftime does not pad years


def ms_from_iso(text: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 time; one without an offset is taken as UTC.

    Raises:
        ValueError: `text` is no ISO 8601 date and time.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
