"""`proctor erase` and `proctor export`, which ask a running server."""

import os
import tempfile
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx
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
        kind, name = ("session", session) if session is not None else ("candidate", candidate)
        answer = _ask("DELETE", url, f"/api/v1/{kind}/{quote(name or '', safe='')}")
    erased = answer.json()["sessions"] if kind == "candidate" else [name]
    count = f"{len(erased)} session{'' if len(erased) == 1 else 's'}"
    console.print(f"erased {count}:", *erased, sep="\n  ", markup=False)


def export(
    candidate: Annotated[str, typer.Option(help="Whose data.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file to write, for its owner only.")],
    url: _Url = "http://127.0.0.1:8000",
) -> None:
    """Write everything that is kept about a candidate into a file."""
    with mistakes_told():
        address = f"{url.rstrip('/')}/api/v1/candidate/{quote(candidate, safe='')}"
        written = 0
        try:
            with httpx.stream("GET", address, headers=authorization(), timeout=_SECONDS) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refused(answer)
                handle, part = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
                with os.fdopen(handle, "wb") as file:
                    for chunk in answer.iter_bytes():
                        written += file.write(chunk)
                Path(part).replace(output)  # whole or not at all
        except httpx.TransportError as failure:
            raise Unavailable(f"{address}: {failure}") from failure
        except OSError as failure:
            raise InvalidRequest(f"cannot write {output}: {failure.strerror}") from failure
    console.print(f"{output}: {written} bytes", markup=False)


def _ask(method: str, url: str, path: str) -> httpx.Response:
    address = url.rstrip("/") + path
    try:
        answer = httpx.request(method, address, headers=authorization(), timeout=_SECONDS)
    except httpx.TransportError as failure:
        raise Unavailable(f"{address}: {failure}") from failure
    if not answer.is_success:
        raise _refused(answer)
    return answer


def _refused(answer: httpx.Response) -> Exception:
    try:
        problem: dict[str, Any] = answer.json()
    except ValueError:
        problem = {"detail": f"the answer is {answer.status_code}; is this a Proctor server?"}
    kind = Unavailable if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR else InvalidRequest
    return kind(str(problem.get("detail")))
