"""Webhooks with their outbox, and milestones of sessions.

Triggers write the outbox, for the server's units of work are single statements: so an event is there exactly
if what it tells of is, whichever process did it and whatever killed that. Where no webhook wants an event,
nothing is written. A later step that copies `exam_sessions`, `exam_analyses` or `review_events`, as SQLite
needs for some changes, has to create their triggers again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_TRIGGERS = {
    "session_started": ("INSERT", "exam_sessions", "session.started", "''", "NEW.started_ms", None),
    "session_ended": (
        "UPDATE OF status",
        "exam_sessions",
        "session.ended",
        "''",
        "coalesce(NEW.ended_ms, NEW.started_ms)",
        "OLD.status = 'active' AND NEW.status <> 'active'",
    ),
    "report_ready": (
        "INSERT",
        "exam_analyses",
        "report.ready",
        "CAST(NEW.version AS VARCHAR)",
        "NEW.analysed_ms",
        None,
    ),
    "review_decided": (
        "INSERT",
        "review_events",
        "review.decided",
        "CAST(NEW.number AS VARCHAR)",
        "NEW.at_ms",
        None,
    ),
}
_DETAIL = {
    "review_decided": """'{"state":"' || NEW.state || '","decision":' ||
        coalesce('"' || NEW.outcome || '"', 'null') || '}'"""
}
_ONLY = {
    "review_decided": """AND (NEW.act = 'decide' OR EXISTS (
        SELECT 1 FROM review_events AS undone WHERE undone.session_id = NEW.session_id
        AND undone.number = NEW.undoes AND undone.act = 'decide'))"""
}
_ANNOUNCE = """
    INSERT INTO webhook_deliveries (webhook_id, session_id, event, key, at_ms, detail)
    SELECT webhook_id, NEW.session_id, '{event}', {key}, {at}, {detail}
    FROM webhooks WHERE disabled_ms IS NULL AND events LIKE '%"{event}"%' {only};
"""
_SQLITE = """
    CREATE TRIGGER webhooks_{name} AFTER {what} ON {table} {when}
    BEGIN {announce} END
"""
_FUNCTION = """
    CREATE FUNCTION webhooks_{name}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN {announce} RETURN NULL; END
    $$
"""
_POSTGRESQL = """
    CREATE TRIGGER webhooks_{name} AFTER {what} ON {table}
    FOR EACH ROW {when} EXECUTE FUNCTION webhooks_{name}()
"""


def upgrade() -> None:
    """Create the tables with their indexes and triggers."""
    session_id = sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql")
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "webhooks",
        sa.Column("webhook_id", sa.String(16), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", sa.Text, nullable=False, comment="JSON array"),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("disabled_ms", sa.BigInteger),
        sa.Column("paused_until_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("webhook_id", name="pk_webhooks"),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("number", number, primary_key=True),
        sa.Column("webhook_id", sa.String(16), nullable=False),
        sa.Column("session_id", session_id, nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("key", sa.String(512), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("detail", sa.Text, comment="JSON object"),
        sa.Column("state", sa.String(9), nullable=False, server_default="pending"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("due_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("claim", sa.String(32)),
        sa.Column("settled_ms", sa.BigInteger),
        sa.Column("status", sa.Integer),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("number", name="pk_webhook_deliveries"),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["webhooks.webhook_id"],
            name="fk_webhook_deliveries_webhook_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["exam_sessions.session_id"],
            name="fk_webhook_deliveries_session_id",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_state")
        ),
        sqlite_autoincrement=True,
    )
    event = ["webhook_id", "session_id", "event", "key"]
    op.create_index("ix_webhook_deliveries_webhook_id", "webhook_deliveries", event, unique=True)
    op.create_index("ix_webhook_deliveries_state", "webhook_deliveries", ["state", "due_ms"])
    op.create_index("ix_webhook_deliveries_session_id", "webhook_deliveries", ["session_id"])
    op.create_table(
        "exam_milestones",
        sa.Column("session_id", session_id, nullable=False),
        sa.Column("source", sa.String(128), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text, comment="JSON object"),
        sa.PrimaryKeyConstraint("session_id", "source", name="pk_exam_milestones"),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["exam_sessions.session_id"],
            name="fk_exam_milestones_session_id",
            ondelete="CASCADE",
        ),
    )
    sqlite = op.get_context().dialect.name == "sqlite"
    for name, (what, table, event_type, key, at, when) in _TRIGGERS.items():
        parts = {
            "name": name,
            "what": what,
            "table": table,
            "when": f"WHEN ({when})" if when else "",
            "announce": _ANNOUNCE.format(
                event=event_type,
                key=key,
                at=at,
                detail=_DETAIL.get(name, "NULL"),
                only=_ONLY.get(name, ""),
            ),
        }
        for statement in (_SQLITE,) if sqlite else (_FUNCTION, _POSTGRESQL):
            op.execute(sa.text(statement.format(**parts).replace(":", r"\:")))
