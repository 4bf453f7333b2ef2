"""`proctor db`: the database's schema."""

import trio
import typer

from proctor.cli.console import console, mistakes_told, read_settings

app = typer.Typer(no_args_is_help=True, help="The database's schema.")


@app.command()
def upgrade() -> None:
    """Bring the database's schema up to date."""
    from proctor.storage.schema import upgrade_schema

    settings = read_settings()
    with mistakes_told():
        status = trio.run(upgrade_schema, settings)
    console.print(f"schema is {status.state} (revision {status.revision})")


@app.command()
def status() -> None:
    """Tell whether the database's schema is up to date; exit 1 if not."""
    from proctor.storage.schema import SchemaState, schema_status

    settings = read_settings()
    with mistakes_told():
        found = trio.run(schema_status, settings)
    console.print(f"schema is {found.state} (revision {found.revision}, latest {found.latest})")
    if found.state is not SchemaState.CURRENT:
        raise typer.Exit(1)
