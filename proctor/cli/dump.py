"""`proctor dump`: keys that dumps are encrypted with, and dumps in plain."""

from pathlib import Path
from typing import Annotated

import typer

from proctor.cli.console import mistakes_told, read_settings

app = typer.Typer(no_args_is_help=True, help="Encrypted dumps: make a key for them, and decrypt them.")


@app.command()
def key() -> None:
    """Make a secret key and print it; put it first in DUMP_ENCRYPTION_KEY, and keep a copy elsewhere.

    Without it what was encrypted with it is lost.
    """
    from proctor.storage.encryption import new_key

    # On standard output there is the key alone, so that it can be piped to where secrets are kept.
    typer.echo(new_key())


@app.command()
def decrypt(
    dump: Annotated[Path, typer.Argument(help="An encrypted dump, `…_frames.json.age`.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; by default without `.age`.")
    ] = None,
) -> None:
    """Write an encrypted dump in plain, byte for byte as it would have been without encryption.

    The keys are those of DUMP_ENCRYPTION_KEY.
    """
    from proctor.storage.dumps import decrypt_dump
    from proctor.storage.encryption import SUFFIX, DumpKeys

    settings = read_settings()
    with mistakes_told():
        plain = dump.with_suffix("") if dump.suffix == SUFFIX else dump.with_name(f"{dump.name}.plain")
        decrypt_dump(dump, output or plain, DumpKeys.of(settings))
