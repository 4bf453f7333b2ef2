"""`proctor serve` and `proctor demo`."""

from functools import partial
from typing import Annotated

import trio
import typer

from proctor.cli.console import console, mistakes_told, read_settings

_Host = Annotated[str | None, typer.Option(help="Address to listen on; overrides HOST.")]
_Workers = Annotated[int | None, typer.Option(help="Server processes on the port; overrides WORKERS.")]
_Port = Annotated[int | None, typer.Option(help="Port to listen on, 0 for a free one; overrides PORT.")]


def serve(host: _Host = None, port: _Port = None, workers: _Workers = None) -> None:
    """Run the server until SIGTERM or Ctrl+C.

    Every setting comes from the environment or `.env`; the README lists them.
    """
    settings = read_settings(host=host, port=port, workers=workers)
    from proctor.main import run_until_signal, start
    from proctor.workers import Crew

    crew = Crew(settings)

    async def main(shutdown: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            if settings.workers == 1:
                url = await start(nursery, settings, shutdown)
            else:
                url = await nursery.start(crew.run, shutdown)
            console.print(f"Proctor serves on {url} (documentation: {url}/docs)")

    with mistakes_told():
        trio.run(run_until_signal, main)
    if crew.exit_status:
        raise typer.Exit(crew.exit_status)


def worker(name: str, control: int, listening: list[int]) -> None:
    """Be one of the workers of `serve`, on the sockets that it has passed on."""
    settings = read_settings()
    from proctor.main import run_until_signal
    from proctor.workers import be_worker

    with mistakes_told():
        trio.run(run_until_signal, partial(be_worker, settings, name, control, listening))


def demo(host: _Host = None, port: _Port = None) -> None:
    """Run the server with simulated exam takers on it, some honest and some not, until Ctrl+C."""
    settings = read_settings(host=host, port=port)
    from proctor.main import run_until_signal, start
    from proctor.simulator.demo import run_demo_candidates

    async def main(shutdown: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            url = await start(nursery, settings, shutdown)
            console.print(
                f"Six exam takers sit an exam on {url}.\nWho they are: {url}/api/v1/session\n"
                f"Judge one: curl -X POST {url}/api/v1/session/SESSION_ID/analyze"
            )
            async with trio.open_nursery() as candidates:
                candidates.start_soon(run_demo_candidates, url)
                await shutdown.wait()
                candidates.cancel_scope.cancel(reason="demo stopping")

    with mistakes_told():
        trio.run(run_until_signal, main)
