"""What every answer tells browsers to refuse, whatever it holds."""

from quart import Quart, Response

HEADERS = {
    # Pages take everything from this server, run no script that stands in a page, and stand in no other page.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    # Answers are about people, and are theirs who asked.
    "Cache-Control": "no-store",
}


def harden(app: Quart) -> None:
    """Add the headers to every answer, also to those of errors, but for what a route knows better."""

    @app.after_request
    async def add(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response
