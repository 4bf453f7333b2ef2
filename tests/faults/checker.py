"""An independent judge: what was sent and acknowledged, against what was kept.

It uses none of Proctor's own reading code: a dump is read as JSON, Redis with plain commands, the embedded
store with SQL.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import redis
import trio

_ADDED = {"session_id", "frame_id", "timestamp", "received_at", "client_timestamp"}
"""What the server puts to a frame; all else must be as it was sent."""

Stored = Sequence[dict[str, Any]]


class Broken(AssertionError):
    """Promises that were not kept."""


@dataclass
class Ledger:
    """What one session's exam taker sent and was told. A message is one frame, whose `marker` is its seq."""

    session_id: str
    sent: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Features of the frame by seq, as first sent."""
    acked: dict[int, float] = field(default_factory=dict)
    """When each seq was first confirmed, by an acknowledgement of it or of a later one, on Trio's clock."""
    epochs: list[str] = field(default_factory=list)
    """Identities of the frame store that the server named, each once, as they came."""
    broken: list[str] = field(default_factory=list)
    """What was seen to be wrong while it ran."""

    def send(self, seq: int, features: dict[str, Any]) -> None:
        """Note a message before it is sent."""
        assert self.sent.setdefault(seq, features) == features

    def ack(self, seqs: Iterable[int]) -> None:
        """Note that the server confirmed these."""
        now = trio.current_time()
        for seq in seqs:
            if seq not in self.sent:
                self.broken.append(f"seq {seq} was confirmed and never sent")
            self.acked.setdefault(seq, now)

    def resume(self, last_seq: int | None, epoch: str) -> bool:
        """Note what the server says is stored, as a client connects or as the store has been emptied.

        Returns whether it has been, so that what was confirmed before counts no more.
        """
        emptied = bool(self.epochs) and epoch != self.epochs[-1]
        if emptied:
            self.acked.clear()
        if epoch not in self.epochs:
            self.epochs.append(epoch)
        elif emptied:
            self.broken.append(f"epoch {epoch} came back")
        last = last_seq or 0
        confirmed = next(seq for seq in count(1) if seq not in self.acked) - 1
        if last < confirmed:
            self.broken.append(f"last_seq {last_seq} although 1 to {confirmed} were acknowledged")
        self.ack(range(1, last + 1))
        return emptied


class Judgement(NamedTuple):
    """Figures of a run in which every promise was kept: how many frames."""

    sent: int
    acked: int
    stored: int


def judge(ledger: Ledger, stored: Stored, *, everything: bool = False, in_order: bool = True) -> Judgement:
    """Compare a session's ledger with the frames that were kept, in their order.

    `everything`: all that was sent must be there, as after the client has heard every acknowledgement.
    `in_order`: seqs rose from 1 wherever they were sent, so each must be stored after those below it.

    Raises:
        Broken: with each promise that was not kept.
    """
    found = [frame["marker"] for frame in stored]
    ids = [frame["frame_id"] for frame in stored]
    times = Counter(found)
    faults = list(ledger.broken)

    def complain(what: str, seqs: Iterable[object]) -> None:
        if some := list(seqs):
            faults.append(f"{len(some)} {what}: {some[:10]}")

    complain("acknowledged, not stored", sorted(ledger.acked.keys() - times.keys()))
    complain("stored more than once", [seq for seq, number in times.items() if number > 1])
    complain("stored, never sent", sorted(times.keys() - ledger.sent.keys()))
    complain("frame ids given twice", [frame_id for frame_id, number in Counter(ids).items() if number > 1])
    complain("stored with other content", [f["marker"] for f in stored if _differs(f, ledger)])
    complain("of another session", [f["marker"] for f in stored if f["session_id"] != ledger.session_id])
    if in_order:
        complain("before an acknowledged one, not stored", _gaps(ledger, times))
        complain("stored out of order", [(a, b) for a, b in pairwise(found) if a >= b])
    if everything:
        complain("sent, not stored", sorted(ledger.sent.keys() - times.keys()))
    if faults:
        raise Broken(f"{ledger.session_id}: " + "; ".join(faults))
    return Judgement(len(ledger.sent), len(ledger.acked), len(stored))


def _gaps(ledger: Ledger, stored: Counter[int]) -> list[int]:
    return [seq for seq in range(1, max(ledger.acked, default=0)) if seq not in stored]


def _differs(frame: dict[str, Any], ledger: Ledger) -> bool:
    kept = {name: value for name, value in frame.items() if name not in _ADDED}
    return kept != ledger.sent.get(frame["marker"], kept)


def dumped(folder: Path, session_id: str) -> Stored:
    """Frames of a dump, in its order."""
    return json.loads((folder / f"{session_id}_frames.json").read_bytes())


def in_redis(client: redis.Redis, session_id: str) -> Stored:
    """Frames that a running session has in Redis, in the order of their times and numbers."""
    ids = [member.decode() for member in client.zrange(f"frames_meta:{session_id}", 0, -1)]
    ids.sort(key=lambda frame_id: tuple(map(int, frame_id.split("-"))))
    bodies = [client.get(f"frame_meta:{session_id}:{frame_id}") for frame_id in ids]
    assert None not in bodies, "an id without its frame"
    return [json.loads(body) for body in bodies if body is not None]


def in_file(path: Path, session_id: str) -> Stored:
    """Frames that a running session has in the embedded store's file, in the order of times and numbers."""
    query = (
        "SELECT body FROM frames JOIN sessions ON sessions.id = session WHERE name = ? "
        "ORDER BY time_ms, number"
    )
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return [json.loads(body) for (body,) in database.execute(query, (session_id,))]
    finally:
        database.close()
