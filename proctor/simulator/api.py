"""The HTTP side of an exam taker: start, end, and asking for the report."""

from typing import Any
from urllib.parse import urlencode, urljoin

import httpx
import trio

from proctor.errors import Unavailable

_PAUSE_SECONDS = 0.5
"""Between two attempts where the server does not say how long to wait."""
START_PATIENCE_SECONDS = 5.0
"""A server that is not there when an exam starts is most likely a wrong address. One that is may be slow."""
_RESPONSE_SECONDS = 60.0
"""The final report of a long session may take a while."""
_TIMEOUT = httpx.Timeout(_RESPONSE_SECONDS, connect=START_PATIENCE_SECONDS)
_AGAIN = (202, 429, 502, 503, 504)
"""Statuses that mean: later. 202 answers an end whose report is still being retried."""


class ExamApi:
    """Calls one server. Every call is repeated while the server asks for it or cannot be reached.

    Args:
        url: The server's address, `http://HOST:PORT`.
        client: Stays the caller's; its timeout is not used.
        patience_seconds: For all attempts of one call together.
    """

    def __init__(self, url: str, client: httpx.AsyncClient, patience_seconds: float = 60.0) -> None:
        self._url = url.rstrip("/") + "/"
        self._client = client
        self._patience_seconds = patience_seconds

    async def start(self, session_id: str, candidate_id: str, exam_id: str, policy: str | None = None) -> str:
        """Start a session and return the address of its WebSocket, with the candidate's token.

        Raises:
            Unavailable: refused, or not reachable.
        """
        body = {"exam_session_id": session_id, "candidate_id": candidate_id, "exam_id": exam_id}
        if policy is not None:
            body["policy"] = policy
        patience = min(START_PATIENCE_SECONDS, self._patience_seconds)
        answer: dict[str, str] = (await self._post("start", body, patience)).json()
        address = urljoin(self._url, f"{answer['websocket_url']}?{urlencode({'token': answer['token']})}")
        return "ws" + address.removeprefix("http") if address.startswith("http") else address

    async def end(self, session_id: str) -> None:
        """End a session and wait until it is. Raises Unavailable."""
        await self._post(f"{session_id}/end")

    async def analyze(self, session_id: str) -> dict[str, Any]:
        """Return the session's report. Raises Unavailable."""
        report: dict[str, Any] = (await self._post(f"{session_id}/analyze")).json()
        return report

    async def _post(
        self, path: str, body: dict[str, Any] | None = None, patience_seconds: float | None = None
    ) -> httpx.Response:
        url = f"{self._url}api/v1/session/{path}"
        last = "no answer"
        with trio.move_on_after(self._patience_seconds) as patience:
            reached_by = trio.current_time() + (patience_seconds or self._patience_seconds)
            while True:
                pause = _PAUSE_SECONDS
                try:
                    response = await self._client.post(url, json=body, timeout=_TIMEOUT)
                except httpx.TransportError as failure:
                    last = str(failure) or type(failure).__name__
                    patience.deadline = min(patience.deadline, reached_by)
                else:
                    if response.is_success and response.status_code != httpx.codes.ACCEPTED:
                        return response
                    last = f"{response.status_code} {_detail(response)}"
                    if response.status_code not in _AGAIN:
                        break
                    pause = float(response.headers.get("Retry-After", pause))
                await trio.sleep(pause)
        raise Unavailable(f"POST {url}: {last}")


def _detail(response: httpx.Response) -> str:
    """Return what a problem document says, or the start of whatever came instead."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
