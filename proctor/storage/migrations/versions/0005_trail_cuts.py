"""The oldest entries of the audit trail may go once the trail itself says so, and a secret for pseudonyms.

An entry may be deleted if a later one, the newest of the action `trail_cut`, names it or one after it as the
last that goes: its subject is `NUMBER:HASH`. Everything else stays refused.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_SQLITE = (
    "DROP TRIGGER audit_log_no_delete",
    """
    CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
    WHEN NOT coalesce((
        SELECT OLD.number <= CAST(substr(subject, 1, instr(subject, ':') - 1) AS INTEGER)
            AND OLD.number < number
        FROM audit_log WHERE action = 'trail_cut' ORDER BY number DESC LIMIT 1
    ), 0)
    BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END
    """,
)
_POSTGRESQL = (
    """
    CREATE FUNCTION audit_log_refuse_delete() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF (
            SELECT OLD.number <= split_part(subject, ':', 1)::bigint AND OLD.number < number
            FROM audit_log WHERE action = 'trail_cut' ORDER BY number DESC LIMIT 1
        ) THEN RETURN OLD; END IF;
        RAISE EXCEPTION 'audit_log is append-only';
    END
    $$
    """,
    "DROP TRIGGER audit_log_append_only ON audit_log",
    """
    CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse()
    """,
    """
    CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_log_refuse_delete()
    """,
    # Otherwise session_replication_role = replica would switch them off.
    "ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only",
    "ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_no_delete",
)


def upgrade() -> None:
    """Renew the triggers, and add the table of secrets."""
    for statement in _SQLITE if op.get_context().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)
    op.create_table(
        "installation_secrets",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("secret", sa.String(64), nullable=False, comment="hexadecimal"),
        sa.PrimaryKeyConstraint("name", name="pk_installation_secrets"),
    )
