"""When a delivery that failed is tried again."""

import random

ATTEMPTS_MAX = 12
"""With the pauses below, the last attempt is about a day after the first."""
_FIRST_SECONDS = 5.0
_FACTOR = 3.0
_LONGEST_SECONDS = 6 * 3600.0
_JITTER = 0.25


def pause_seconds(attempts: int) -> float | None:
    """Return how long to wait after so many attempts; None when it is to be given up.

    5 s, 15 s, 45 s … up to 6 h, each a quarter longer or shorter at random: what failed together does not
    come back together.
    """
    if attempts >= ATTEMPTS_MAX:
        return None
    plain = min(_FIRST_SECONDS * _FACTOR ** (attempts - 1), _LONGEST_SECONDS)
    return plain * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, keeps no secret
