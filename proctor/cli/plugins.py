"""`proctor plugins`: what is installed, and new ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from proctor.cli.console import console, mistakes_told, read_settings

if TYPE_CHECKING:
    from proctor.analysis.inventory import Listed

app = typer.Typer(invoke_without_command=True, help="The installed analyzers, and new ones.")


@app.callback()
def plugins(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Write a JSON array, for programs.")] = False,
) -> None:
    """List the installed analyzers; exit 1 if a server would not start with them."""
    if context.invoked_subcommand is not None:
        return
    from proctor.analysis.inventory import inventory

    listed = inventory(read_settings().required_analyzers)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(listed)))
    else:
        _print(listed)
    if any(analyzer.problem for analyzer in listed):
        raise typer.Exit(1)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The rule's name in reports and policies, e.g. hand_busy.")],
    directory: Annotated[Path, typer.Option(help="Where its folder is made.")] = Path(),
) -> None:
    """Write a distribution with a new rule, whose tests pass as written."""
    from proctor.analysis.discovery import find_plugins
    from proctor.scaffold.distribution import write_distribution

    with mistakes_told():
        folder = write_distribution(name, directory, [plugin.name for plugin in find_plugins()])
    console.print(f"{escape(str(folder))} has a rule {name}. To try it, and to install it next to Proctor:")
    console.print(f"  cd {escape(str(folder))} && pip install -e '.[test]' && pytest", markup=False)


def _print(listed: "Sequence[Listed]") -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("rule", "title", "plugin", "version", "contract", "status"):
        # Never cut short, and titles give way first: names are there to be copied.
        table.add_column(heading, overflow="fold", no_wrap=heading != "title")
    for one in listed:
        contract = "" if one.contract is None else str(one.contract)
        cells = (one.rule, one.title, one.plugin, one.version, contract, one.status)
        table.add_row(*map(escape, cells))
    console.print(table)
    for one in listed:
        if one.problem is not None:
            console.print(f"[red]{one.status}:[/] {escape(one.problem)}")
