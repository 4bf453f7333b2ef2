"""JSON from clients: UTF-8, of bounded depth, and without what a store or another parser would refuse."""

import json
import re
from typing import Any

import msgspec

DEPTH_MAX = 32
"""Most levels of arrays and objects, so that whoever reads the value again can recurse into it."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_CONSTANT = re.compile("NaN|Infinity")
_PLACE = re.compile(r" - at `\$\.?(?P<path>.*)`$")


def place_and_fault(error: msgspec.ValidationError) -> tuple[str, str]:
    """Return where in a value msgspec found a mistake, e.g. `rules[2].name` or nothing, and which."""
    match = _PLACE.search(str(error))
    return (match["path"] if match else "", _PLACE.sub("", str(error)))


def parse(data: bytes | str) -> Any:
    """Parse strictly, except that the tokens NaN and Infinity, which some clients write, become null.

    Raises:
        ValueError: with the reason.
    """
    try:
        value = _decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as failure:
        try:
            value = _parse_with_constants(data)
        except (ValueError, RecursionError):
            raise ValueError(f"not UTF-8 JSON: {failure}") from None
    if _is_deep(data, value):
        raise ValueError(f"nested more than {DEPTH_MAX} levels deep")
    return value


def _parse_with_constants(data: bytes | str) -> Any:
    text = data.decode() if isinstance(data, bytes) else data
    if not _CONSTANT.search(text):
        raise ValueError("not refused for its constants")
    value = json.loads(text, parse_constant=lambda _: None)
    _encode(value)  # json lets lone surrogates pass, which no store takes
    return value


def _is_deep(data: bytes | str, value: Any) -> bool:
    brackets = (
        data.count("[") + data.count("{") if isinstance(data, str) else data.count(b"[") + data.count(b"{")
    )
    if brackets <= DEPTH_MAX:
        return False  # most messages, without a look at their values
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [child for parent in level for child in _children(parent) if isinstance(child, (dict, list))]
    return bool(level)


def _children(parent: Any) -> Any:
    if isinstance(parent, dict):
        return parent.values()
    return parent if isinstance(parent, list) else ()
