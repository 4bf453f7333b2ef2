"""The beginning of the audit trail, which may be removed once an entry at its end says so."""

import sqlalchemy as sa
from databases.core import Connection

from proctor.chain import CUT, Head
from proctor.storage.pool import Pool
from proctor.storage.tables import audit_log

_there = audit_log.c


class AuditCuts:
    """Calls are as those of :class:`proctor.storage.audit_log.AuditLog`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def due(self, before_ms: int, limit: int) -> Head | None:
        """Return the last of the oldest entries, at most `limit`, that are all from before this time.

        None if there are none, or if all that they tell is that others were removed before them.
        """
        kept = sa.select(sa.func.min(_there.number)).where(_there.at_ms >= before_ms)
        ends = sa.select(sa.func.min(_there.number).label("first"), sa.func.max(_there.number).label("last"))

        async def unit(connection: Connection) -> Head | None:
            (row,) = await connection.fetch_all(ends)
            first, last = row["first"], row["last"]
            if first is None:
                return None
            first_kept = await connection.fetch_val(kept)
            # Clocks differ, so entries are removed up to the first that has to stay.
            up_to = min(last if first_kept is None else first_kept - 1, first + limit - 1)
            going = _there.number <= up_to
            telling = sa.select(_there.number).where(going, _there.action != CUT).limit(1)
            if not await connection.fetch_all(telling):
                return None
            return Head(
                up_to, await connection.fetch_val(sa.select(_there.hash).where(_there.number == up_to))
            )

        return await self._pool.run(unit)

    async def remove(self, up_to: int) -> None:
        """Delete all entries up to this number, which the newest entry of the action `CUT` must allow."""
        delete = sa.delete(audit_log).where(_there.number <= up_to)

        async def unit(connection: Connection) -> None:
            await connection.execute(delete)

        await self._pool.run(unit)
