"""The command line: serve | demo | simulate | analyze | evaluate | erase | export | keys | plugins | db
| audit | dump | webhooks.

Each command imports what it runs once its settings are read, so that mistakes are answered at once.
"""

import gc
from typing import Annotated

import typer

from proctor import __version__
from proctor.cli import analyze, audit, db, dump, evaluate, keys, plugins, privacy, serve, simulate, webhooks
from proctor.cli.console import console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Self-hosted exam proctoring server.",
)
app.command()(serve.serve)
app.command()(serve.demo)
app.command(hidden=True)(serve.worker)
app.command()(simulate.simulate)
app.command()(analyze.analyze)
app.command()(evaluate.evaluate)
app.command()(privacy.erase)
app.command()(privacy.export)
app.add_typer(keys.app, name="keys")
app.add_typer(plugins.app, name="plugins")
app.add_typer(db.app, name="db")
app.add_typer(audit.app, name="audit")
app.add_typer(dump.app, name="dump")
app.add_typer(webhooks.app, name="webhooks")


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    # Commands import hundreds of modules, of which nothing is garbage. To look for some among what they
    # define would be a fifth of the time that the server takes to start.
    gc.set_threshold(10_000)
