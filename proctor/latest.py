"""What is remembered of the latest few thousand, so that nobody fills the memory by being many."""

from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """Values by name, at most so many: the one that was put there longest ago makes room."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[str, T] = {}
        """The one put there last at the end."""

    def get(self, name: str) -> T | None:
        """Return the value of a name, if it is remembered."""
        return self._values.get(name)

    def put(self, name: str, value: T) -> None:
        """Remember a value."""
        self._values.pop(name, None)
        self._values[name] = value
        if len(self._values) > self._most:
            del self._values[next(iter(self._values))]

    def forget(self, name: str) -> None:
        """Remember nothing of a name."""
        self._values.pop(name, None)
