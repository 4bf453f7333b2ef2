"""`proctor erase` and `proctor export`, which ask a running server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO
from urllib.parse import quote

import httpx
import msgspec
import typer

from proctor.access.holder import VARIABLE, authorization
from proctor.cli.console import console, mistakes_told
from proctor.errors import InvalidRequest, Unavailable

_SECONDS = 300.0
"""A session that still runs is ended first, and a report may take a while."""

_Url = Annotated[str, typer.Option(help=f"The server's address; its key is taken from {VARIABLE}.")]


def erase(
    session: Annotated[str | None, typer.Option(help="Erase this session.")] = None,
    candidate: Annotated[str | None, typer.Option(help="Erase all sessions of this candidate.")] = None,
    url: _Url = "http://127.0.0.1:8000",
) -> None:
    """Erase everything about a session or a candidate, for good. Sessions that run are ended first."""
    with mistakes_told():
        if (session is None) == (candidate is None):
            raise InvalidRequest("say either --session or --candidate")
        kind, name = ("session", session) if session is not None else ("candidate", candidate or "")
        with _asked("DELETE", url, kind, name) as answer:
            said = answer.read()
    erased = msgspec.json.decode(said)["sessions"] if kind == "candidate" else [name]
    count = f"{len(erased)} session{'' if len(erased) == 1 else 's'}"
    console.print(f"erased {count}:", *erased, sep="\n  ", markup=False)


def export(
    candidate: Annotated[str, typer.Option(help="Whose data.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file to write, for its owner only.")],
    url: _Url = "http://127.0.0.1:8000",
) -> None:
    """Write everything that is kept about a candidate into a file."""
    part = output.with_name(f".{output.name}.part")
    with mistakes_told():
        try:
            with _asked("GET", url, "candidate", candidate) as answer, _opened(part) as file:
                written = sum(map(file.write, answer.iter_bytes()))
            part.replace(output)  # whole or not at all
        except OSError as failure:
            raise InvalidRequest(f"cannot write {output}: {failure.strerror}") from failure
        finally:
            part.unlink(missing_ok=True)
    console.print(f"{output}: {written} bytes", markup=False)


def _opened(part: Path) -> BinaryIO:
    """Open a file that is new and its owner's."""
    part.unlink(missing_ok=True)
    return os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


@contextmanager
def _asked(method: str, url: str, kind: str, name: str) -> Iterator[httpx.Response]:
    """Ask the server about a session or candidate, and let the answer be read."""
    address = f"{url.rstrip('/')}/api/v1/{kind}/{quote(name, safe='')}"
    try:
        with httpx.stream(method, address, headers=authorization(), timeout=_SECONDS) as answer:
            if not answer.is_success:
                answer.read()
                raise _refused(answer)
            yield answer
    except httpx.TransportError as failure:
        raise Unavailable(f"{address}: {failure}") from failure


def _refused(answer: httpx.Response) -> Exception:
    try:
        problem: dict[str, Any] = answer.json()
    except ValueError:
        problem = {"detail": f"the answer is {answer.status_code}; is this a Proctor server?"}
    kind = Unavailable if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR else InvalidRequest
    return kind(str(problem.get("detail")))
