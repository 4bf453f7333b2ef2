"""The connection to Redis that everything that needs one opens in the same way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis
import trio
from redis.backoff import NoBackoff
from redis.retry import Retry

from proctor.errors import Misconfigured
from proctor.settings import Settings

CONNECT_SECONDS = 2.0
CLOSE_SECONDS = 1.0


@asynccontextmanager
async def open_redis(settings: Settings, answer_seconds: float) -> AsyncIterator[redis.Redis]:
    """A client of `redis_url`, which connects when it is used. Its calls block, so they belong into threads.

    `answer_seconds` is how long Redis may keep silent in the middle of a call.

    Raises:
        Misconfigured: the URL is none.
    """
    try:
        client = redis.Redis.from_url(
            settings.redis_url,
            protocol=2,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=answer_seconds,
            # A write whose answer got lost may have happened, and only the caller knows whether to repeat it.
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        # The cause is cut off because it may quote the URL's password.
        raise Misconfigured("not a Redis URL (redis://HOST:PORT/DB)", field="redis_url") from None
    try:
        yield client
    finally:
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            await trio.to_thread.run_sync(client.close)
