"""The relational schema, from nothing to the latest, on both databases."""

import logging
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import sqlalchemy as sa
import trio
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from proctor.errors import Misconfigured, Unavailable
from proctor.model import ExamSession
from proctor.settings import Settings
from proctor.storage import schema
from proctor.storage.backends import backend_of
from proctor.storage.bridge import open_bridge
from proctor.storage.database import open_database
from proctor.storage.schema import SchemaState, SchemaStatus, schema_status, upgrade_schema
from proctor.storage.tables import metadata
from tests.fixtures.postgres import PostgresHandle

T = TypeVar("T")
LATEST = "0007"

NEXT = f"""
    import sqlalchemy as sa
    from alembic import op

    revision = "next"
    down_revision = "{LATEST}"

    def upgrade():
        with op.batch_alter_table("exam_sessions") as table:
            table.add_column(sa.Column("note", sa.Text, server_default="none", nullable=False))
"""
BROKEN = NEXT + "        raise RuntimeError('half-way')\n"
SLOW = NEXT + "        __import__('time').sleep(0.5)\n"


@pytest.fixture
def quick_migrations():
    """None are: they run as an operator's do."""


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(_env_file=None, database_url=database_url)


@pytest.fixture
def add_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Go on with a copy of the migrations that has one step more."""

    def add(step: str) -> None:
        folder = tmp_path / "migrations"
        shutil.copytree(schema.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / "next.py").write_text(textwrap.dedent(step))
        monkeypatch.setattr(schema, "MIGRATIONS", folder)

    return add


async def inspect(settings: Settings, look: Callable[[sa.Connection], T]) -> T:
    async def unit() -> T:
        async with backend_of(settings).engine(seconds=5).begin() as connection:
            return await connection.run_sync(look)

    async with open_bridge() as bridge:
        return await bridge.run(unit)


def columns(connection: sa.Connection) -> set[str]:
    return {column["name"] for column in sa.inspect(connection).get_columns("exam_sessions")}


def set_revision(connection: sa.Connection) -> None:
    connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'of the future'")


async def test_migrations_lead_to_the_tables_that_the_code_uses(settings: Settings) -> None:
    """Otherwise the next step would have to be written."""
    await upgrade_schema(settings)

    def differences(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    assert await inspect(settings, differences) == []


async def test_session_ids_sort_by_bytes_on_postgresql_too(postgres_url: str) -> None:
    """Whatever the locale that the database was created with, for pages are cut in that order."""
    settings = Settings(_env_file=None, database_url=postgres_url)
    await upgrade_schema(settings)

    def collations(connection: sa.Connection) -> list[tuple[str, str]]:
        rows = connection.exec_driver_sql(
            "SELECT table_name, collation_name FROM information_schema.columns "
            "WHERE column_name = 'session_id'"
        )
        return sorted((row[0], row[1]) for row in rows)

    tables = ("exam_analyses", "exam_milestones", "exam_sessions", "review_events", "webhook_deliveries")
    assert await inspect(settings, collations) == [(table, "C") for table in tables]


async def test_constraints_hold(settings: Settings) -> None:
    """Those that `compare_metadata` does not see: the states of a session."""
    await upgrade_schema(settings)

    def insert(connection: sa.Connection) -> None:
        connection.exec_driver_sql(
            "INSERT INTO exam_sessions (session_id, policy, metadata, status, started_ms, dumped) "
            "VALUES ('s', 'p', '{}', 'lost', 1, false)"
        )

    with pytest.raises(sa.exc.IntegrityError):
        await inspect(settings, insert)


async def test_an_upgrade_goes_from_missing_to_current_and_stays_there(settings: Settings) -> None:
    assert await schema_status(settings) == SchemaStatus(SchemaState.MISSING, None, LATEST)
    current = SchemaStatus(SchemaState.CURRENT, LATEST, LATEST)
    assert await upgrade_schema(settings) == current
    assert await upgrade_schema(settings) == current
    assert await schema_status(settings) == current


async def test_asking_for_the_status_creates_nothing(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, database_url=f"sqlite:///{tmp_path}/x.sqlite3")
    await schema_status(settings)
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


async def test_a_later_step_keeps_the_rows(settings: Settings, add_step: Callable[[str], None]) -> None:
    await upgrade_schema(settings)
    session = ExamSession(session_id="s", started_ms=1)
    async with open_database(settings) as database:
        await database.start_session(session)
    add_step(NEXT)
    assert await schema_status(settings) == SchemaStatus(SchemaState.OUTDATED, LATEST, "next")
    assert (await upgrade_schema(settings)).state is SchemaState.CURRENT
    assert "note" in await inspect(settings, columns)
    async with open_database(settings) as database:
        assert await database.get_session("s") == session


async def test_a_failing_step_changes_nothing(settings: Settings, add_step: Callable[[str], None]) -> None:
    """Also on SQLite, whose driver would commit before every change of a table."""
    await upgrade_schema(settings)
    add_step(BROKEN)
    with pytest.raises(RuntimeError, match="half-way"):
        await upgrade_schema(settings)
    assert (await schema_status(settings)).state is SchemaState.OUTDATED
    assert "note" not in await inspect(settings, columns)


async def test_sqlite_is_brought_up_to_date_when_opened(
    tmp_path: Path, add_step: Callable[[str], None]
) -> None:
    settings = Settings(_env_file=None, database_url=f"sqlite:///{tmp_path}/x.sqlite3")
    for _ in range(2):
        async with open_database(settings):
            assert (await schema_status(settings)).state is SchemaState.CURRENT
    add_step(NEXT)
    async with open_database(settings):
        assert (await schema_status(settings)).revision == "next"


async def test_postgresql_is_not_opened_before_its_upgrade(
    postgres_url: str, add_step: Callable[[str], None]
) -> None:
    """The refusal says how to do it, and opening has changed nothing."""
    settings = Settings(_env_file=None, database_url=postgres_url)

    async def refused(word: str) -> None:
        with pytest.raises(Misconfigured, match=f"{word}.*`proctor db upgrade`"):
            async with open_database(settings):
                pass

    await refused("missing")
    assert (await schema_status(settings)).state is SchemaState.MISSING
    await upgrade_schema(settings)
    add_step(NEXT)
    await refused("outdated")
    assert (await schema_status(settings)).state is SchemaState.OUTDATED


async def test_a_newer_schema_is_left_alone(settings: Settings) -> None:
    """It may hold what this version would destroy."""
    await upgrade_schema(settings)
    await inspect(settings, set_revision)
    newer = SchemaStatus(SchemaState.NEWER, "of the future", LATEST)
    assert await schema_status(settings) == newer
    with pytest.raises(Misconfigured, match="later version"):
        await upgrade_schema(settings)
    with pytest.raises(Misconfigured, match="later version"):
        async with open_database(settings):
            pass
    assert await schema_status(settings) == newer


@pytest.mark.slow
async def test_upgrades_by_several_processes_at_once_all_succeed(
    settings: Settings, add_step: Callable[[str], None]
) -> None:
    """Whoever comes while another is half-way waits, and then finds nothing left to do."""
    code = textwrap.dedent(
        """
        import sys, trio
        from pathlib import Path
        from proctor.settings import Settings
        from proctor.storage import schema

        schema.MIGRATIONS = Path(sys.argv[2])
        settings = Settings(_env_file=None, database_url=sys.argv[1])
        sys.stdin.readline()
        assert trio.run(schema.upgrade_schema, settings).state == "current"
        """
    )
    add_step(SLOW)
    command = [sys.executable, "-W", "error", "-c", code, settings.database_url, str(schema.MIGRATIONS)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: ASYNC220
        for _ in range(4)
    ]
    errors = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, stderr = await trio.to_thread.run_sync(process.communicate)
        errors.append(stderr)
    assert errors == [""] * 4
    assert (await schema_status(settings)).state is SchemaState.CURRENT


async def test_an_upgrade_leaves_logging_as_it_is(tmp_path: Path) -> None:
    """Alembic's templates would replace the server's handlers and silence its loggers."""
    logger = logging.getLogger("proctor.test_migrations")
    before = (logging.root.level, list(logging.root.handlers), logger.disabled)
    await upgrade_schema(Settings(_env_file=None, database_url=f"sqlite:///{tmp_path}/x.sqlite3"))
    assert (logging.root.level, list(logging.root.handlers), logger.disabled) == before


async def test_the_status_of_a_database_that_is_down_is_unavailable(
    postgres_url: str, postgres_server: PostgresHandle
) -> None:
    settings = Settings(_env_file=None, database_url=postgres_url, database_timeout_seconds=0.5)
    postgres_server.pause()
    with pytest.raises(Unavailable), trio.fail_after(5):
        await schema_status(settings)
    with pytest.raises(Unavailable), trio.fail_after(5):
        await upgrade_schema(settings)
