"""Recognises who makes a request, by an API key or a candidate token.

Authentication is on once there is a key, if only a revoked one, or where the settings require it, and stays
on as long as the process runs, whatever becomes of the database. Keys are few and in memory, looked up anew
every few seconds and whenever an unknown one comes: a key that is made in another process opens at once, and
one that is revoked closes within `REFRESH_SECONDS`.
"""

from collections.abc import Callable

import structlog
import trio

from proctor.access import pages
from proctor.access.keys import ApiKey, KeyText
from proctor.access.roles import ANYONE, Principal
from proctor.access.tokens import SigningKey, issue, key_named, make_signing_key, verify
from proctor.errors import Unauthenticated, Unavailable
from proctor.model import ExamSession
from proctor.settings import Settings
from proctor.storage.credentials import Credentials

_log = structlog.get_logger(__name__)

REFRESH_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 1.0
"""How often unknown keys, which may be made up, have the database asked at the most."""

HOW = "send a key as `Authorization: Bearer proctor_…` (`proctor keys create NAME --role ROLE` makes one)"


class Gate:
    """Has a task, `refresh`; what it has loaded last is good while the database is down."""

    def __init__(self, credentials: Credentials, settings: Settings, now_ms: Callable[[], int]) -> None:
        self._credentials = credentials
        self.on = settings.authentication == "required"
        """Whether requests need a key or a token."""
        self._token_seconds = settings.candidate_token_seconds
        self._now_ms = now_ms
        self._keys: dict[str, ApiKey] = {}
        self._signing: list[SigningKey] = []
        self._used_ms: dict[str, int] = {}
        self._loading = trio.Lock()
        self._trouble: Unavailable | None = None
        """Why the last look failed, if it did."""
        self._loaded_at = -_LOOK_AGAIN_SECONDS

    async def load(self) -> None:
        """Look up the keys, and make one to sign tokens with if there is none. Raises Unavailable."""
        async with self._loading:
            await self._load()

    async def _load(self) -> None:
        self._trouble = None
        try:
            self._keys = {key.key_id: key for key in await self._credentials.keys()}
            self.on = self.on or bool(self._keys)
            self._signing = await self._credentials.signing_keys()
            if not self._signing:
                await self._credentials.add_signing_key(make_signing_key(self._now_ms()))
                self._signing = await self._credentials.signing_keys()
        except Unavailable as trouble:
            self._trouble = trouble
            raise
        finally:
            self._loaded_at = trio.current_time()

    async def refresh(self) -> None:
        """Look up the keys now and then, and note which were used, until cancelled."""
        while True:
            await trio.sleep(REFRESH_SECONDS)
            try:
                await self.load()  # first, for a database that takes no notes still tells what was revoked
                used, self._used_ms = self._used_ms, {}
                await self._credentials.note_use(used)
            except Unavailable as failure:
                _log.warning("keys are as they were", reason=failure.detail)

    async def by_key(self, text: str) -> Principal:
        """Return who holds an API key.

        Raises:
            Unauthenticated: there is no such key, or it opens nothing any more.
            Unavailable: it is not known, and the database does not answer.
        """
        given = KeyText.parse(text)
        if given is None:
            raise Unauthenticated(f"this is no API key; {HOW}")
        key = await self._key(given.key_id)
        if key is None or not given.opens(key):
            raise Unauthenticated(f"there is no such API key; {HOW}")
        return self._used(key)

    def key_named(self, credential: str) -> str | None:
        """Return the id of the key that this claims to be; None if there is no such key."""
        given = KeyText.parse(credential)
        return given.key_id if given is not None and given.key_id in self._keys else None

    async def by_token(self, token: str) -> Principal:
        """Return which candidate holds a token. Raises as :meth:`by_key`."""
        return verify(token, await self.keys_for(token))

    async def by_cookie(self, cookie: str) -> tuple[Principal, pages.PageSession]:
        """Return who is signed in to the pages with a cookie. Raises as :meth:`by_key`."""
        session = pages.session_of(cookie, await self.keys_for(cookie))
        if session.key_id is None:
            return session.principal(), session
        key = await self._key(session.key_id)
        if key is None:
            raise Unauthenticated(f"the key you signed in with is gone; {pages.SIGN_IN_AGAIN}")
        return self._used(key), session

    async def keys_for(self, token: str) -> list[SigningKey]:
        """Return what a token may be signed with, after another look if it names none of them.

        Raises:
            Unavailable: that look failed.
        """
        kid = key_named(token)
        if kid is not None and kid not in {key.kid for key in self._signing}:
            await self._look_again()
        return self._signing

    async def identify(self, credential: str | None) -> Principal:
        """Return who sends an `Authorization: Bearer` of this credential. Raises as :meth:`by_key`."""
        if not self.on:
            return ANYONE
        if credential is None:
            raise Unauthenticated(f"this needs an API key or a candidate's token; {HOW}")
        return await (self.by_token(credential) if credential.count(".") == 2 else self.by_key(credential))

    @property
    def signing_key(self) -> SigningKey:
        """What new tokens are signed with."""
        return self._signing[0]

    def token_for(self, session: ExamSession) -> str:
        """Return a new token for the session's candidate."""
        return issue(session, self.signing_key, now_ms=self._now_ms(), seconds=self._token_seconds)

    async def _key(self, key_id: str) -> ApiKey | None:
        if key_id not in self._keys:
            await self._look_again()
        return self._keys.get(key_id)

    def _used(self, key: ApiKey) -> Principal:
        """Return who uses a key, and note that it was. Raises Unauthenticated if it opens nothing now."""
        now_ms = self._now_ms()
        if not key.is_valid(now_ms):
            why = "has expired" if key.revoked_ms is None else "was revoked"
            raise Unauthenticated(f"the API key {key.key_id} {why}; {HOW}")
        self._used_ms[key.key_id] = now_ms
        return key.principal()

    async def _look_again(self) -> None:
        asked_at = trio.current_time()
        async with self._loading:
            # Whoever waited for another's look has the use of it, also of one that failed.
            if self._loaded_at < asked_at and asked_at - self._loaded_at >= _LOOK_AGAIN_SECONDS:
                await self._load()
            elif self._trouble is not None:
                raise self._trouble
