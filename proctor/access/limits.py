"""How often somebody may ask, and how often be wrong: token buckets. No I/O.

Whoever has a key or token is counted by that, wherever it comes from; everybody else by their address. So a
whole exam hall may share one address, and nobody in it uses up what is another's.
"""

import hashlib
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, ip_address

from proctor.access.roles import Principal
from proctor.errors import Throttled, Unauthenticated
from proctor.latest import Latest
from proctor.settings import Settings

BURST_SECONDS = 30.0
"""What may be asked in so long may be asked at once."""
_KNOWN = 10_000
"""Those counted last. Of others nothing is known, as of somebody new."""
_MINUTE_SECONDS = 60.0
_IPV6_NETWORK_BITS = 64
"""Whoever has one IPv6 address has all of such a network."""


class Buckets:
    """One token bucket for each name, all of one size."""

    def __init__(self, per_second: float, burst_seconds: float = BURST_SECONDS) -> None:
        self._each_seconds = 1 / per_second if per_second else 0.0
        """Time that pays for one; nothing without a limit."""
        self._burst_seconds = max(burst_seconds, self._each_seconds)
        self._full_at: Latest[float] = Latest(_KNOWN)

    def wait_seconds(self, name: str, now: float) -> float:
        """Return how long it is until one more may be taken."""
        full_at = max(self._full_at.get(name) or now, now)
        return max(0.0, full_at + self._each_seconds - now - self._burst_seconds)

    def take(self, name: str, now: float) -> float:
        """Take one and return 0, or return how long it is until there is one."""
        if not self._each_seconds:
            return 0.0
        wait_seconds = self.wait_seconds(name, now)
        if not wait_seconds:
            self._full_at.put(name, max(self._full_at.get(name) or now, now) + self._each_seconds)
        return wait_seconds


def network_of(address: str | None) -> str:
    """Return what is counted as one address."""
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or ""
    if not isinstance(found, IPv6Address):
        return address or ""
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    bits = 128 - _IPV6_NETWORK_BITS
    return f"{IPv6Address(int(found) >> bits << bits)}/{_IPV6_NETWORK_BITS}"


class Limits:
    """What one process has counted."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._holders = Buckets(settings.key_requests_per_second)
        self._addresses = Buckets(settings.address_requests_per_second)
        self._failures = Buckets(settings.address_failures_per_minute / _MINUTE_SECONDS, _MINUTE_SECONDS)
        self._good: Latest[bool] = Latest(_KNOWN)

    def visit(self, address: str, now: float) -> None:
        """Count one request of somebody who has no key or token, or needs none.

        Raises:
            Throttled: there were too many from the address.
        """
        wait_seconds = self._addresses.take(address, now)
        most = self._settings.address_requests_per_second
        _refuse(wait_seconds, f"requests per second from {address} (ADDRESS_REQUESTS_PER_SECOND)", most)

    async def identify(
        self,
        credential: str,
        key_id: str | None,
        address: str,
        now: float,
        identify: Callable[[str], Awaitable[Principal]],
    ) -> Principal:
        """Return who holds a credential, as `identify` says, and count it as one request of this holder.

        `key_id` is that of the key that it claims to be, if there is one. A key that was wrong too often at
        this address is not looked at, unless this very one was right before: who guesses at a key shuts out
        nobody who uses it. Everything else is looked at, for a token that is signed is no guess.

        Raises:
            Throttled: the holder asks too often, or too much was wrong from the address.
            Unauthenticated: it is wrong, and what else `identify` raises.
        """
        digest = hashlib.sha256(credential.encode(errors="surrogateescape")).hexdigest()
        guessed_at = None if key_id is None else f"{address} {key_id}"
        if guessed_at is not None and self._good.get(digest) is None:
            self._refuse_guess(self._failures.wait_seconds(guessed_at, now))
        try:
            somebody = await identify(credential)
        except Unauthenticated:
            self._good.forget(digest)
            if guessed_at is not None:
                self._failures.take(guessed_at, now)
            self._refuse_guess(self._failures.take(address, now))
            raise
        self._good.put(digest, value=True)
        of_session = somebody.session_id is not None
        self.hold(f"of session {somebody.session_id}" if of_session else f"with the key {key_id}", now)
        return somebody

    def hold(self, whose: str, now: float) -> None:
        """Count one request of somebody who is known.

        Raises:
            Throttled: there were too many.
        """
        wait_seconds = self._holders.take(whose, now)
        most = self._settings.key_requests_per_second
        _refuse(wait_seconds, f"requests per second {whose} (KEY_REQUESTS_PER_SECOND)", most)

    def _refuse_guess(self, wait_seconds: float) -> None:
        what = "wrong keys or tokens per minute from your address (ADDRESS_FAILURES_PER_MINUTE)"
        _refuse(wait_seconds, what, self._settings.address_failures_per_minute)


def _refuse(wait_seconds: float, what: str, most: float) -> None:
    if wait_seconds:
        raise Throttled(f"more than {most:g} {what}; send this again later", retry_after_seconds=wait_seconds)
