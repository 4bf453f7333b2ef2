"""How programs of Proctor's own bring their key."""

import os

VARIABLE = "PROCTOR_KEY"


def authorization() -> dict[str, str]:
    """Return the headers of whoever has a key in the environment; arguments are for everybody to see."""
    key = os.environ.get(VARIABLE)
    return {"Authorization": f"Bearer {key}"} if key else {}
