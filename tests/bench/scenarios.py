"""What is done to a server to measure it. Each scenario wants a fresh one and checks that it stored all.

A scale other than 1 changes the load by that factor, for small machines and quick looks.
"""

import statistics
import time
from collections.abc import Callable, Sequence

from tests.bench.figures import Figures
from tests.bench.findings import Reviewer, phone_messages
from tests.bench.load import Failed, Load, TooSlow, batch_messages, single_messages
from tests.bench.servers import Server, Spent

BURST_CLIENTS = 20
BURST_MESSAGES = 5_000
BATCH_FRAMES = 50
BATCH_MESSAGES = 300
PACED_CLIENTS = 300
PACED_PER_SECOND = 24
PACED_SECONDS = 15
"""Three rounds of live analysis."""
HALF_PEAK_CLIENTS = 100
IDLE_CLIENTS = 1_000
FINDING_CLIENTS = 300
FINDINGS = 30
FINDING_PER_SECOND = 10
FINDING_SECONDS = 20
WARM_UP_MESSAGES = 20

_SETTLE_SECONDS = 1.0

Scenario = Callable[[Server, float], Figures]


def burst(server: Server, scale: float) -> Figures:
    """Single frames from 20 clients, as fast as TCP takes them."""
    return _burst(server, single_messages(WARM_UP_MESSAGES + round(BURST_MESSAGES * scale)), 1)


def batches(server: Server, scale: float) -> Figures:
    """The same in batches of 50 frames."""
    count = WARM_UP_MESSAGES + round(BATCH_MESSAGES * scale)
    return _burst(server, batch_messages(count, BATCH_FRAMES), BATCH_FRAMES)


def _burst(server: Server, messages: list[bytes], frames_per_message: int) -> Figures:
    sessions = _sessions("burst", BURST_CLIENTS)
    with Load(server.port, sessions) as load:
        load.burst(messages[:WARM_UP_MESSAGES])
        before = server.spent()
        seconds = load.burst(messages[WARM_UP_MESSAGES:])
        spent = server.spent().since(before)
    _check_stored(server, sessions, len(messages) * frames_per_message * len(sessions))
    frames = (len(messages) - WARM_UP_MESSAGES) * frames_per_message * len(sessions)
    return {"frames/s": frames / seconds, **_costs(spent, frames)}


def paced(server: Server, scale: float) -> Figures:
    """Single frames from 300 clients, 24 per second each, evenly out of step."""
    sessions = _sessions("paced", PACED_CLIENTS * scale)
    messages = single_messages(WARM_UP_MESSAGES + PACED_PER_SECOND * PACED_SECONDS)
    with Load(server.port, sessions) as load:
        load.pace(messages[:WARM_UP_MESSAGES], PACED_PER_SECOND)
        figures = _pace(server, load, messages[WARM_UP_MESSAGES:], PACED_PER_SECOND)
    _check_stored(server, sessions, len(messages) * len(sessions))
    return figures


def half_peak(server: Server, scale: float) -> Figures:
    """Single frames from 100 clients, evenly out of step, at half of the rate of a burst just before."""
    peak = burst(server, scale)["frames/s"]
    sessions = _sessions("half-peak", HALF_PEAK_CLIENTS)
    per_second = peak / 2 / len(sessions)
    messages = single_messages(WARM_UP_MESSAGES + round(PACED_SECONDS * per_second * scale))
    with Load(server.port, sessions) as load:
        load.pace(messages[:WARM_UP_MESSAGES], per_second)
        return _pace(server, load, messages[WARM_UP_MESSAGES:], per_second)


def _pace(server: Server, load: Load, messages: Sequence[bytes], per_second: float) -> Figures:
    before = server.spent()
    began = time.perf_counter()
    behind: TooSlow | None = None
    try:
        delays = load.pace(messages, per_second)
    except TooSlow as failure:
        behind, delays = failure, failure.delays
    seconds = time.perf_counter() - began
    figures = {
        "frames/s": len(delays) / seconds,
        **_costs(server.spent().since(before), len(delays)),
        **centiles("ack", delays),
    }
    if behind is not None:
        behind.figures = figures
        raise behind
    return figures


def idle(server: Server, scale: float) -> Figures:
    """Clients that have sent one frame each and then stay."""
    warm_up, sessions = _sessions("warm-up", BURST_CLIENTS), _sessions("idle", IDLE_CLIENTS * scale)
    message = single_messages(1)
    with Load(server.port, warm_up) as load:
        load.burst(message)
        memory = server.resident_bytes()
        with Load(server.port, sessions) as idlers:
            idlers.burst(message)
            time.sleep(_SETTLE_SECONDS)
            grown = server.resident_bytes() - memory
    _check_stored(server, [*warm_up, *sessions], len(warm_up) + len(sessions))
    return {"KiB/connection": grown / len(sessions) / 1024}


def finding(server: Server, scale: float) -> Figures:
    """From an acknowledgement to a live report with the finding that its frame completes, 30 in 15 s.

    300 clients send 10 frames per second each. One after another, some hold up a phone for two seconds, and
    as soon as it has been in view long enough somebody asks for the session's report until it says so.
    """
    return _finding(server, scale, FINDINGS)


def findings(server: Server, scale: float) -> Figures:
    """The same with a phone in every session: 300 findings in 15 s, and as many reports."""
    return _finding(server, scale, FINDING_CLIENTS)


def _finding(server: Server, scale: float, holders: int) -> Figures:
    sessions = _sessions("finding", FINDING_CLIENTS * scale)
    rounds = FINDING_PER_SECOND * FINDING_SECONDS
    with Load(server.port, sessions) as load, Reviewer(server.port) as reviewer:
        count = max(round(holders * scale), 1)
        everyone, completing = phone_messages(rounds, FINDING_PER_SECOND, len(sessions), count)

        def look(place: int, acked: int) -> None:
            if place in completing and acked > completing[place]:
                reviewer.ask(sessions[place])

        load.pace_each(everyone, FINDING_PER_SECOND, look)
        delays = reviewer.delays()
    _check_stored(server, sessions, rounds * len(sessions))
    return {"findings": len(delays), **centiles("in report", delays)}


def centiles(what: str, delays: Sequence[float]) -> Figures:
    """Median, 99th centile and greatest of delays in seconds, as figures in ms."""
    cut = statistics.quantiles(delays, n=100, method="inclusive")
    shown = {"p50": cut[49], "p99": cut[98], "max": max(delays)}
    return {f"{what} {name} ms": seconds * 1000 for name, seconds in shown.items()}


def _sessions(name: str, count: float) -> list[str]:
    return [f"{name}-{number}" for number in range(max(round(count), 1))]


def _costs(spent: Spent, frames: int) -> Figures:
    named = {
        "server CPU µs/frame": spent.server,
        "analysis CPU µs/frame": spent.analysis,
        "Redis CPU µs/frame": spent.redis,
        "load CPU µs/frame": spent.load,
    }
    return {name: seconds / frames * 1e6 for name, seconds in named.items() if seconds}


def _check_stored(server: Server, sessions: Sequence[str], sent: int) -> None:
    # Clients have checked that every message was acknowledged, once and in order.
    stored = server.stored(sessions)
    if stored != sent:
        raise Failed(f"{sent} frames sent and acknowledged, {stored} stored")


SCENARIOS: dict[str, Scenario] = {
    "burst": burst,
    "batches": batches,
    "paced": paced,
    "half-peak": half_peak,
    "idle": idle,
    "finding": finding,
    "findings": findings,
}
