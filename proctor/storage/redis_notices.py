"""Notices between processes, over Redis' publish and subscribe.

| channel | carries |
|---|---|
| `proctor_notices:{db}` | notices, for every process |
| `proctor_notices:{db}:{process}` | answers, for the process that asked |

`{db}` is the number of the Redis database, because channels are not kept apart by it as keys are.
"""

from collections.abc import AsyncIterator, Callable
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
from proctor.notices import TAKE_IN_SECONDS, Listener, Told
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


class _Telling(msgspec.Struct, tag="telling"):
    """Tell the session's clients, then say at `answer_to` how many there are."""

    session_id: str
    message: Told
    answer_to: str
    question: int


class _Answer(msgspec.Struct, tag="answer"):
    question: int
    clients: int = 0


_Notice = _Ending | _Ended | _Telling | _Answer
_decode = msgspec.json.Decoder(_Notice).decode
_encode = msgspec.json.Encoder().encode


class _Question:
    """What somebody who has asked all processes waits for."""

    def __init__(self) -> None:
        self.answers = 0
        self.clients = 0
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
        await self._ask(session_id, partial(_Ending, session_id, self._own))

    async def tell(self, session_id: str, message: Told) -> int:
        """Ask those who listen, but for this process; see the protocol."""
        return await self._ask(session_id, partial(_Telling, session_id, message, self._own))

    async def _ask(self, session_id: str, notice: Callable[[int], _Notice]) -> int:
        """Publish a notice, given the number of a question, and wait for the answers; returns their sum."""
        number, question = next(self._numbers), _Question()
        self._questions[number] = question
        try:
            with trio.move_on_after(TAKE_IN_SECONDS) as waiting:
                listeners = await self._publish(self._everybody, notice(number))
                while question.answers < listeners:
                    question.answered = trio.Event()
                    await question.answered.wait()
            if waiting.cancelled_caught:
                _log.info("not every process has answered", session=session_id, answers=question.answers)
        finally:
            del self._questions[number]
        return question.clients

    async def ended(self, session_id: str) -> None:
        """See the protocol."""
        with trio.move_on_after(TAKE_IN_SECONDS):
            await self._publish(self._everybody, _Ended(session_id))

    async def listen(self, listener: Listener) -> NoReturn:
        """Subscribe, and again with growing pauses whenever Redis was away; see the protocol."""
        async with trio.open_nursery() as nursery:
            while True:
                async for attempt in _RETRY():
                    with attempt:
                        pubsub = await self._subscribed()
                try:
                    async for notice in _arriving(pubsub):
                        self._heed(notice, listener, nursery)
                except Unavailable as failure:
                    _log.warning("notices of other processes do not arrive", reason=failure.detail)
                finally:
                    pubsub.close()

    def _heed(self, notice: _Notice, listener: Listener, nursery: trio.Nursery) -> None:
        match notice:
            case _Ending():
                nursery.start_soon(self._take_in, notice, listener)
            case _Ended():
                listener.finish(notice.session_id)
            case _Telling():
                # Whoever asks has told its own clients.
                own = notice.answer_to == self._own
                clients = 0 if own else listener.tell(notice.session_id, notice.message)
                nursery.start_soon(self._publish, notice.answer_to, _Answer(notice.question, clients))
            case _Answer():
                if question := self._questions.get(notice.question):
                    question.answers += 1
                    question.clients += notice.clients
                    question.answered.set()

    async def _take_in(self, notice: _Ending, listener: Listener) -> None:
        with trio.move_on_after(TAKE_IN_SECONDS):
            await listener.take_in(notice.session_id)
            await self._publish(notice.answer_to, _Answer(notice.question))

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


async def _arriving(pubsub: Any) -> AsyncIterator[_Notice]:
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
