"""`proctor keys`: who may use the server."""

import getpass
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec
import trio
import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Column, Table

from proctor.access.keys import ApiKey, make_key
from proctor.access.roles import STAFF, Role
from proctor.access.tokens import make_signing_key
from proctor.audit import Action, Audit, Who
from proctor.cli.console import console, mistakes_told, read_settings
from proctor.errors import InvalidRequest
from proctor.times import iso_from_ms

if TYPE_CHECKING:  # what it brings would slow down every other command
    from proctor.storage.credentials import Credentials

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="API keys, and what candidate tokens are signed with.")

_DAY_MS = 24 * 3600 * 1000


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is or what for; shown wherever it is used.")],
    role: Annotated[
        list[str], typer.Option(help="integration, proctor, reviewer or admin; may be repeated.")
    ],
    expires_days: Annotated[
        int | None, typer.Option(min=1, help="After so many days it opens nothing; never by default.")
    ] = None,
) -> None:
    """Make an API key and print it; it is never shown again. The first one turns authentication on."""

    async def add(credentials: "Credentials", audit: Audit) -> str:
        now_ms = _now_ms()
        expires_ms = None if expires_days is None else now_ms + expires_days * _DAY_MS
        text, key = make_key(name, _roles(role), now_ms=now_ms, expires_ms=expires_ms)
        what = {"name": name, "roles": sorted(key.roles), "expires_ms": expires_ms}
        await audit.record(Action.KEY_CREATED, key.key_id, **_who(), after=what)
        await credentials.add_key(key)
        return str(text)

    # On standard output there is the key alone, so that it can be piped to where secrets are kept.
    typer.echo(_with_credentials(add))


@app.command(name="list")
def list_keys(
    output: Annotated[Literal["text", "json"], typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """List all keys, also those that were revoked or have expired."""
    keys = _with_credentials(lambda credentials, _: credentials.keys())
    now_ms = _now_ms()
    if output == "json":
        console.print_json(msgspec.json.encode([_described(key, now_ms) for key in keys]).decode())
        return
    table = Table(Column("id", no_wrap=True), "name", "roles", "created", "last used", "state", box=SIMPLE)
    for key in keys:
        said = _described(key, now_ms)
        cells = (said[name] for name in ("id", "name", "roles", "created_at", "last_used_at", "state"))
        table.add_row(*map(_shown, cells))
    console.print(table)


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="As `proctor keys list` shows it.")]) -> None:
    """Have a key open nothing any more. Running servers know within five seconds."""

    async def end(credentials: "Credentials", audit: Audit) -> ApiKey:
        key = await credentials.revoke_key(key_id, _now_ms())
        await audit.record(Action.KEY_REVOKED, key_id, **_who())
        return key

    key = _with_credentials(end)
    console.print(f"{key.key_id} ({_shown(key.name)}) is revoked")


@app.command()
def rotate(
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Make the tokens that are out void, also of running exams.")
    ] = False,
) -> None:
    """Sign candidate tokens with a new key. Those signed with earlier ones stay valid until they expire."""
    settings = read_settings()

    async def renew(credentials: "Credentials", audit: Audit) -> None:
        now_ms = _now_ms()
        signing = make_signing_key(now_ms)
        await audit.record(Action.KEY_CREATED, signing.kid, **_who(), after={"signs": "candidate tokens"})
        await credentials.add_signing_key(signing)
        lifetime_ms = 1000 * max(settings.candidate_token_seconds, settings.transparency_link_seconds)
        await credentials.remove_signing_keys(now_ms + 1 if at_once else now_ms - lifetime_ms)

    _with_credentials(renew)
    console.print("candidate tokens are signed with a new key")


def _with_credentials(task: Callable[["Credentials", Audit], Awaitable[T]]) -> T:
    from proctor.storage.audit_log import AuditLog
    from proctor.storage.credentials import Credentials
    from proctor.storage.pool import open_pool

    settings = read_settings()

    async def main() -> T:
        async with open_pool(settings) as pool:
            return await task(Credentials(pool), Audit(AuditLog(pool), _now_ms))

    with mistakes_told():
        return trio.run(main)


def _roles(names: list[str]) -> frozenset[Role]:
    if unknown := sorted(set(names) - STAFF):
        known = ", ".join(sorted(STAFF))
        raise InvalidRequest(f"{unknown[0]!r} is no role that a key may have; there are {known}")
    return frozenset(map(Role, names))


def _described(key: ApiKey, now_ms: int) -> dict[str, object]:
    state = "valid" if key.is_valid(now_ms) else "revoked" if key.revoked_ms is not None else "expired"
    times = {
        name.replace("_ms", "_at"): None if value is None else iso_from_ms(value)
        for name, value in msgspec.structs.asdict(key).items()
        if name.endswith("_ms")
    }
    return {"id": key.key_id, "name": key.name, "roles": sorted(key.roles), "state": state, **times}


def _shown(value: object) -> str:
    """Return what a terminal may show; names come from outside, and may hold anything."""
    match value:
        case None:
            return "never"
        case list():
            return ", ".join(value)
    return escape("".join(each if each.isprintable() else "?" for each in str(value)))


def _who() -> Who:
    return Who(actor=getpass.getuser(), address="console")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
