"""What every answer tells browsers to refuse, whatever it holds."""

from quart import Quart, Response

HEADERS = {
    # Pages take everything from this server, run no script that stands in a page, and stand in no other page.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`, with which the forms of our own pages would come from nowhere (`Origin: null`).
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def harden(app: Quart) -> None:
    """Add the headers to every answer, also to those of errors."""

    async def add(response: Response | None) -> Response | None:
        if response is not None:
            response.headers.update(HEADERS)
            # Answers are about people, and are theirs who asked; files of our own say that they are not.
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    app.after_request(add)
    app.after_websocket(add)  # type: ignore[type-var]
