"""API keys and signing keys in the database."""

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from databases.core import Connection

from proctor.access.keys import ApiKey
from proctor.access.roles import check_name
from proctor.access.tokens import SigningKey
from proctor.errors import InvalidRequest
from proctor.storage.pool import Pool
from proctor.storage.rows import check_text
from proctor.storage.tables import api_keys, signing_keys


class Credentials:
    """Calls are as those of :class:`proctor.storage.database.Database`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add_key(self, key: ApiKey) -> None:
        """Keep a new key. Raises InvalidRequest for a name that is taken, or that a database cannot hold."""
        check_name(key.name)
        check_text(key.name, "name")
        row = msgspec.structs.asdict(key) | {"roles": msgspec.json.encode(sorted(key.roles)).decode()}
        await self._execute(sa.insert(api_keys).values(row))

    async def keys(self) -> list[ApiKey]:
        """Return all keys, also those that open nothing any more, the oldest first."""

        async def unit(connection: Connection) -> list[ApiKey]:
            select = sa.select(api_keys).order_by(api_keys.c.created_ms, api_keys.c.key_id)
            return [_key_of(row) for row in await connection.fetch_all(select)]

        return await self._pool.run(unit)

    async def revoke_key(self, key_id: str, revoked_ms: int) -> ApiKey:
        """Have a key open nothing from now on, and return it; one that was revoked before stays as it is.

        Raises:
            InvalidRequest: there is no such key.
        """
        there = api_keys.c
        time = sa.func.coalesce(there.revoked_ms, revoked_ms)
        update = sa.update(api_keys).where(there.key_id == key_id).values(revoked_ms=time)

        async def unit(connection: Connection) -> list[ApiKey]:
            return [_key_of(row) for row in await connection.fetch_all(update.returning(api_keys))]

        for key in await self._pool.run(unit):
            return key
        raise InvalidRequest(f"there is no key {key_id!r}; `proctor keys list` shows them", field="key_id")

    async def note_use(self, used_ms: Mapping[str, int]) -> None:
        """Note when keys, by their ids, were used last."""
        there = api_keys.c
        for key_id, time_ms in used_ms.items():
            later = sa.or_(there.last_used_ms.is_(None), there.last_used_ms < time_ms)
            update = sa.update(api_keys).where(there.key_id == key_id, later)
            await self._execute(update.values(last_used_ms=time_ms))

    async def signing_keys(self) -> list[SigningKey]:
        """Return what tokens are signed with, the newest first."""

        async def unit(connection: Connection) -> list[SigningKey]:
            there = signing_keys.c
            select = sa.select(signing_keys).order_by(there.created_ms.desc(), there.kid)
            rows = await connection.fetch_all(select)
            return [SigningKey(row["kid"], row["secret"], row["created_ms"]) for row in rows]

        return await self._pool.run(unit)

    async def add_signing_key(self, key: SigningKey) -> None:
        """Have tokens signed with this one from now on."""
        await self._execute(sa.insert(signing_keys).values(msgspec.structs.asdict(key)))

    async def remove_signing_keys(self, before_ms: int) -> None:
        """Forget the keys that were followed by a newer one before this time; their tokens are void."""
        there = signing_keys.c.created_ms
        last = sa.select(sa.func.max(there)).where(there < before_ms).scalar_subquery()
        await self._execute(sa.delete(signing_keys).where(there < last))

    async def _execute(self, statement: sa.Executable) -> None:
        async def unit(connection: Connection) -> None:
            await connection.execute(statement)  # type: ignore[arg-type]

        await self._pool.run(unit)


def _key_of(row: Any) -> ApiKey:
    fields = {name: row[name] for name in ApiKey.__struct_fields__}
    fields["roles"] = msgspec.json.decode(fields["roles"])
    return msgspec.convert(fields, ApiKey)
