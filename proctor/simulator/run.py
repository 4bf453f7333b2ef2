"""Many exam takers on one server at once, and the exit status that says whether all went well."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import httpx
import msgspec
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from proctor.access.holder import authorization
from proctor.errors import InvalidRequest
from proctor.simulator.api import ExamApi
from proctor.simulator.exam import Candidate, Outcome, take_exam
from proctor.simulator.kinds import KINDS
from proctor.simulator.people import exam_taker
from proctor.simulator.replay import Recording
from proctor.simulator.summary import as_dict, print_table
from proctor.simulator.tally import Tally

_ARRIVAL_SECONDS = 0.02
"""Between two candidates who begin: a hundred within two seconds, as at the start of an exam."""
_REFRESH_SECONDS = 0.2


@dataclass(frozen=True)
class SimulateOptions:
    """What `proctor simulate` can be told."""

    url: str = "http://127.0.0.1:8000"
    """The server's address."""
    candidates: int = 10
    fps: float = 4.0
    """Frames per second of exam time."""
    minutes: float = 5.0
    """Length of each exam."""
    speed: float = 1.0
    """Exam seconds per wall-clock second."""
    seed: int = 0
    """The same seed simulates the same people."""
    kinds: Sequence[str] = tuple(KINDS)
    """Dealt out in turn."""
    exam_id: str = "simulation"
    policy: str | None = None
    window: int = 64
    """Most messages of one candidate without acknowledgement."""


async def simulate(options: SimulateOptions, *, console: Console | None = None, as_json: bool = False) -> int:
    """Let everybody take their exam, print the summary, and return the exit status.

    Returns:
        0 if every session was streamed, acknowledged and judged and the report knows of all that was
        acknowledged; else 1.

    Raises:
        InvalidRequest: an unknown kind, or a number that makes no exam.
    """
    if options.candidates < 1 or options.speed <= 0 or not options.kinds:
        raise InvalidRequest("a simulation needs a candidate, a kind and a speed above 0", field="candidates")
    stamp = run_stamp()
    candidates = []
    for place, kind in enumerate(islice(cycle(options.kinds), options.candidates)):
        name = f"{kind}-{place // len(options.kinds) + 1}"
        taker = exam_taker(kind, options.seed + place, options.minutes, options.fps)
        candidates.append(Candidate(f"{name}.{stamp}", name, options.exam_id, taker, options.policy))
    frames = round(options.candidates * options.minutes * 60 * options.fps)
    return await _run(options.url, candidates, frames, options.speed, options.window, console, as_json)


async def replay(
    path: Path,
    url: str,
    *,
    speed: float = 1.0,
    session_id: str | None = None,
    policy: str | None = None,
    console: Console | None = None,
    as_json: bool = False,
) -> int:
    """Stream a dump with its own timestamps, print the summary, and return an exit status as `simulate` does.

    To the server it is a client whose clock shows the time of the recording: the timestamps become its
    `client_timestamp`, and the event times lie as far apart, up to now.

    Raises:
        InvalidRequest: the file is no dump, or the speed is not above 0.
    """
    if speed <= 0:
        raise InvalidRequest("speed must be above 0", field="speed")
    recording = Recording.load(path)
    if session_id is None:
        session_id = f"{recording.kind}.{run_stamp()}"
    candidate = Candidate(session_id, recording.kind, "replay", recording, policy, recording.start_ms)
    return await _run(url, [candidate], len(recording), speed, 64, console, as_json)


def run_stamp() -> str:
    """Return a word that tells the session ids of one run from those of the next."""
    return f"{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(2)}"


async def _run(
    url: str,
    candidates: Sequence[Candidate],
    frames: int,
    speed: float,
    window: int,
    console: Console | None,
    as_json: bool,
) -> int:
    console = console or Console()
    outcomes = [Outcome(candidate, Tally()) for candidate in candidates]
    limits = httpx.Limits(max_connections=50)

    async def one(place: int) -> None:
        await trio.sleep(place * _ARRIVAL_SECONDS)
        outcomes[place] = await take_exam(
            api, candidates[place], outcomes[place].tally, speed=speed, window=window
        )

    async with (
        httpx.AsyncClient(limits=limits, headers=authorization()) as client,
        trio.open_nursery() as display,
    ):
        api = ExamApi(url, client)
        if console.is_terminal and not as_json:
            display.start_soon(_show_progress, console, [outcome.tally for outcome in outcomes], frames)
        async with trio.open_nursery() as nursery:
            for place in range(len(candidates)):
                nursery.start_soon(one, place)
        display.cancel_scope.cancel(reason="everybody has finished")
    if as_json:
        console.out(msgspec.json.encode(as_dict(outcomes)).decode(), highlight=False)
    else:
        print_table(outcomes, console)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


async def _show_progress(console: Console, tallies: Sequence[Tally], frames: int) -> None:
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        bar = progress.add_task("", total=frames)
        while True:
            acknowledged = sum(tally.frames_acknowledged for tally in tallies)
            sent = sum(tally.frames_sent for tally in tallies)
            reconnects = sum(tally.reconnects for tally in tallies)
            words = f"{sent} sent, {acknowledged} acknowledged, {reconnects} reconnects"
            progress.update(bar, completed=acknowledged, description=words, refresh=True)
            await trio.sleep(_REFRESH_SECONDS)
