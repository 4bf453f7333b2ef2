"""Dumps: `{session_id}_frames.json`, a JSON array of stored frames in time order, one per line.

Encrypted, it is `{session_id}_frames.json.age`, and inside the very same.
"""

import json
import math
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import trio

from proctor.errors import InvalidRequest, Unavailable
from proctor.model import FrameId, check_session_id
from proctor.storage.encryption import SUFFIX, DumpKeys, Encrypting, is_encrypted, open_dump
from proctor.times import ms_from_iso

CHUNK_FRAMES = 1000
CLEANUP_SECONDS = 5.0
_COPY_BYTES = 2**18


def dump_path(directory: Path, session_id: str, *, encrypted: bool = False) -> Path:
    """Return where a session's dump is, or will be."""
    return directory / f"{check_session_id(session_id)}_frames.json{SUFFIX if encrypted else ''}"


def find_dump(directory: Path, session_id: str) -> Path | None:
    """Return where a session's dump is, encrypted or not. Blocks."""
    places = (dump_path(directory, session_id, encrypted=encrypted) for encrypted in (True, False))
    return next((path for path in places if path.exists()), None)


def dump_name(path: Path) -> str:
    """Return what a dump is called: its session's id, if it is where a server has put it."""
    return Path(path.name.removesuffix(SUFFIX)).stem.removesuffix("_frames")


async def write_dump(
    directory: Path,
    session_id: str,
    frames: Iterable[bytes] | AsyncIterable[bytes],
    keys: DumpKeys | None = None,
) -> Path:
    """Write the frames, in the order given, and return the dump's path once it is safe on disk.

    A reader sees a complete dump or none, also after a power cut, and only the owner may read it. With `keys`
    nothing of it ever reaches the disk unencrypted.
    `directory` is created if need be. Cancelled or failing, it leaves nothing behind. A plain iterable is
    drawn from in the event loop, a thousand frames at a time.

    Raises:
        Unavailable: the disk is full or refuses.
    """
    target = dump_path(directory, session_id, encrypted=bool(keys))
    try:
        part = await trio.to_thread.run_sync(_Part, target, keys)
        try:
            separator = b"[\n"
            async with aclosing(_chunks(frames)) as chunks:
                async for chunk in chunks:
                    await trio.to_thread.run_sync(part.write, separator + b",\n".join(chunk))
                    separator = b",\n"
            ending = b"\n]\n" if separator == b",\n" else b"[]\n"
            await trio.to_thread.run_sync(part.finish, target, ending)
        except BaseException:
            with trio.move_on_after(CLEANUP_SECONDS, shield=True):
                await trio.to_thread.run_sync(part.discard)
            raise
        other = dump_path(directory, session_id, encrypted=not keys)
        await trio.to_thread.run_sync(partial(other.unlink, missing_ok=True))
    except OSError as error:
        raise Unavailable(f"cannot write the dump {target}: {error.strerror or error}") from error
    return target


async def remove_dump(directory: Path, session_id: str) -> None:
    """Delete a session's dump, if there is one, and what was left of writing it. Raises Unavailable."""
    target = dump_path(directory, session_id)

    def remove() -> None:
        encrypted = dump_path(directory, session_id, encrypted=True)
        for path in (target, encrypted, *directory.glob(f".{target.name}.*")):
            path.unlink(missing_ok=True)

    try:
        await trio.to_thread.run_sync(remove)
    except OSError as error:
        raise Unavailable(f"cannot remove the dump {target}: {error.strerror or error}") from error


def _as_it_is(element: bytes, _: FrameId) -> bytes:
    return element


def read_dump(
    path: Path, take: Callable[[bytes, FrameId], bytes] = _as_it_is, keys: DumpKeys | None = None
) -> list[bytes]:
    """Return a dump's frames in time order, as compact JSON objects. Blocks.

    `take` is given each frame as it stands in the file, with the id that its place in time gives it, and
    returns the frame to go on with. An encrypted dump is opened with `keys`, else those of the environment.

    The dump need not be Proctor's own: any JSON array of objects with a `timestamp` (ISO 8601, or
    milliseconds since the epoch) will do. NaN and infinities, which are not JSON but common, become null.

    Raises:
        InvalidRequest: naming the file, and the element, counted from 0, if one is at fault; `take` may too.
        Unavailable: it is encrypted, and no key opens it.
    """
    try:
        elements = _elements(path, keys)
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


def _elements(path: Path, keys: DumpKeys | None) -> list[bytes]:
    with suppress(msgspec.DecodeError, UnicodeDecodeError), open_dump(path, keys) as file:
        if (elements := _lines(file)) is not None:
            return elements
    with open_dump(path, keys) as file:
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


def decrypt_dump(path: Path, target: Path, keys: DumpKeys) -> None:
    """Write what an encrypted dump holds to `target`, for its owner only, whole or not at all. Blocks.

    Raises:
        InvalidRequest: it cannot be read, is not encrypted or damaged, or `target` is there or refuses.
        Unavailable: no key opens it.
    """
    try:
        if not is_encrypted(path):
            raise InvalidRequest(f"{path} is not encrypted")
        if target.exists():
            raise InvalidRequest(f"{target} is there already; name another with --output")
        part = _Part(target, None)
        try:
            with open_dump(path, keys) as file:
                while chunk := file.read(_COPY_BYTES):
                    part.write(chunk)
            part.finish(target, b"")
        except BaseException:
            part.discard()
            raise
    except OSError as error:
        raise InvalidRequest(f"cannot decrypt {path} to {target}: {error.strerror or error}") from error


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


class _Part:
    """A file that only its owner may use, next to `target`, so that it can be renamed to it. Blocks."""

    def __init__(self, target: Path, keys: DumpKeys | None) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        self._path = Path(name)
        self._file = os.fdopen(handle, "wb")
        self._encrypting = Encrypting(self._file, keys) if keys else None

    def write(self, data: bytes) -> None:
        (self._encrypting or self._file).write(data)

    def finish(self, target: Path, ending: bytes) -> None:
        with self._file:
            self.write(ending)
            if self._encrypting is not None:
                self._encrypting.close()
            self._file.flush()
            os.fsync(self._file.fileno())
        self._path.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def discard(self) -> None:
        try:
            if self._encrypting is not None:
                with suppress(OSError):
                    self._encrypting.close()
            self._file.close()
        finally:
            self._path.unlink(missing_ok=True)
