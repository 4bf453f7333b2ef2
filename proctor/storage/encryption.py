"""Encryption of dumps at rest: files in the format of age, written and read as streams.

The format (age-encryption.org/v1) is public, so who has a key needs no Proctor to read a dump: `age
--decrypt -i KEYFILE`. It is cut into chunks of 64 KiB, each authenticated; part of a file never passes for
all of it. The library reads from one file and writes to another, so it works in a thread, at the other end of
a pipe.
"""

import errno
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO, Self, cast

import pyrage
from pydantic import ValidationError
from pydantic_settings import SettingsError

from proctor.errors import Misconfigured, Unavailable
from proctor.settings import Settings

SUFFIX = ".age"
_MAGIC = b"age-encryption.org/v1\n"
_SETTING = "dump_encryption_key"
_AS_THEY_ARE: dict[str, Any] = {}


class DumpKeys:
    """What dumps are encrypted with (the newest), and what opens them (any). None at all: they are plain."""

    def __init__(self, text: str = "") -> None:
        """Read the keys, newest first. Raises Misconfigured, which shows none of them."""
        self.identities: list[pyrage.x25519.Identity] = []
        for number, key in enumerate(filter(None, re.split(r"[\s,]+", text)), 1):
            try:
                self.identities.append(pyrage.x25519.Identity.from_str(key))
            except pyrage.IdentityError as error:
                detail = f"key {number} is no secret age key; `proctor dump key` makes one"
                raise Misconfigured(detail, field=_SETTING) from error

    def __bool__(self) -> bool:
        return bool(self.identities)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the keys of the settings. Raises Misconfigured."""
        return cls(settings.dump_encryption_key.get_secret_value())

    @classmethod
    def configured(cls) -> Self:
        """Return those of the environment, for who has no settings at hand. Raises Misconfigured."""
        try:
            return cls.of(Settings(**_AS_THEY_ARE))
        except ValidationError as error:
            names = ", ".join(str(fault["loc"][0]).upper() for fault in error.errors())
            raise Misconfigured(f"mend these settings first: {names}") from error
        except SettingsError as error:
            raise Misconfigured(str(error)) from error


def new_key() -> str:
    """Make a secret key."""
    return str(pyrage.x25519.Identity.generate())


class Encrypting:
    """Takes what is to be encrypted into a file with the newest key. Blocks."""

    def __init__(self, file: BinaryIO, keys: DumpKeys) -> None:
        source, sink = os.pipe()
        self._sink = os.fdopen(sink, "wb")
        newest = [keys.identities[0].to_public()]

        def encrypt() -> None:
            with os.fdopen(source, "rb") as plain:
                pyrage.encrypt_io(plain, file, newest)

        self._task = _Task(encrypt)

    def write(self, data: bytes) -> None:
        """Take more of it. Raises OSError if the file refuses."""
        with self._told():
            self._sink.write(data)

    def close(self) -> None:
        """Write the end. The file stays open. Raises OSError if the file refuses."""
        with self._told():
            self._sink.close()
        self._task.end()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell who writes to the pipe why nobody reads from it any more."""
        try:
            yield
        except BrokenPipeError:
            self._task.end()
            raise


class _Task:
    """A call in a thread of its own, and how it failed."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.failure: BaseException | None = None

        def run() -> None:
            try:
                call()
            except BaseException as failure:  # noqa: BLE001 - who waits for it raises it
                self.failure = failure

        self._thread = Thread(target=run, name="dump encryption", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Wait for the end. Raises OSError, whatever has failed."""
        self._thread.join()
        if self.failure is not None:
            raise OSError(errno.EIO, str(self.failure)) from self.failure


class _Decrypting(io.RawIOBase):
    """A file's content, decrypted while it is read."""

    def __init__(self, path: Path, keys: DumpKeys) -> None:
        self._name = path.name
        source, sink = os.pipe()
        self._source = os.fdopen(source, "rb", buffering=0)

        def decrypt() -> None:
            # The pipe first: if the file is gone by now, who reads has to come to an end.
            with os.fdopen(sink, "wb") as plain, path.open("rb") as file:
                pyrage.decrypt_io(file, plain, keys.identities)

        self._task = _Task(decrypt)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        count = self._source.readinto(buffer)
        if not count:
            self._check()
        return count or 0

    def close(self) -> None:
        if not self.closed:
            self._source.close()
            with suppress(OSError):  # nobody reads on, so that it could not go on writing
                self._task.end()
        super().close()

    def _check(self) -> None:
        try:
            self._task.end()
        except OSError as failure:
            if "No matching keys" in str(failure):
                raise _locked(self._name, "has no key that opens it") from failure
            raise OSError(errno.EIO, f"it is encrypted, and damaged ({failure.strerror})") from failure


def is_encrypted(path: Path) -> bool:
    """Tell by a file's first bytes. Blocks. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def open_dump(path: Path, keys: DumpKeys | None = None) -> BinaryIO:
    """Open a dump, encrypted or not, to read what it was before. Blocks, and so does reading.

    Without `keys` an encrypted one is opened with those of the environment.

    Raises:
        OSError: the file cannot be read, or, while reading, is damaged.
        Unavailable: no key opens it; also while reading.
        Misconfigured: the environment's keys are none.
    """
    if not is_encrypted(path):
        return path.open("rb")
    opening = DumpKeys.configured() if keys is None else keys
    if not opening:
        raise _locked(path.name, "is not set")
    return cast("BinaryIO", io.BufferedReader(_Decrypting(path, opening), 2**18))


def _locked(name: str, why: str) -> Unavailable:
    detail = f"{name} is encrypted, and DUMP_ENCRYPTION_KEY {why}; add its key, nothing is lost"
    return Unavailable(detail, field=_SETTING)
