"""A chain of entries, each sealed with a hash of what it says and of the entry before it.

Whoever changes, inserts, removes or swaps entries breaks the chain there, or has to compute every later hash
again, which changes the last one. Entries cut off the end leave a chain that is intact, only shorter. Both
show against a :class:`Head` that was noted elsewhere.

Entries cut off the beginning show as well, unless one that stays vouches for it: it has the action `CUT`, and
as its subject the :class:`Head` up to which they went.
"""

import hashlib
import re
from typing import NamedTuple, Self

import msgspec

from proctor.errors import InvalidRequest

CUT = "trail_cut"
"""The action of entries that say which others were removed before them."""

_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry tells, before it has a place in the chain."""

    at_ms: int
    """When it happened, in milliseconds since the epoch by the clock of the machine that recorded it."""
    actor: str
    """Who did it: the name of a key or of a person, `anonymous`, or `operator` for the command line."""
    address: str | None
    """From where: an IP address, `console` for the command line, or None if nobody asked for it."""
    action: str
    """A :class:`proctor.audit.Action`; later versions of Proctor may have written others."""
    subject: str
    """What it was done to: the id of a session, a candidate, a key …"""
    before: str | None
    """The JSON text of what was there before, if anything."""
    after: str | None
    """The JSON text of what was there afterwards, if anything."""


class Entry(Event, frozen=True, kw_only=True):
    """An event in its place."""

    number: int
    """1 for the first, and one more for each, without gaps."""
    previous: str
    """The `hash` of the entry before; 64 zeros for the first."""
    hash: str
    """SHA-256 of :func:`canonical`, in 64 lower-case hexadecimal digits."""


class Head(NamedTuple):
    """A place in the chain, written `NUMBER:HASH`: it vouches for its entry and all entries before that."""

    number: int
    hash: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` has written. Raises InvalidRequest for anything else."""
        match = _HEAD.fullmatch(text.strip().lower())
        if match is None:
            raise InvalidRequest("not NUMBER:HASH, with 64 hexadecimal digits, as printed", field="head")
        head = cls(int(match[1]), match[2])
        if head.number == 0 and head != START:
            raise InvalidRequest(f"before the first entry there is only {START}", field="head")
        return head

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


START = Head(0, "0" * 64)
"""The head of a chain without entries."""


class Fault(NamedTuple):
    """The first entry that does not hold."""

    number: int
    """Its number; of a missing one, the number that it had."""
    reason: str
    """What is wrong with it, as the end of a sentence that begins with the entry."""


def canonical(entry: Entry) -> bytes:
    """Return the bytes that an entry's hash is of.

    They are the JSON object of all its fields but `hash`, in UTF-8 and as RFC 8785 has it: keys in
    alphabetical order, no white space, characters escaped only where JSON requires it. `before` and `after`
    are strings in it (or null), the very texts that are stored, so that verifying them takes no JSON writer
    that writes numbers and texts as Proctor's does.
    """
    fields = msgspec.structs.asdict(entry)
    del fields["hash"]
    return msgspec.json.encode(fields, order="sorted")


def seal(event: Event, head: Head) -> Entry:
    """Return the event as the entry that comes after `head`."""
    fields = msgspec.structs.asdict(event)
    entry = Entry(**fields, number=head.number + 1, previous=head.hash, hash="")
    return msgspec.structs.replace(entry, hash=_digest(entry))


class Walk:
    """Checks a chain, entry by entry from the first, without keeping any of them."""

    def __init__(self, noted: Head | None = None, start: Head = START) -> None:
        self._noted = noted
        self.start = start
        """After which entry it begins."""
        self.vouched_by: int | None = None
        """The number of the entry that says that all up to `start` were removed, once it was met."""
        self.head = start
        """Up to where it holds."""

    def step(self, entry: Entry) -> Fault | None:
        """Go on to the next entry; return what is wrong with it, if anything, and then stay."""
        try:
            fault = self._fault(entry)
        except (msgspec.ValidationError, UnicodeEncodeError):
            # SQLite sees neither to types nor to texts being Unicode.
            fault = Fault(entry.number, "holds a value that cannot have been recorded")
        if fault is None:
            self.head = Head(entry.number, entry.hash)
            if entry.action == CUT and entry.subject == str(self.start):
                self.vouched_by = entry.number
        return fault

    def end(self) -> Fault | None:
        """Return what is wrong with the whole of it: how it begins, or that it ends before a noted head."""
        if self.start != START and self.vouched_by is None:
            first, self.start, self.head = self.start.number + 1, START, START
            return Fault(1, f"is missing: the next one is {first}")
        if self._noted is None or self._noted.number <= self.head.number:
            return None
        return Fault(self.head.number + 1, f"is missing: entries up to {self._noted.number} were noted")

    def _fault(self, entry: Entry) -> Fault | None:
        number, expected = entry.number, self.head.number + 1
        msgspec.convert(msgspec.structs.asdict(entry), Entry)
        if number > expected:
            return Fault(expected, f"is missing: the next one is {number}")
        if number < expected:
            return Fault(number, f"was inserted: the next one was to be {expected}")
        if self._noted is not None and self._noted.number == number - 1 and self._noted != self.head:
            return Fault(number, "does not follow from the one that was noted, which was removed")
        if entry.previous != self.head.hash:
            return Fault(number, "does not follow from the one before it: `previous` is not that one's hash")
        if entry.hash != _digest(entry):
            return Fault(number, "does not say what was recorded: its hash is of something else")
        if self._noted is not None and number == self._noted.number and entry.hash != self._noted.hash:
            return Fault(number, "is not the one that was noted: it, or one before it, was written anew")
        return None


def _digest(entry: Entry) -> str:
    return hashlib.sha256(canonical(entry)).hexdigest()
