"""Notices between processes, over Redis' publish and subscribe.

| channel | carries |
|---|---|
| `proctor_notices:{db}` | notices, for every process |
| `proctor_notices:{db}:{process}` | answers, for the process that asked |

`{db}` is the number of the Redis database, because channels are not kept apart by it as keys are.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any, NoReturn
from uuid import uuid4

import msgspec
import redis
import stamina
import structlog
import trio
from redis.exceptions import RedisError

from proctor.errors import Unavailable
from proctor.notices import TAKE_IN_SECONDS
from proctor.settings import Settings
from proctor.storage.redis_client import open_redis

PUBLISHERS = 4
"""Publishing calls in flight; each has a thread and a connection."""
ANSWER_SECONDS = 5.0
LISTEN_SECONDS = 1.0
"""How often the listening thread looks up, also to be gone soon after it was abandoned."""
_RETRY = partial(
    stamina.retry_context, on=Unavailable, attempts=None, timeout=None, wait_initial=0.1, wait_max=5.0
)

_log = structlog.get_logger(__name__)


class _Ending(msgspec.Struct, tag="ending"):
    """Take in what the session's clients have sent, then say so at `answer_to`."""

    session_id: str
    answer_to: str
    question: int


class _Ended(msgspec.Struct, tag="ended"):
    session_id: str


class _TakenIn(msgspec.Struct, tag="taken_in"):
    question: int


_decode = msgspec.json.Decoder(_Ending | _Ended | _TakenIn).decode
_encode = msgspec.json.Encoder().encode


class _Question:
    """What one `ending` waits for."""

    def __init__(self) -> None:
        self.answers = 0
        self.answered = trio.Event()


@asynccontextmanager
async def open_redis_notices(settings: Settings) -> AsyncIterator["RedisNotices"]:
    """Open the notices on `redis_url`, with connections of their own. Raises Misconfigured if it is none."""
    async with open_redis(settings, ANSWER_SECONDS) as client:
        yield RedisNotices(client)


class RedisNotices:
    """The :class:`proctor.notices.Notices` of processes on one Redis. Get one from `open_redis_notices`."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis: Any = client
        self._everybody = f"proctor_notices:{client.get_connection_kwargs().get('db') or 0}"
        self._own = f"{self._everybody}:{uuid4().hex}"
        self._publishers = trio.CapacityLimiter(PUBLISHERS)
        self._numbers = count(1)
        self._questions: dict[int, _Question] = {}

    async def ending(self, session_id: str) -> None:
        """Ask those who listen, this process included if it does; see the protocol."""
        number, question = next(self._numbers), _Question()
        self._questions[number] = question
        try:
            with trio.move_on_after(TAKE_IN_SECONDS) as waiting:
                listeners = await self._publish(self._everybody, _Ending(session_id, self._own, number))
                while question.answers < listeners:
                    question.answered = trio.Event()
                    await question.answered.wait()
            if waiting.cancelled_caught:
                _log.info("not every process has answered", session=session_id, answers=question.answers)
        finally:
            del self._questions[number]

    async def ended(self, session_id: str) -> None:
        """See the protocol."""
        with trio.move_on_after(TAKE_IN_SECONDS):
            await self._publish(self._everybody, _Ended(session_id))

    async def listen(
        self, take_in: Callable[[str], Awaitable[None]], finish: Callable[[str], None]
    ) -> NoReturn:
        """Subscribe, and again with growing pauses whenever Redis was away; see the protocol."""

        async def answer(notice: _Ending) -> None:
            with trio.move_on_after(TAKE_IN_SECONDS):
                await take_in(notice.session_id)
                await self._publish(notice.answer_to, _TakenIn(notice.question))

        async with trio.open_nursery() as nursery:
            while True:
                async for attempt in _RETRY():
                    with attempt:
                        pubsub = await self._subscribed()
                try:
                    async for notice in _arriving(pubsub):
                        if isinstance(notice, _Ending):
                            nursery.start_soon(answer, notice)
                        elif isinstance(notice, _Ended):
                            finish(notice.session_id)
                        elif question := self._questions.get(notice.question):
                            question.answers += 1
                            question.answered.set()
                except Unavailable as failure:
                    _log.warning("notices of other processes do not arrive", reason=failure.detail)
                finally:
                    pubsub.close()

    async def _publish(self, channel: str, notice: msgspec.Struct) -> int:
        """Return how many have got it; none if Redis is down, which those who need it find out themselves."""
        try:
            receivers: int = await trio.to_thread.run_sync(
                self._redis.publish,
                channel,
                _encode(notice),
                abandon_on_cancel=True,
                limiter=self._publishers,
            )
        except RedisError as error:
            _log.info("notice not sent", reason=str(error))
            return 0
        return receivers

    async def _subscribed(self) -> Any:
        def subscribe() -> Any:
            pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
            pubsub.subscribe(self._everybody, self._own)
            return pubsub

        return await _in_thread(subscribe)


async def _arriving(pubsub: Any) -> AsyncIterator[_Ending | _Ended | _TakenIn]:
    """Yield notices as they come. Raises Unavailable when Redis is gone, or has not even answered a ping."""

    def receive() -> list[dict[str, Any]]:
        messages = [pubsub.get_message(timeout=LISTEN_SECONDS)]
        if messages[0] is None:
            pubsub.ping()
        while messages[-1] is not None:
            messages.append(pubsub.get_message(timeout=0))
        return messages[:-1]

    heard = trio.current_time()
    while True:
        messages = await _in_thread(receive)
        if messages:
            heard = trio.current_time()
        elif trio.current_time() - heard > ANSWER_SECONDS:
            raise Unavailable(f"Redis has been silent for {ANSWER_SECONDS:g} s")
        for message in messages:
            if message["type"] == "message":
                yield _decode(message["data"])


async def _in_thread(call: Callable[[], Any]) -> Any:
    try:
        # A limiter of its own, because this thread is there all the time.
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
    except RedisError as error:
        raise Unavailable(f"Redis: {error}") from error
