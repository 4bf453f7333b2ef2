"""`proctor webhooks`: which addresses are told what happens."""

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

from proctor.audit import Audit, Who
from proctor.cli.console import console, errors, mistakes_told, read_settings
from proctor.errors import InvalidRequest
from proctor.times import iso_from_ms
from proctor.webhooks.events import EventType

if TYPE_CHECKING:  # what it brings would slow down every other command
    from proctor.storage.webhooks import Webhook
    from proctor.webhooks.registry import Registry

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Addresses that are told what happens.")


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="https://… that takes a POST.")],
    event: Annotated[
        list[str] | None, typer.Option(help="What it is told, e.g. session.ended; may be repeated.")
    ] = None,
) -> None:
    """Have an address told what happens, and print what its receiver verifies with; never shown again."""
    with mistakes_told():
        events = _events(event or [])
    webhook = _with_registry(lambda registry: registry.add(url, events, _who()))
    errors.print(f"webhook {webhook.webhook_id}; its secret:")
    # On standard output there is the secret alone, so that it can be piped to where secrets are kept.
    typer.echo(webhook.secret)


@app.command(name="list")
def list_webhooks(
    output: Annotated[Literal["text", "json"], typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """List the addresses and what they are told."""
    webhooks = list(map(_described, _with_registry(lambda registry: registry.all())))
    if output == "json":
        console.print_json(msgspec.json.encode(webhooks).decode())
        return
    table = Table(Column("id", no_wrap=True), "address", "events", "added", "state", box=SIMPLE)
    for said in webhooks:
        table.add_row(*(escape(str(said[name])) for name in ("id", "url", "events", "created_at", "state")))
    console.print(table)


@app.command()
def remove(webhook_id: Annotated[str, typer.Argument(help="As `proctor webhooks list` shows it.")]) -> None:
    """Tell an address nothing more."""
    _with_registry(lambda registry: registry.remove(webhook_id, _who()))
    console.print(f"{webhook_id} is removed", markup=False)


@app.command()
def test(webhook_id: Annotated[str, typer.Argument(help="As `proctor webhooks list` shows it.")]) -> None:
    """Send an address the event webhook.test, and exit with 1 if it does not arrive."""
    outcome = _with_registry(lambda registry: registry.test(webhook_id))
    if not outcome.delivered:
        errors.print(f"not delivered: {outcome.reason}", markup=False)
        raise typer.Exit(1)
    console.print(f"delivered; it answered {outcome.status}")


def _with_registry(task: Callable[["Registry"], Awaitable[T]]) -> T:
    from proctor.storage.audit_log import AuditLog
    from proctor.storage.pool import open_pool
    from proctor.storage.webhooks import Webhooks
    from proctor.webhooks.addresses import Addresses
    from proctor.webhooks.registry import Registry
    from proctor.webhooks.sender import Sender

    settings = read_settings()

    async def main() -> T:
        async with open_pool(settings) as pool:
            sender = Sender(Addresses(settings.webhook_private_networks))
            return await task(Registry(Webhooks(pool), sender, Audit(AuditLog(pool), _now_ms), _now_ms))

    with mistakes_told():
        return trio.run(main)


def _events(names: list[str]) -> list[EventType]:
    known = {each.value for each in EventType}
    if unknown := sorted(set(names) - known):
        raise InvalidRequest(f"{unknown[0]!r} is no event; there are {', '.join(sorted(known))}")
    return list(map(EventType, names))


def _described(webhook: "Webhook") -> dict[str, str]:
    return {
        "id": webhook.webhook_id,
        "url": webhook.url,
        "events": ", ".join(webhook.events),
        "created_at": iso_from_ms(webhook.created_ms),
        "state": "told" if webhook.disabled_ms is None else "disabled, for it answered 410",
    }


def _who() -> Who:
    return Who(actor=getpass.getuser(), address="console")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
