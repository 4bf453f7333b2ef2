"""The audit trail: who did what to whom, when and from where, in a chain that shows every later change."""

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import msgspec

from proctor.chain import CUT, START, Entry, Event, Fault, Head, Walk
from proctor.errors import InvalidRequest

if TYPE_CHECKING:
    from proctor.storage.audit_log import AuditLog

TEXT_CHARACTERS = 512
"""Longest actor, address and subject that is kept as it is."""
VALUE_BYTES = 65_536
"""Longest JSON text of `before` and of `after` that is kept as it is."""
PAGE_ENTRIES = 500
"""Most entries that are in memory at a time; of the longest, these are 63 MiB of text."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Action(StrEnum):
    """What was done."""

    SESSION_STARTED = "session_started"
    """An exam session was started. Subject: the session."""
    SESSION_ENDED = "session_ended"
    """The end of an exam session was asked for. Subject: the session."""
    ACCOMMODATION_GRANTED = "accommodation_granted"
    """A session's accommodations were changed: granted or withdrawn. Subject: the session."""
    REANALYSED = "reanalysed"
    """An ended session was judged again. Subject: the session."""
    REVIEWED = "reviewed"
    """A reviewer judged a finding, decided, or took that back. Subject: the session."""
    LINKED = "linked"
    """A candidate was given a link to what is kept about them. Subject: the session."""
    STATED = "stated"
    """A candidate made a statement. Subject: the session."""
    EXPORTED = "exported"
    """What is kept about people was handed out. Subject: a candidate's pseudonym, a session, or `review`."""
    ERASED = "erased"
    """Data was erased, or had expired. Subject: the session, or the candidate's pseudonym."""
    KEY_CREATED = "key_created"
    """A key to the server was made. Subject: the key's id; never the key."""
    KEY_REVOKED = "key_revoked"
    """A key was made useless. Subject: the key's id."""
    MESSAGE_SENT = "message_sent"
    """A candidate was written to. Subject: the session; what was written is not kept."""
    WEBHOOK_ADDED = "webhook_added"
    """An address is told what happens. Subject: the webhook's id; never its secret."""
    WEBHOOK_REMOVED = "webhook_removed"
    """An address is told nothing any more. Subject: the webhook's id."""
    WEBHOOK_DISABLED = "webhook_disabled"
    """An address answered that it wants no more. Subject: the webhook's id."""
    SIGNED_IN = "signed_in"
    """Somebody signed in to the pages. Subject: who, by name of the key or the account."""
    POLICY_CHANGED = "policy_changed"
    """A server was started with another policy than the one before. Subject: the policy."""
    TRAIL_CUT = CUT
    """The oldest entries of the trail were removed. Subject: number and hash of the last of them."""


class Who(TypedDict):
    """Who does something, and from where."""

    actor: str
    """The name of a key, or of what acts by itself. Candidates are named by their sessions."""
    address: str | None
    """IP address, or `console`; None for the server itself."""


def former_pseudonym(name: str) -> str:
    """Return what stood for a person in entries of earlier builds; anybody can compute it from the name."""
    return f"sha256:{_sha256(name.encode(errors='surrogatepass'))}"


class Verification(NamedTuple):
    """How far the trail holds."""

    head: Head
    """The last entry that does, after all before it from `start` on."""
    fault: Fault | None
    """The first that does not."""
    start: Head = START
    """The last entry that was removed because its time was over; the trail begins after it."""
    vouched_by: int | None = None
    """The number of the entry that says so."""

    @property
    def intact(self) -> bool:
        """Whether all of it holds."""
        return self.fault is None


