"""The audit trail, and triggers that refuse to change what is in it.

A later step that copies the table, as SQLite needs for some changes, has to create the triggers again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_SQLITE = (
    """
    CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log
    BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END
    """,
    """
    CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
    BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END
    """,
    # REPLACE deletes without a trigger's notice. To ignore what is there already is what every other conflict
    # is answered with, too, so that entries can be appended ON CONFLICT DO NOTHING.
    """
    CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log
    WHEN EXISTS (SELECT 1 FROM audit_log WHERE number = NEW.number)
    BEGIN SELECT RAISE(IGNORE); END
    """,
)
_POSTGRESQL = (
    """
    CREATE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'audit_log is append-only'; END
    $$
    """,
    """
    CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse()
    """,
    # Otherwise session_replication_role = replica would switch it off.
    "ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only",
)


def upgrade() -> None:
    """Create the table with its indexes and triggers."""
    op.create_table(
        "audit_log",
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(512), nullable=False),
        sa.Column("address", sa.String(512)),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(512), nullable=False),
        sa.Column("before", sa.Text, comment="JSON"),
        sa.Column("after", sa.Text, comment="JSON"),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit_log"),
    )
    for name, columns in {
        "ix_audit_log_at_ms": ["at_ms"],
        "ix_audit_log_actor": ["actor", "number"],
        "ix_audit_log_action": ["action", "number"],
        "ix_audit_log_subject": ["subject", "number"],
    }.items():
        op.create_index(name, "audit_log", columns)
    for statement in _SQLITE if op.get_context().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)
