"""`proctor audit`: who did what, and whether the record of it is intact."""

import json
from typing import Annotated, Literal

import msgspec
import trio
import typer

from proctor.audit import PAGE_ENTRIES, Action, Verification
from proctor.chain import Entry, Head
from proctor.cli.console import mistakes_told, read_settings
from proctor.errors import InvalidRequest
from proctor.times import iso_from_ms, ms_from_iso

app = typer.Typer(no_args_is_help=True, help="The audit trail: who did what, and whether that is intact.")


@app.command()
def verify(
    head: Annotated[
        str | None,
        typer.Option(metavar="NUMBER:HASH", help="A head printed earlier: is it still there, unchanged?"),
    ] = None,
) -> None:
    """Check that no entry was changed, removed or inserted, and print the last one's number and hash.

    Entries cut off the end, or all of them written anew, show only against a head: note it elsewhere.

    Exits with 0 if all is intact, 1 if not, and 2 if it could not be checked.
    """
    from proctor.storage.audit_log import open_audit

    settings = read_settings()

    async def check() -> Verification:
        noted = None if head is None else Head.parse(head)
        async with open_audit(settings) as audit:
            return await audit.verify(noted)

    with mistakes_told():
        found = trio.run(check)
    entries = found.head.number - found.start.number
    count = f"{entries} {'entry' if entries == 1 else 'entries'}"
    if found.fault is None:
        typer.echo(f"{count}, intact, head {found.head}")
        if found.vouched_by is not None:
            typer.echo(
                f"from entry {found.start.number + 1} on: those before were removed when their time was "
                f"over, as entry {found.vouched_by} says"
            )
        return
    typer.echo(printable(f"entry {found.fault.number} {found.fault.reason}"))
    typer.echo(f"{count} before it, intact, head {found.head}")
    raise typer.Exit(1)


@app.command("list")
def list_(
    subject: Annotated[str | None, typer.Option(help="Only on this session, key, policy …")] = None,
    candidate: Annotated[str | None, typer.Option(help="Only on the candidate of this id.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only by this key or person.")] = None,
    action: Annotated[Action | None, typer.Option(help="Only what was done so.")] = None,
    since: Annotated[str | None, typer.Option(help="Only from this time on: ISO 8601, else UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most entries.")] = 50,
    form: Annotated[
        Literal["text", "json"], typer.Option("--format", help="json: an object per line, for programs.")
    ] = "text",
) -> None:
    """Print entries, newest first; as they are, whether the trail is intact or not.

    Exits with 0, also if there are none, and with 2 if they could not be read.
    """
    from proctor.storage.audit_log import open_audit

    settings = read_settings()
    write = as_json if form == "json" else as_text

    async def run() -> None:
        since_ms = None if since is None else _moment(since)
        if subject is not None and candidate is not None:
            raise InvalidRequest("--candidate and --subject are two subjects; give one", field="candidate")
        async with open_audit(settings) as audit:
            left, before = limit, None
            while left > 0:
                page = await audit.entries(
                    subject=subject,
                    candidate=candidate,
                    actor=actor,
                    action=action,
                    since_ms=since_ms,
                    before=before,
                    limit=min(left, PAGE_ENTRIES),
                )
                for entry in page:
                    typer.echo(write(entry))
                if len(page) < PAGE_ENTRIES:
                    return
                left, before = left - len(page), page[-1].number

    with mistakes_told():
        trio.run(run)


def as_json(entry: Entry) -> str:
    """Return one line of JSON: all fields, `before` and `after` as the very texts that the hash is of.

    It is ASCII without control characters, whatever is in the entry.
    """
    return json.dumps(msgspec.to_builtins(entry))


def as_text(entry: Entry) -> str:
    """Return one line for people."""
    try:
        at = iso_from_ms(entry.at_ms)
    except (TypeError, ValueError, OverflowError):
        at = str(entry.at_ms)  # no time that the server could have recorded
    origin = "" if entry.address is None else f" from {entry.address}"
    line = f"{entry.number}  {at}  {entry.action} {entry.subject} by {entry.actor}{origin}"
    if entry.before is not None or entry.after is not None:
        line += f": {entry.before or 'nothing'} → {entry.after or 'nothing'}"
    return printable(line)


def printable(text: str) -> str:
    r"""Return the text with `\u001b` and the like for what would not show or change how the rest does."""
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def _moment(text: str) -> int:
    try:
        return ms_from_iso(text)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(
            "--since: no ISO 8601 time, such as 2026-01-05T09:00:00Z", field="since"
        ) from error
