"""Leaves out what a policy does not want stored, before anything else is done with a message."""

from collections.abc import Collection

from proctor.features import VOCABULARY
from proctor.wire import Frames


def drop_features(message: Frames, names: Collection[str]) -> None:
    """Forget features of these names, as if the client had not sent them."""
    for name in names:
        for frame in message.frames:
            if isinstance(frame.features, dict):
                frame.features.pop(name, None)
            elif name in VOCABULARY:
                setattr(frame.features, name, None)
