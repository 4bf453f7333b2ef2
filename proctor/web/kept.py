"""The page that tells everybody what is kept about a person here, by the server's own code and settings."""

from collections.abc import Mapping
from typing import NamedTuple

import sqlalchemy as sa
from quart import Response

from proctor import __version__
from proctor.analysis.glance import Glance
from proctor.analysis.schema import report_schema
from proctor.audit import Action
from proctor.features import VOCABULARY
from proctor.services import Services
from proctor.settings import Settings
from proctor.storage.encryption import DumpKeys
from proctor.storage.tables import metadata
from proctor.web.rendering import templates

SERVER_KEYS = ("session_id", "frame_id", "timestamp", "received_at", "client_timestamp", "event")
"""What a stored frame has besides features."""

_ANALYSIS = ["numbers per rule", "excerpts of what was observed"]
_GLANCE = list(Glance.__struct_fields__)
_ERASED = "it is erased"


class Kept(NamedTuple):
    """One kind of data."""

    what: str
    fields: list[str]
    where: str
    until: str


def privacy_page(services: Services) -> Response:
    """Return the page."""
    policies = sorted(services.policies.items())
    page = templates.get_template("privacy.html").render(
        version=__version__,
        kept=everything_kept(services.settings, services.store.kind),
        vocabulary=VOCABULARY,
        dropped={name: policy.storage.drop for name, policy in policies},
        idle=_span(services.settings.session_idle_hours, "hour"),
        actions=Action,
    )
    return Response(page, content_type="text/html; charset=utf-8")


def everything_kept(settings: Settings, store: str) -> list[Kept]:
    """Return every kind of data that this server keeps, by its settings; `store` is the store's kind."""
    frames = [*SERVER_KEYS, "and the features below, or other names that the client sent"]
    buffer = f"frame store ({'Redis' if store == 'redis' else 'a file of the server'})"
    age = _time(settings.frame_buffer_retention_seconds)
    encrypted = "encrypted" if DumpKeys.of(settings) else "not encrypted"
    return [
        Kept("Frames of a running session", frames, buffer, f"{age} after they were stored"),
        Kept("The same, until the session has ended", frames, "a file of the server", "the session's end"),
        Kept("The analysis so far", _ANALYSIS, buffer, "the session's end"),
        Kept("What proctors see of it meanwhile", _GLANCE, "memory, or Redis", "the session's end, or a day"),
        Kept(
            "That a session is over, and which messages were stored",
            ["the session's id", "numbers and digests of messages"],
            buffer,
            f"a day and {age} after the last of them",
        ),
        Kept(
            "All frames of an ended session (the dump)",
            frames,
            f"a file of the server, {encrypted}",
            _first(settings.dump_retention_days, settings.report_retention_days),
        ),
        *(
            Kept(what, _columns(metadata.tables[name]), f"database, `{name}`", until)
            for name, (what, until) in _tables(settings).items()
        ),
        Kept(
            "The server's log",
            ["ids of sessions; no features, no names of candidates"],
            "wherever the operator collects it",
            "the operator removes it",
        ),
    ]


def _tables(settings: Settings) -> Mapping[str, tuple[str, str]]:
    """What each table of the database holds, and until when."""
    reports = _after_end(settings.report_retention_days)
    trail = settings.audit_retention_days
    return {
        "exam_sessions": ("Sessions", reports),
        "exam_analyses": (f"Reports, each version: {', '.join(_report_parts())}", reports),
        "review_events": (
            "What reviewers judged, noted and decided, and what candidates said to it",
            reports,
        ),
        "exam_milestones": ("When the client and its camera came and went", reports),
        "webhook_deliveries": (
            "What other systems are told of a session",
            f"{_span(settings.webhook_retention_days, 'day')} after it is told, or with the session",
        ),
        "webhooks": ("Systems that are told; of candidates nothing", "they are removed"),
        "audit_log": (
            "Who did what (the audit trail); candidates are in it by pseudonyms",
            f"{_span(trail, 'day')} after it happened, or a day later" if trail else "for good",
        ),
        "api_keys": ("Keys of those who use the server; of candidates nothing", "for good"),
        "signing_keys": ("What candidates' tokens are signed with; of candidates nothing", "it is replaced"),
        "installation_secrets": ("What pseudonyms are made with; of candidates nothing", "for good"),
    }


def _report_parts() -> list[str]:
    schema = report_schema()
    name = schema["$ref"].rpartition("/")[2]
    return list(schema["$defs"][name]["properties"])


def _columns(table: sa.Table) -> list[str]:
    return [column.name for column in table.columns]


def _first(*days: float) -> str:
    """The earliest of several times after the end at which it goes."""
    return _after_end(min((each for each in days if each), default=0))


def _after_end(days: float) -> str:
    return f"{_span(days, 'day')} after the session's end" if days else _ERASED


def _time(seconds: int) -> str:
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds % length == 0:
            return _span(seconds // length, unit)
    return _span(seconds, "second")


def _span(count: float, unit: str) -> str:
    return f"{count:g} {unit}{'' if count == 1 else 's'}"
