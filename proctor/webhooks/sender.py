"""One attempt to deliver a webhook: a POST that follows nothing, waits for no more than it needs, and reads
nothing of what comes back but its status.
"""

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httpcore
import httpx
import trio

from proctor import __version__
from proctor.errors import InvalidRequest
from proctor.webhooks.addresses import Addresses, CheckedNetwork
from proctor.webhooks.signing import signed_headers

ATTEMPT_SECONDS = 15.0
"""Longest from looking up the name to the status. A receiver takes the event in and works on it later."""
RETRY_AFTER_MAX_SECONDS = 24 * 3600.0
GONE = 410
PORTS = {"http": 80, "https": 443}


class Outcome(NamedTuple):
    """What became of an attempt."""

    delivered: bool
    status: int | None = None
    """Of the answer; None if there was none."""
    reason: str | None = None
    """Why it was not delivered."""
    retry_after_seconds: float | None = None
    """How long the receiver wants to be left alone, if it says so."""

    @property
    def unwanted(self) -> bool:
        """Whether the receiver wants no more of them at all."""
        return self.status == GONE


class Sender:
    """Delivers signed messages. Nothing stays open between two attempts."""

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        # The certificates that httpx trusts; SSL_CERT_FILE and SSL_CERT_DIR name others.
        self._tls = httpx.create_ssl_context()

    async def send(self, url: str, secret: str, message_id: str, body: bytes) -> Outcome:
        """Try once. What goes wrong is an outcome and no error; cancelled, it may have been delivered."""
        headers = {
            "content-type": "application/json",
            "user-agent": f"proctor/{__version__}",
            **signed_headers(secret, message_id, int(time.time()), body),
        }
        try:
            target = self.addresses.check_url(url)
            with trio.fail_after(ATTEMPT_SECONDS):
                return await self._post(target, headers, body)
        except InvalidRequest as refused:
            return Outcome(delivered=False, reason=refused.detail)
        except trio.TooSlowError:
            return Outcome(delivered=False, reason=f"no answer within {ATTEMPT_SECONDS:g} s")
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as failure:
            return Outcome(delivered=False, reason=_told(failure))

    async def _post(self, url: httpx.URL, headers: Mapping[str, str], body: bytes) -> Outcome:
        encrypted = url.scheme == "https"
        network = CheckedNetwork(self.addresses, encrypted=encrypted)
        address = httpcore.URL(
            scheme=url.raw_scheme,
            host=url.raw_host,
            port=url.port or PORTS[url.scheme],
            target=url.raw_path,
        )
        fields = [("host", url.netloc.decode("ascii")), *headers.items()]
        async with (
            httpcore.AsyncConnectionPool(ssl_context=self._tls, network_backend=network) as pool,
            pool.stream("POST", address, headers=fields, content=body) as answer,
        ):
            return _judged(answer.status, dict(answer.headers))


def _judged(status: int, headers: Mapping[bytes, bytes]) -> Outcome:
    if httpx.codes.is_success(status):
        return Outcome(delivered=True, status=status)
    reason = f"answered {status}"
    if httpx.codes.is_redirect(status):
        reason += "; redirects are not followed: add the webhook with the address that it has now"
    lower = {name.lower(): value for name, value in headers.items()}
    after = _seconds(lower.get(b"retry-after", b"").decode("latin-1"))
    return Outcome(delivered=False, status=status, reason=reason, retry_after_seconds=after)


def _seconds(retry_after: str) -> float | None:
    """Read seconds or a date; None for neither."""
    try:
        if retry_after.strip().isdecimal():
            seconds = float(retry_after)
        else:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
    except (ValueError, OverflowError, TypeError):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_SECONDS) if math.isfinite(seconds) else None


def _told(failure: Exception) -> str:
    """Say what went wrong, in a line of bounded length."""
    said = " ".join(str(failure).split()) or type(failure).__name__
    return said[:300]
