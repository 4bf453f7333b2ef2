"""Brings the relational schema up to date, and says whether it is."""

from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
import trio
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from proctor.errors import Misconfigured, Unavailable
from proctor.settings import Settings
from proctor.storage.backends import Backend, backend_of
from proctor.storage.bridge import Bridge, open_bridge
from proctor.storage.faults import translated

MIGRATIONS = Path(__file__).with_name("migrations")


class SchemaState(StrEnum):
    """How a database's schema compares with the one that this version of Proctor was written for."""

    MISSING = "missing"
    OUTDATED = "outdated"
    CURRENT = "current"
    NEWER = "newer"
    """Made by a later version of Proctor, and so not to be touched by this one."""


class SchemaStatus(NamedTuple):
    """What `proctor db status` tells."""

    state: SchemaState
    revision: str | None
    """The database's; None if it has none."""
    latest: str
    """The newest that this version of Proctor knows."""


async def schema_status(settings: Settings) -> SchemaStatus:
    """Compare the schema with the latest one. Changes and creates nothing.

    Raises:
        Unavailable: the database is down.
        Misconfigured: it does not let us in, or the URL is none.
    """
    async with open_bridge() as bridge:
        return await _status(bridge, backend_of(settings), settings.database_timeout_seconds)


async def upgrade_schema(settings: Settings) -> SchemaStatus:
    """Bring the schema up to date, from whatever it is, and return what it is then.

    Processes that do so at the same time wait for each other. The steps are one transaction: cancelled or
    failed, they have not happened. Once connected there is no time limit, for a step may rewrite much.

    Raises:
        Unavailable: the database is down.
        Misconfigured: it does not let us in, or its schema is newer than this version of Proctor.
    """
    async with open_bridge() as bridge:
        return await _upgrade(bridge, backend_of(settings), settings.database_timeout_seconds)


async def check_schema(bridge: Bridge, backend: Backend, settings: Settings) -> None:
    """Return once the schema is the latest; SQLite's is brought there.

    Raises:
        Misconfigured: it is not, and says what to do about it.
    """
    seconds = settings.database_timeout_seconds
    status = await _status(bridge, backend, seconds)
    if backend.upgraded_when_opened and status.state is not SchemaState.CURRENT:
        status = await _upgrade(bridge, backend, seconds)
    if status.state is SchemaState.NEWER:
        raise _newer(status)
    if status.state is not SchemaState.CURRENT:
        raise Misconfigured(
            f"the database's schema is {status.state}: run `proctor db upgrade` first", field="database_url"
        )


async def _status(bridge: Bridge, backend: Backend, seconds: float) -> SchemaStatus:
    if not await trio.to_thread.run_sync(backend.exists):
        return _compare(None)

    async def ask() -> str | None:
        engine = backend.engine(seconds=seconds)
        async with engine.connect() as connection:
            return await connection.run_sync(_revision)

    try:
        with translated(), trio.fail_after(seconds):
            return _compare(await bridge.run(ask))
    except trio.TooSlowError as error:
        raise Unavailable(f"the database did not answer within {seconds:g} s") from error


async def _upgrade(bridge: Bridge, backend: Backend, seconds: float) -> SchemaStatus:
    async def upgrade() -> SchemaStatus:
        engine = backend.engine(seconds=seconds)
        async with engine.begin() as connection:
            for statement in backend.before_upgrade:
                await connection.exec_driver_sql(statement)
            return await connection.run_sync(_migrate)

    await trio.to_thread.run_sync(backend.create)
    with translated():
        return await bridge.run(upgrade)


def _migrate(connection: sa.Connection) -> SchemaStatus:
    before = _compare(_revision(connection))
    if before.state is SchemaState.NEWER:
        raise _newer(before)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return _compare(_revision(connection))


def _revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _compare(revision: str | None) -> SchemaStatus:
    scripts = ScriptDirectory.from_config(_config())
    latest = scripts.get_current_head() or ""
    if revision is None:
        state = SchemaState.MISSING
    elif revision == latest:
        state = SchemaState.CURRENT
    elif revision in {script.revision for script in scripts.walk_revisions()}:
        state = SchemaState.OUTDATED
    else:
        state = SchemaState.NEWER
    return SchemaStatus(state, revision, latest)


def _config() -> Config:
    config = Config()
    # A percent sign in the path would be taken for an interpolation.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    return config


def _newer(status: SchemaStatus) -> Misconfigured:
    return Misconfigured(
        f"the database's schema ({status.revision}) is of a later version of Proctor than this one "
        f"({status.latest}): install that version",
        field="database_url",
    )
