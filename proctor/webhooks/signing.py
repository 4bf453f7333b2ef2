"""Signatures as Standard Webhooks has them: https://www.standardwebhooks.com

HMAC-SHA256 of `{id}.{timestamp}.{body}` under a secret that each endpoint has of its own. Both sides need it
as it is, so unlike an API key it is kept as it is.
"""

import base64
import hashlib
import hmac
import secrets

SECRET_BYTES = 32
_PREFIX = "whsec_"


def make_secret() -> str:
    """Return a new secret as receivers are given it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed_headers(secret: str, message_id: str, sent_at: int, body: bytes) -> dict[str, str]:
    """Return the headers by which a receiver knows the message; `sent_at` is in seconds since the epoch.

    The time is that of the attempt, so that an old message which somebody has kept shows its age.
    """
    content = b"%b.%d.%b" % (message_id.encode(), sent_at, body)
    digest = hmac.digest(base64.b64decode(secret.removeprefix(_PREFIX)), content, hashlib.sha256)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
