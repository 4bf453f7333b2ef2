"""A stream of frames into Redis as FastAPI's documentation would have it written.

One message at a time per connection: read, check, store in one pipeline, acknowledge. Of what Proctor does
it leaves out: live analysis and reports, sessions and their end, storing a `seq` once only, batches and the
other shapes of a message, checks of the features, event time and clock offsets, bounds on memory, and staying
up while Redis is down. `python -m tests.bench.bench_peers` starts it.
"""

import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Annotated, Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, Field, StrictInt, ValidationError
from redis import asyncio as redis

RETENTION_SECONDS = int(os.environ.get("FRAME_BUFFER_RETENTION_SECONDS", "3600"))


class Message(BaseModel):
    """One frame as a client sends it."""

    seq: Annotated[StrictInt, Field(ge=0)]
    timestamp: StrictInt
    extracted_features: dict[str, Any]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect to Redis for as long as the application runs."""
    async with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        app.state.redis = client
        app.state.numbers = count()
        yield


app = FastAPI(lifespan=lifespan)


@app.websocket("/api/v1/session/ws/{session_id}")
async def stream(websocket: WebSocket, session_id: str) -> None:
    """Take in one client's frames, each acknowledged once it is stored."""
    await websocket.accept()
    try:
        while True:
            text = await websocket.receive_text()
            try:
                message = Message.model_validate_json(text)
            except ValidationError as failure:
                await websocket.send_json({"type": "error", "detail": failure.errors()[0]["msg"]})
                continue
            await store(websocket.app, session_id, message)
            await websocket.send_json({"type": "ack", "seq": message.seq})
    except WebSocketDisconnect:
        pass


async def store(app: FastAPI, session_id: str, message: Message) -> None:
    """Store one frame under the keys that Proctor documents."""
    frame_id = f"{message.timestamp}-{next(app.state.numbers)}"
    frame = message.extracted_features | {
        "timestamp": iso(message.timestamp / 1000),
        "received_at": iso(time.time()),
        "session_id": session_id,
        "frame_id": frame_id,
    }
    index = f"frames_meta:{session_id}"
    async with app.state.redis.pipeline(transaction=False) as pipeline:
        pipeline.set(f"frame_meta:{session_id}:{frame_id}", json.dumps(frame), ex=RETENTION_SECONDS)
        pipeline.zadd(index, {frame_id: message.timestamp / 1000})
        pipeline.expire(index, RETENTION_SECONDS)
        await pipeline.execute()


def iso(seconds: float) -> str:
    """Write a time as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
