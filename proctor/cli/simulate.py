"""`proctor simulate`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import trio
import typer

from proctor.cli.console import mistakes_told
from proctor.logs import set_up_logging


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
    from proctor.simulator.kinds import KINDS

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
    with mistakes_told():
        raise typer.Exit(trio.run(task))
