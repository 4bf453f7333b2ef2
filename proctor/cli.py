"""The command line: serve | demo | simulate | plugins | db."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import trio
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from proctor import __version__
from proctor.errors import ProctorError
from proctor.logs import set_up_logging
from proctor.settings import Settings

# Each command imports what it runs when it is called, so that `--help` and mistakes are answered at once.

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Self-hosted exam proctoring server.",
)
db = typer.Typer(no_args_is_help=True, help="The database's schema.")
app.add_typer(db, name="db")
_console = Console(highlight=False, soft_wrap=True)
_errors = Console(stderr=True, highlight=False, soft_wrap=True)

_EXIT_MISCONFIGURED = 2

_Host = Annotated[str | None, typer.Option(help="Address to listen on; overrides HOST.")]
_Port = Annotated[int | None, typer.Option(help="Port to listen on, 0 for a free one; overrides PORT.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        _console.print(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@contextmanager
def _mistakes_told() -> Iterator[None]:
    """Tell mistakes of the operator in one line on standard error, and exit with 2."""
    try:
        yield
    except* ProctorError as group:
        for failure in _leaves(group):
            _errors.print(f"[red]{failure.title}:[/] {failure.detail}")
        raise typer.Exit(_EXIT_MISCONFIGURED) from None


def _leaves(group: BaseExceptionGroup[ProctorError]) -> Iterator[ProctorError]:
    for member in group.exceptions:
        if isinstance(member, BaseExceptionGroup):
            yield from _leaves(member)
        else:
            yield member


def _settings(**overrides: Any) -> Settings:
    """Read the settings, with what the command line overrides, and set up logging by them."""
    try:
        settings = Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as failure:
        for fault in failure.errors():
            name = ".".join(map(str, fault["loc"])).upper()
            _errors.print(f"[red]Misconfigured:[/] {name}: {fault['msg']}")
        raise typer.Exit(_EXIT_MISCONFIGURED) from None
    set_up_logging(settings.log_format, settings.log_level)
    return settings


@app.command()
def serve(host: _Host = None, port: _Port = None) -> None:
    """Run the server until SIGTERM or Ctrl+C.

    Every setting comes from the environment or `.env`; the README lists them.
    """
    from proctor.main import run, run_until_signal

    settings = _settings(host=host, port=port)

    async def main(shutdown: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(partial(run, settings, shutdown=shutdown))
            _console.print(f"Proctor serves on {url} (documentation: {url}/docs)")

    with _mistakes_told():
        trio.run(run_until_signal, main)


@app.command()
def plugins() -> None:
    """List the installed analyzers."""
    from proctor.analysis.discovery import discover

    settings = _settings()
    with _mistakes_told():
        analyzers = discover(settings.required_analyzers)
    table = Table("rule", "title", "plugin", "version", "contract")
    for found in analyzers:
        plugin, analyzer = found
        table.add_row(plugin.name, analyzer.title, plugin.package, plugin.version, str(analyzer.api_version))
    _console.print(table)


@db.command()
def upgrade() -> None:
    """Bring the database's schema up to date."""
    from proctor.storage.schema import upgrade_schema

    settings = _settings()
    with _mistakes_told():
        status = trio.run(upgrade_schema, settings)
    _console.print(f"schema is {status.state} (revision {status.revision})")


@db.command()
def status() -> None:
    """Tell whether the database's schema is up to date; exit 1 if not."""
    from proctor.storage.schema import SchemaState, schema_status

    settings = _settings()
    with _mistakes_told():
        found = trio.run(schema_status, settings)
    _console.print(f"schema is {found.state} (revision {found.revision}, latest {found.latest})")
    if found.state is not SchemaState.CURRENT:
        raise typer.Exit(1)
