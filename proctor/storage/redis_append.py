"""Group commits into Redis: redis_append.lua, run once for the messages of all sessions."""

import secrets
import time
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import chain
from typing import Any, cast

import redis
from redis.exceptions import NoScriptError, ResponseError

from proctor.storage.frames import FrameMessage, Outcome, PartlyStored, Receipt

SCRIPT_FRAMES = 1000
"""Most frames that one run stores, unless one message has more: about 5 ms of Redis's only thread.

A message without frames counts as one, since the script's calls to Redis take so many arguments and no more.
"""

EPOCH_KEY = "frames_epoch"
_SESSION_KEYS = ("frame_ledger", "frame_digests", "frames_meta", "frame_seal")
_REFUSED = -4
_RECEIPTS = {-1: Receipt(Outcome.DUPLICATE), -2: Receipt(Outcome.CONFLICT), -3: Receipt(Outcome.SEALED)}
"""By what the script answers; the number of a frame means that the message was stored."""


class Appender:
    """Runs the script. Blocks; any number of threads may use one."""

    def __init__(self, client: redis.Redis, retention_seconds: int, memory_seconds: int) -> None:
        self.epoch = ""
        """As of the last run."""
        self._client: Any = client
        self._lives = (retention_seconds, memory_seconds)
        self._script = (files("proctor.storage") / "redis_append.lua").read_text()
        self._digest = client.register_script(self._script).sha

    def append(self, messages: Sequence[FrameMessage]) -> list[Receipt]:
        """Return one receipt per message, in order.

        Raises:
            PartlyStored: Redis refused some sessions' messages.
            RedisError: Redis did not answer; any part may have been stored.
        """
        receipts: list[Receipt | None] = [None] * len(messages)
        refused: set[str] = set()
        reason = ""
        for part in _parts(messages):
            by_session: dict[str, list[int]] = {}
            for place in part:
                by_session.setdefault(messages[place].session_id, []).append(place)
            # What follows a refused message must not overtake it.
            for session_id in refused & by_session.keys():
                del by_session[session_id]
            if not by_session:
                continue
            answers, why = self._run(by_session, messages)
            reason = why or reason
            for place, answer in zip(chain.from_iterable(by_session.values()), answers, strict=True):
                if answer == _REFUSED:
                    refused.add(messages[place].session_id)
                else:
                    receipts[place] = _RECEIPTS.get(answer) or Receipt(Outcome.STORED, answer)
        if refused:
            raise PartlyStored(f"Redis: {reason}", receipts)
        return cast("list[Receipt]", receipts)

    def _run(self, places: dict[str, list[int]], messages: Sequence[FrameMessage]) -> tuple[list[int], str]:
        """Return the answer to each message, session by session, and why any was refused."""
        arguments = self._arguments(places, messages)
        try:
            try:
                answer = self._client.evalsha(self._digest, *arguments)
            except NoScriptError:
                # A Redis that was restarted or taken over does not know the script; it learns it from EVAL.
                answer = self._client.eval(self._script, *arguments)
        except ResponseError as error:
            return [_REFUSED] * sum(map(len, places.values())), str(error)
        epoch, reason, *answers = answer
        self.epoch = epoch.decode()
        return answers, reason.decode()

    def _arguments(self, places: dict[str, list[int]], messages: Sequence[FrameMessage]) -> list[Any]:
        keys: list[Any] = [EPOCH_KEY]
        arguments: list[Any] = [secrets.token_hex(8), *self._lives, int(time.time())]
        for session_id, own in places.items():
            keys += (f"{name}:{session_id}" for name in _SESSION_KEYS)
            arguments += f"frame_meta:{session_id}:", len(own)
            for place in own:
                message = messages[place]
                arguments += "" if message.seq is None else message.seq, message.digest, len(message.frames)
                for frame in message.frames:
                    arguments += frame
        return [len(keys), *keys, *arguments]


def _parts(messages: Sequence[FrameMessage]) -> Iterator[list[int]]:
    """Places of messages, cut to `SCRIPT_FRAMES` frames at the most, unless one message has more."""
    part: list[int] = []
    size = 0
    for place, message in enumerate(messages):
        own = max(1, len(message.frames))
        if part and size + own > SCRIPT_FRAMES:
            yield part
            part, size = [], 0
        part.append(place)
        size += own
    if part:
        yield part
