"""The command line: serve | demo | simulate | analyze | plugins | db."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import trio
import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proctor import __version__
from proctor.errors import ProctorError
from proctor.logs import set_up_logging
from proctor.settings import Settings

# Each command imports what it runs once its settings are read, so that mistakes are answered at once.

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
            setting = f"{failure.field.upper()}: " if failure.field in Settings.model_fields else ""
            _tell(failure.title, setting + failure.detail)
        raise typer.Exit(_EXIT_MISCONFIGURED) from None


def _tell(title: str, detail: str) -> None:
    # Escaped, for a detail may hold brackets that are no markup, such as the name of a plugin.
    _errors.print(f"[red]{title}:[/] {escape(detail)}")


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
            _tell("Misconfigured", f"{name}: {fault['msg']}")
        raise typer.Exit(_EXIT_MISCONFIGURED) from None
    except SettingsError as failure:
        _tell("Misconfigured", f'{failure}; a list is written as JSON, like ["one", "two"]')
        raise typer.Exit(_EXIT_MISCONFIGURED) from None
    set_up_logging(settings.log_format, settings.log_level)
    return settings


@app.command()
def serve(host: _Host = None, port: _Port = None) -> None:
    """Run the server until SIGTERM or Ctrl+C.

    Every setting comes from the environment or `.env`; the README lists them.
    """
    settings = _settings(host=host, port=port)
    from proctor.main import run_until_signal, start

    async def main(shutdown: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            url = await start(nursery, settings, shutdown)
            _console.print(f"Proctor serves on {url} (documentation: {url}/docs)")

    with _mistakes_told():
        trio.run(run_until_signal, main)


@app.command()
def demo(host: _Host = None, port: _Port = None) -> None:
    """Run the server with simulated exam takers on it, some honest and some not, until Ctrl+C."""
    settings = _settings(host=host, port=port)
    from proctor.main import run_until_signal, start
    from proctor.simulator.demo import run_demo_candidates

    async def main(shutdown: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            url = await start(nursery, settings, shutdown)
            _console.print(
                f"Six exam takers sit an exam on {url}.\nWho they are: {url}/api/v1/session\n"
                f"Judge one: curl -X POST {url}/api/v1/session/SESSION_ID/analyze"
            )
            async with trio.open_nursery() as candidates:
                candidates.start_soon(run_demo_candidates, url)
                await shutdown.wait()
                candidates.cancel_scope.cancel(reason="demo stopping")

    with _mistakes_told():
        trio.run(run_until_signal, main)


@app.command()
def simulate(
    url: Annotated[str, typer.Option(help="The server's address.")] = "http://127.0.0.1:8000",
    candidates: Annotated[int, typer.Option(min=1, help="How many exam takers.")] = 10,
    fps: Annotated[float, typer.Option(min=0.1, help="Frames per second of exam time.")] = 4.0,
    minutes: Annotated[float, typer.Option(min=0.1, help="Length of each exam.")] = 5.0,
    speed: Annotated[float, typer.Option(min=0.01, help="Exam seconds per second.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed simulates the same people.")] = 0,
    kind: Annotated[list[str] | None, typer.Option(help="Only people of this kind; may be repeated.")] = None,
    policy: Annotated[str | None, typer.Option(help="Exam policy to judge by.")] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Stream this dump instead of simulated people.", exists=True)
    ] = None,
    session_id: Annotated[str | None, typer.Option(help="Session of a replayed dump.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Let simulated exam takers, or a recorded one, sit an exam on a running server.

    Prints what was sent, what was acknowledged and each session's verdict; exits with 1 if anything that was
    acknowledged is missing.
    """
    from proctor.simulator import run
    from proctor.simulator.people import KINDS

    if replay is not None:
        task = partial(
            run.replay, replay, url, speed=speed, session_id=session_id, policy=policy, as_json=as_json
        )
    else:
        options = run.SimulateOptions(
            url=url,
            candidates=candidates,
            fps=fps,
            minutes=minutes,
            speed=speed,
            seed=seed,
            kinds=tuple(kind or KINDS),
            policy=policy,
        )
        task = partial(run.simulate, options, as_json=as_json)
    set_up_logging("text", "warning")
    with _mistakes_told():
        raise typer.Exit(trio.run(task))


@app.command()
def analyze(
    dump: Annotated[Path, typer.Argument(help="A JSON array of frames, such as a session's dump.")],
    policy: Annotated[str, typer.Option(help="Exam policy to judge by: its name, or a file NAME.toml.")] = (
        "default"
    ),
    form: Annotated[
        Literal["text", "json", "html"] | None,
        typer.Option("--format", help="By default what the ending of the output's name says, else text."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output if none is given.")
    ] = None,
) -> None:
    """Judge a dump offline, by the same analysis as a server's, and write its report."""
    settings = _settings()
    from proctor.offline import command

    with _mistakes_told():
        command.analyze(settings, dump, policy, form, output)


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