class Audit:
    """Records what is done, and reads it back. `now_ms` tells the time in milliseconds since the epoch.

    Every call raises :class:`proctor.errors.Unavailable` if the database is down or slow.
    """

    def __init__(self, log: "AuditLog", now_ms: Callable[[], int]) -> None:
        self._log = log
        self._now_ms = now_ms
        self._secret: bytes | None = None

    async def pseudonym(self, candidate_id: str) -> str:
        """Return what stands for a person in the trail, of which no single entry can be erased.

        Keyed with a secret of the installation, so that who has the trail, but not the rest of the database,
        cannot find a person by trying names.
        """
        if self._secret is None:
            self._secret = await self._log.pseudonym_secret()
        name = candidate_id.encode(errors="surrogatepass")
        return f"hmac:{hmac.digest(self._secret, name, 'sha256').hex()}"

    async def record(
        self,
        action: Action,
        subject: str,
        *,
        actor: str,
        address: str | None,
        before: object = None,
        after: object = None,
    ) -> Entry:
        """Append an entry and return it, once it is committed.

        Nothing is refused for its content. In texts, NUL and halves of surrogate pairs become U+FFFD; what is
        longer than 512 characters is cut, and ends in `…` and the SHA-256 of the whole. `before` and `after`
        are what JSON can express (msgspec's structs too; None is nothing); JSON of over 64 KiB leaves
        `{"length": BYTES, "sha256": "…"}` of itself.

        Cancelled, or with Unavailable, it may or may not have been appended; otherwise it was, exactly once.

        Raises:
            Unavailable: the database is down, slow, or too many processes append at once.
            TypeError: JSON cannot express `before` or `after`.
        """
        event = Event(
            at_ms=self._now_ms(),
            actor=_text(actor),
            address=None if address is None else _text(address),
            action=action.value,
            subject=_text(subject),
            before=_json(before),
            after=_json(after),
        )
        return await self._log.append(event)

    async def entries(
        self,
        *,
        subject: str | None = None,
        candidate: str | None = None,
        actor: str | None = None,
        action: Action | None = None,
        since_ms: int | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Entry]:
        """Return up to `limit` entries, at most 500, newest first, of those that match all that is given.

        Give either a `subject` or a `candidate`, a person's id, which is looked for by its pseudonyms.
        `since_ms` is compared with when things happened; `before` is the number of a page's last entry, for
        the page after it. Entries are as stored, whether the trail is intact or not.
        """
        subjects = None if subject is None else [_text(subject)]
        if candidate is not None:
            subjects = [await self.pseudonym(candidate), former_pseudonym(candidate)]
        return await self._log.newest(
            subjects=subjects,
            actor=None if actor is None else _text(actor),
            action=None if action is None else action.value,
            since_ms=since_ms,
            before=before,
            limit=min(limit, PAGE_ENTRIES),
        )

    async def verify(self, head: Head | None = None) -> Verification:
        """Check the whole trail, and that the entry of `head` is in it unchanged.

        Entries recorded meanwhile are checked too, or not. Takes about ten seconds for a million entries.

        Raises:
            InvalidRequest: the trail is intact, but the entry of `head` was removed when its time was over.
        """
        walk = Walk(head)
        after: int | None = None
        while page := await self._log.oldest(after=after, limit=PAGE_ENTRIES):
            if after is None:
                walk = Walk(head, await self._beginning(page[0]))
            for entry in page:
                fault = walk.step(entry)
                if fault is not None:
                    return Verification(walk.head, fault, walk.start, walk.vouched_by)
            after = page[-1].number
        fault = walk.end()
        if fault is None and head is not None and START.number < head.number < walk.start.number:
            detail = (
                f"the trail is intact from entry {walk.start.number + 1} on, but entry {head.number} was "
                f"removed when its time was over, so nothing proves that head now; note {walk.head} instead"
            )
            raise InvalidRequest(detail, field="head")
        return Verification(walk.head, fault, walk.start, walk.vouched_by)

    async def _beginning(self, first: Entry) -> Head:
        """Return up to where entries were removed, if an entry says that they were."""
        with suppress(TypeError):  # a number that is none, in SQLite, which the walk will find
            start = Head(first.number - 1, first.previous)
            if await self.entries(subject=str(start), action=Action.TRAIL_CUT, limit=1):
                return start
        return START


def _text(text: str) -> str:
    """Return a text that fits both databases, the same for the same one and others for others."""
    mended = _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    if len(mended) <= TEXT_CHARACTERS:
        return mended
    digest = _sha256(text.encode(errors="surrogatepass"))
    return f"{mended[: TEXT_CHARACTERS - 1 - len(digest)]}…{digest}"


def _json(value: object) -> str | None:
    if value is None:
        return None
    plain = msgspec.to_builtins(value, str_keys=True, order="deterministic")
    try:
        written = msgspec.json.encode(plain, order="deterministic")
    except UnicodeEncodeError:
        written = msgspec.json.encode(_mended(plain), order="deterministic")
    if len(written) > VALUE_BYTES:
        written = msgspec.json.encode({"length": len(written), "sha256": _sha256(written)})
    return written.decode()


def _mended(value: Any) -> Any:
    """Replace halves of surrogate pairs, which UTF-8 cannot express, in all texts of a JSON value."""
    if isinstance(value, str):
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {_mended(key): _mended(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [_mended(each) for each in value]
    return value


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
