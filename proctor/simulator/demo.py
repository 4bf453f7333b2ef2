"""A handful of exam takers who keep coming, so that there is something to look at."""

from itertools import count

import httpx
import trio

from proctor.access.holder import authorization
from proctor.errors import InvalidRequest
from proctor.simulator.api import ExamApi
from proctor.simulator.exam import Candidate, take_exam
from proctor.simulator.people import exam_taker
from proctor.simulator.run import run_stamp
from proctor.simulator.tally import Tally

DEMO_KINDS = ("honest-calm", "phone", "honest-lively", "second-person", "honest-bad-network", "reads-notes")


async def run_demo_candidates(
    url: str,
    *,
    minutes: float = 5.0,
    fps: float = 3.0,
    seed: int = 0,
    exam_id: str = "demo-exam",
    pause_seconds: float = 3.0,
) -> None:
    """Keep a candidate of each demo kind in an exam, in real time, until cancelled.

    Sessions end after about `minutes`, at different times, and after a pause new ones begin; trouble with the
    server ends one session, not the demo. Cancelled sessions stay as they are on the server.
    """
    if minutes <= 0 or fps <= 0:
        raise InvalidRequest("a demo needs minutes and frames per second above 0", field="minutes")
    stamp = run_stamp()

    async def seat(place: int, kind: str) -> None:
        for number in count(1):
            # Seats differ in length, so that the sessions do not all end at once.
            taker = exam_taker(kind, seed + number, minutes * (0.7 + 0.1 * place), fps)
            name = f"{kind}-{number}"
            await take_exam(api, Candidate(f"{name}.{stamp}", name, exam_id, taker), Tally())
            await trio.sleep(pause_seconds)

    async with httpx.AsyncClient(headers=authorization()) as client, trio.open_nursery() as nursery:
        api = ExamApi(url, client)
        for place, kind in enumerate(DEMO_KINDS):
            nursery.start_soon(seat, place, kind, name=f"seat kind={kind}")
