"""The two databases that `DATABASE_URL` may name, and where they differ."""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.parse import quote

import asyncpg
import sqlalchemy as sa
from databases import Database as Pool
from databases.core import Connection
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from proctor.errors import Misconfigured
from proctor.settings import Settings
from proctor.storage.sqlite_connections import KeptDatabase


class Backend(Protocol):
    """One database, not yet connected to. `seconds` bounds waiting for it, not the whole of a call."""

    kind: ClassVar[str]
    upgraded_when_opened: ClassVar[bool]
    """Whether the server may bring the schema up to date by itself."""
    cancellable: ClassVar[bool]
    """Whether a unit of work can be broken off half-way."""
    before_upgrade: ClassVar[tuple[str, ...]]
    """SQL that makes its transaction wait for every other one that has run it."""

    def exists(self) -> bool:
        """Return False if it is known, without connecting, that there is nothing yet."""
        ...

    def create(self) -> None:
        """Create what can be created without connecting. Blocks."""
        ...

    def pool(self, *, size: int, seconds: float) -> Pool:
        """Return an unconnected pool for the work of a running server."""
        ...

    def engine(self, *, seconds: float) -> AsyncEngine:
        """Return an engine, without a pool of its own, for work on the schema."""
        ...

    def abandon(self, connection: Connection) -> None:
        """Give up what a connection is doing, so that it can be released without waiting for the database."""
        ...

    def insert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        """Return an INSERT that knows `on_conflict_do_nothing`, which each dialect has of its own."""
        ...


def backend_of(settings: Settings) -> Backend:
    """Return the database that the settings name.

    Raises:
        Misconfigured: `database_url` is neither `sqlite:///FILE` nor `postgresql://…`.
    """
    url = settings.database_url
    scheme, _, place = url.partition("://")
    match scheme.partition("+")[0]:
        case "sqlite":
            file = make_url(url).database
            if not file or file == ":memory:" or "?" in place:
                break_off = "SQLite needs a file of its own, without options: sqlite:///FILE"
                raise Misconfigured(break_off, field="database_url")
            return SqliteFile(Path(file).absolute())
        case "postgresql" | "postgres":
            return PostgresDatabase(f"postgresql://{place}")
    raise Misconfigured(
        "neither sqlite:///FILE nor postgresql://USER:PASSWORD@HOST/NAME", field="database_url"
    )


class _SqliteConnection(sqlite3.Connection):
    """Enforces foreign keys and overwrites what is deleted, which each connection has to ask SQLite for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA foreign_keys = ON")
        self.execute("PRAGMA secure_delete = ON")


@dataclass(frozen=True)
class SqliteFile:
    """One file with a write-ahead log beside it."""

    path: Path
    kind: ClassVar[str] = "sqlite"
    upgraded_when_opened: ClassVar[bool] = True
    # Its thread would go on, and fail to hand over a result that nobody waits for when the loop has closed.
    cancellable: ClassVar[bool] = False
    before_upgrade: ClassVar[tuple[str, ...]] = ("PRAGMA journal_mode = WAL", "BEGIN IMMEDIATE")

    def exists(self) -> bool:
        """Return whether the file is there."""
        return self.path.exists()

    def create(self) -> None:
        """Create the file, empty and for its owner only; SQLite gives its log the same permissions.

        Raises:
            Misconfigured: it cannot be created.
        """
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise Misconfigured(f"cannot open {self.path}: {error.strerror}", field="database_url") from error

    def pool(self, *, size: int, seconds: float) -> Pool:
        """Return what opens a connection, with a thread of its own, if none is idle; `size` is of no use."""
        # mode=rw: a file that vanished must be an error, not silently a new and empty one.
        file = f"file:{quote(str(self.path))}?mode=rw"
        return KeptDatabase(
            f"sqlite:///{quote(file)}",
            path=str(self.path),
            uri=True,
            timeout=seconds,
            factory=_SqliteConnection,
        )

    def engine(self, *, seconds: float) -> AsyncEngine:
        """Return an engine that leaves transactions to us, since the driver would commit before each DDL."""
        options = {"isolation_level": None, "timeout": seconds}
        url = sa.URL.create("sqlite+aiosqlite", database=str(self.path))
        return create_async_engine(url, poolclass=NullPool, connect_args=options)

    def abandon(self, connection: Connection) -> None:
        """Do nothing: whatever the thread is at, only the disk can hold it up."""

    def insert(self, table: sa.Table) -> sqlite.Insert:
        """Return SQLite's INSERT."""
        return sqlite.insert(table)


@dataclass(frozen=True)
class PostgresDatabase:
    """A database on a PostgreSQL server. Only asyncpg reads the URL, so that it means the same everywhere."""

    dsn: str
    kind: ClassVar[str] = "postgresql"
    upgraded_when_opened: ClassVar[bool] = False
    cancellable: ClassVar[bool] = True
    # The number is arbitrary, but has to stay: it is what all versions of Proctor agree to wait for.
    before_upgrade: ClassVar[tuple[str, ...]] = ("SELECT pg_advisory_xact_lock(5764607523034235)",)

    def exists(self) -> bool:
        """Return True: only the server could tell."""
        return True

    def create(self) -> None:
        """Do nothing: a database is created by its administrator."""

    def pool(self, *, size: int, seconds: float) -> Pool:
        """Return a pool that connects when needed and reconnects by itself."""
        # Reading the URL itself, databases would drop the options that it does not know, such as sslmode.
        return Pool(
            "postgresql://",
            dsn=self.dsn,
            database=None,
            min_size=0,
            max_size=size,
            timeout=seconds,
            command_timeout=seconds,
        )

    def engine(self, *, seconds: float) -> AsyncEngine:
        """Return an engine over asyncpg."""

        async def connect() -> asyncpg.Connection:
            try:
                return await asyncpg.connect(self.dsn, timeout=seconds)
            except ValueError as error:
                detail = "no URL that asyncpg can read; are special characters percent-encoded?"
                raise Misconfigured(detail, field="database_url") from error

        return create_async_engine("postgresql+asyncpg://", poolclass=NullPool, async_creator=connect)

    def abandon(self, connection: Connection) -> None:
        """Close the connection: asyncpg would have the server cancel, and wait for that without a limit."""
        connection.raw_connection.terminate()

    def insert(self, table: sa.Table) -> postgresql.Insert:
        """Return PostgreSQL's INSERT."""
        return postgresql.insert(table)
