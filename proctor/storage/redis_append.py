"""Group commits into Redis: one run of redis_append.lua for each session, all of them in one round trip."""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import chain, repeat
from typing import Any

import redis
from redis.exceptions import NoScriptError, ResponseError

from proctor.storage.frames import FrameMessage, Outcome, PartlyStored

OUTCOMES = (Outcome.STORED, Outcome.DUPLICATE, Outcome.CONFLICT, Outcome.SEALED)
"""As the script numbers them."""
SCRIPT_FRAMES = 1000
"""Most frames that one run stores, unless one message has more: 20 to 40 ms of Redis's only thread."""


class Appender:
    """Runs the script. Blocks; any number of threads may use one."""

    def __init__(self, client: redis.Redis, retention_seconds: int, memory_seconds: int) -> None:
        self._client = client
        self._lives = (retention_seconds, memory_seconds)
        self._script = (files("proctor.storage") / "redis_append.lua").read_text()
        self._digest = client.register_script(self._script).sha

    def append(self, messages: Sequence[FrameMessage]) -> list[Outcome]:
        """Return one outcome per message, in order.

        Raises:
            PartlyStored: Redis refused some sessions' messages, or the rest of a very large session's.
            RedisError: Redis did not answer; any part may have been stored.
        """
        sessions: dict[str, list[FrameMessage]] = {}
        for message in messages:
            sessions.setdefault(message.session_id, []).append(message)
        waiting = {session_id: _parts(whole) for session_id, whole in sessions.items()}
        found: dict[str, list[Outcome]] = {session_id: [] for session_id in sessions}
        failure: ResponseError | None = None
        # One round, unless a session has several parts: these take turns, lest one overtake a refused one.
        while parts := {name: part for name, rest in waiting.items() if (part := next(rest, None))}:
            for session_id, answer in self._run(parts).items():
                if isinstance(answer, ResponseError):
                    failure = answer
                    del waiting[session_id]
                else:
                    found[session_id] += (OUTCOMES[number] for number in answer)
        if failure is not None:
            known = {session_id: chain(outcomes, repeat(None)) for session_id, outcomes in found.items()}
            outcomes = [next(known[message.session_id]) for message in messages]
            raise PartlyStored(f"Redis: {failure}", outcomes) from failure
        in_order = {session_id: iter(outcomes) for session_id, outcomes in found.items()}
        return [next(in_order[message.session_id]) for message in messages]

    def _run(self, parts: dict[str, list[FrameMessage]]) -> dict[str, Any]:
        """Answer, or the ResponseError that stands for it, of each session's run."""
        calls = {session_id: self._arguments(session_id, part) for session_id, part in parts.items()}
        pipeline = self._client.pipeline(transaction=False)
        for arguments in calls.values():
            pipeline.evalsha(self._digest, *arguments)
        answers = dict(zip(calls, pipeline.execute(raise_on_error=False), strict=True))
        # A Redis that was restarted or taken over does not know the script; it learns it from EVAL.
        unknown = [session_id for session_id, answer in answers.items() if isinstance(answer, NoScriptError)]
        for session_id in unknown:
            pipeline.eval(self._script, *calls[session_id])
        answers.update(zip(unknown, pipeline.execute(raise_on_error=False), strict=True))
        return answers

    def _arguments(self, session_id: str, messages: Sequence[FrameMessage]) -> list[Any]:
        names = ("frame_count", "frames_meta", "frame_seqs", "frame_seal")
        arguments: list[Any] = [len(names), *(f"{name}:{session_id}" for name in names)]
        arguments += f"frame_meta:{session_id}:", *self._lives
        for message in messages:
            arguments += "" if message.seq is None else message.seq, message.digest, len(message.frames)
            for frame in message.frames:
                arguments += frame
        return arguments


def _parts(messages: Sequence[FrameMessage]) -> Iterator[list[FrameMessage]]:
    """Cut between messages, so that no part has more than `SCRIPT_FRAMES` frames, unless one message has."""
    part: list[FrameMessage] = []
    size = 0
    for message in messages:
        if part and size + len(message.frames) > SCRIPT_FRAMES:
            yield part
            part, size = [], 0
        part.append(message)
        size += len(message.frames)
    yield part
