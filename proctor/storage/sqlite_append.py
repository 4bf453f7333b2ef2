"""What a group commit does to one session of the embedded frame store."""

import sqlite3
from dataclasses import dataclass, field

from proctor.storage.frames import FrameMessage, Outcome, Receipt

_JOIN_MOST = 2000
"""When a gap closes behind more messages, it takes some commits until `last_seq` has passed all of them."""


@dataclass
class SessionWrite:
    """What one group commit adds to one session."""

    id: int
    stored: int
    """Frames ever stored, those of this commit included."""
    sealed: int
    last_seq: int
    """The messages numbered 1 to this are stored, and so are `seqs_beyond` of those above."""
    seqs_beyond: int
    highest_seq: int | None
    """Before this commit. Seqs rise, so that few of them have to be looked up."""
    frames: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    """Session, time in milliseconds, number, body."""
    seqs: dict[int, bytes] = field(default_factory=dict)
    joined: int = 0

    def add(self, db: sqlite3.Connection, message: FrameMessage) -> Receipt:
        """Take the message in, unless the session is sealed or has its seq already."""
        if self.sealed:
            return Receipt(Outcome.SEALED)
        if message.seq is not None:
            known = self._digest(db, message.seq)
            if known is not None:
                return Receipt(Outcome.DUPLICATE if known == message.digest else Outcome.CONFLICT)
            self.seqs[message.seq] = message.digest
            self._count(db, message.seq)
        first = self.stored
        for time_ms, head in message.frames:
            body = b'%b%d-%d"}' % (head, time_ms, self.stored)
            self.frames.append((self.id, time_ms, self.stored, body))
            self.stored += 1
        return Receipt(Outcome.STORED, first)

    def _digest(self, db: sqlite3.Connection, seq: int) -> bytes | None:
        known = self.seqs.get(seq)
        if known is None and self.highest_seq is not None and seq <= self.highest_seq:
            query = "SELECT digest FROM seqs WHERE session = ? AND seq = ?"
            (known,) = db.execute(query, (self.id, seq)).fetchone() or (None,)
        return known

    def _count(self, db: sqlite3.Connection, seq: int) -> None:
        if seq > self.last_seq + 1:
            self.seqs_beyond += 1
        elif seq == self.last_seq + 1:
            self.last_seq = seq
            self.join(db)

    def join(self, db: sqlite3.Connection) -> None:
        """Move `last_seq` past what is stored already of the messages that follow it."""
        while (
            self.seqs_beyond and self.joined < _JOIN_MOST and self._digest(db, self.last_seq + 1) is not None
        ):
            self.last_seq += 1
            self.seqs_beyond -= 1
            self.joined += 1
