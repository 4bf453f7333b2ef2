"""Rows of a state that can no longer change, kept as they are encoded.

A state is taken up and put away for every few frames. Sealed rows are bytes to it, so that this costs the
same after three hours as after ten minutes; they are read only for a report.
"""

from collections.abc import Iterable
from types import GenericAlias
from typing import Any

import msgspec

_encode = msgspec.msgpack.Encoder().encode
_ARRAY_32 = b"\xdd"  # MessagePack's mark of an array, before the number of its elements in four bytes


class Sealed(msgspec.Struct, array_like=True):
    """Rows in the order in which they were added."""

    count: int = 0
    encoded: bytes = b""
    """Each row as MessagePack, one after the other."""

    def add(self, rows: Iterable[object]) -> None:
        """Add rows at the end."""
        encoded = list(map(_encode, rows))
        self.count += len(encoded)
        self.encoded += b"".join(encoded)

    def rows(self, kind: object) -> list[Any]:
        """Decode all rows, each as a `kind`."""
        head = _ARRAY_32 + self.count.to_bytes(4, "big")
        rows: list[Any] = msgspec.msgpack.decode(head + self.encoded, type=GenericAlias(list, (kind,)))
        return rows
