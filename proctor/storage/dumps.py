"""Dumps: `{session_id}_frames.json`, a JSON array of stored frames in time order, one per line."""

import json
import math
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import trio

from proctor.errors import InvalidRequest, Unavailable
from proctor.model import FrameId, check_session_id
from proctor.times import ms_from_iso

CHUNK_FRAMES = 1000
CLEANUP_SECONDS = 5.0


def dump_path(directory: Path, session_id: str) -> Path:
    """Return where a session's dump is, or will be."""
    return directory / f"{check_session_id(session_id)}_frames.json"


async def write_dump(
    directory: Path, session_id: str, frames: Iterable[bytes] | AsyncIterable[bytes]
) -> Path:
    """Write the frames, in the order given, and return the dump's path once it is safe on disk.

    A reader sees a complete dump or none, also after a power cut, and only the owner may read it.
    `directory` is created if need be. Cancelled or failing, it leaves nothing behind. A plain iterable is
    drawn from in the event loop, a thousand frames at a time.

    Raises:
        Unavailable: the disk is full or refuses.
    """
    target = dump_path(directory, session_id)
    try:
        part = await trio.to_thread.run_sync(_open_part, target)
        try:
            separator = b"[\n"
            async with aclosing(_chunks(frames)) as chunks:
                async for chunk in chunks:
                    await trio.to_thread.run_sync(part.write, separator + b",\n".join(chunk))
                    separator = b",\n"
            await trio.to_thread.run_sync(_finish, part, target, b"\n]\n" if separator == b",\n" else b"[]\n")
        except BaseException:
            with trio.move_on_after(CLEANUP_SECONDS, shield=True):
                await trio.to_thread.run_sync(_discard, part)
            raise
    except OSError as error:
        raise Unavailable(f"cannot write the dump {target}: {error.strerror or error}") from error
    return target


async def remove_dump(directory: Path, session_id: str) -> None:
    """Delete a session's dump, if there is one, and what was left of writing it. Raises Unavailable."""
    target = dump_path(directory, session_id)

    def remove() -> None:
        for path in (target, *directory.glob(f".{target.name}.*")):
            path.unlink(missing_ok=True)

    try:
        await trio.to_thread.run_sync(remove)
    except OSError as error:
        raise Unavailable(f"cannot remove the dump {target}: {error.strerror or error}") from error


def _as_it_is(element: bytes, _: FrameId) -> bytes:
    return element


def read_dump(path: Path, take: Callable[[bytes, FrameId], bytes] = _as_it_is) -> list[bytes]:
    """Return a dump's frames in time order, as compact JSON objects. Blocks.

    `take` is given each frame as it stands in the file, with the id that its place in time gives it, and
    returns the frame to go on with.

    The dump need not be Proctor's own: any JSON array of objects with a `timestamp` (ISO 8601, or
    milliseconds since the epoch) will do. NaN and infinities, which are not JSON but common, become null.

    Raises:
        InvalidRequest: naming the file, and the element, counted from 0, if one is at fault; `take` may too.
    """
    try:
        elements = _elements(path)
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror or error}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{path} is no JSON array of frames: {error}") from error
    keyed = []
    for position, element in enumerate(elements):
        try:
            place = _place(element, position)
            keyed.append((*place, take(element, place)))
        except InvalidRequest as error:
            detail = f"{path}, element {position}: {error.detail}"
            raise InvalidRequest(detail, field=error.field) from error
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidRequest(f"{path}, element {position}: {error}") from error
    keyed.sort()
    return [element for _, _, element in keyed]


class _Placed(msgspec.Struct):
    timestamp: str | float
    frame_id: object = None


_decode_placed = msgspec.json.Decoder(_Placed).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _elements(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            if (elements := _lines(file)) is not None:
                return elements
        file.seek(0)
        return _array(file.read())


def _lines(file: BinaryIO) -> list[bytes] | None:
    """Read an element from each line, as `write_dump` writes them, or nothing that is laid out otherwise.

    A session of hours is so in memory only once.
    """
    if file.readline() != b"[\n":
        return None
    elements = []
    for line in file:
        line.decode()  # raises where it is no UTF-8
        more = line.endswith(b",\n")
        elements.append(msgspec.json.format(line[:-2] if more else line, indent=-1))
        if not more:
            return elements if file.read() in (b"]", b"]\n") else None
    return None


def _array(data: bytes) -> list[bytes]:
    try:
        data.decode()
        return [bytes(raw) for raw in _decode_array(msgspec.json.format(data, indent=-1))]
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        # What is wrong may be only what other tools write; and if not, json says where in the file it is.
        value = json.loads(data, parse_float=_finite, parse_constant=lambda _: None)
    array = msgspec.convert(value, list[Any])
    return [json.dumps(element, separators=(",", ":")).encode() for element in array]


def _place(element: bytes, position: int) -> FrameId:
    """Where a frame belongs: by event time, then by arrival number if it has one, else as it stood."""
    placed = _decode_placed(element)
    stamp = placed.timestamp
    try:
        time_ms = ms_from_iso(stamp) if isinstance(stamp, str) else round(stamp)
    except (ValueError, OverflowError) as error:
        detail = f"timestamp: {stamp!r} is neither ISO 8601 nor milliseconds since the epoch"
        raise InvalidRequest(detail, field="timestamp") from error
    try:
        return FrameId(time_ms, FrameId.parse(str(placed.frame_id)).number)
    except ValueError:
        return FrameId(time_ms, position)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


async def _chunks(frames: Iterable[bytes] | AsyncIterable[bytes]) -> AsyncGenerator[list[bytes], None]:
    if isinstance(frames, Iterable):
        source = iter(frames)
        while chunk := list(islice(source, CHUNK_FRAMES)):
            yield chunk
        return
    chunk = []
    async for frame in frames:
        chunk.append(frame)
        if len(chunk) == CHUNK_FRAMES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _open_part(target: Path) -> BinaryIO:
    """Make a file that only its owner may use, next to `target`, so that it can be renamed to it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    return Path(name).open("wb")


def _finish(part: BinaryIO, target: Path, ending: bytes) -> None:
    with part:
        part.write(ending)
        part.flush()
        os.fsync(part.fileno())
    Path(part.name).replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _discard(part: BinaryIO) -> None:
    try:
        part.close()
    finally:
        Path(part.name).unlink(missing_ok=True)
