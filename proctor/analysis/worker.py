"""What runs in a worker process. Imports no server code, so that a worker starts fast and stays small.

A worker is expendable: the kernel ends it when an analyzer takes too long, and refuses it memory beyond its
allowance. :mod:`proctor.analysis.engine` starts the next one and finds out who was to blame.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

from outcome import Outcome, capture

from proctor.analysis.discovery import Plugin
from proctor.analysis.fold import Job, ReportRequest, advance, glance, report
from proctor.analysis.slot import Guard

_STATM = Path("/proc/self/statm")
_baseline_bytes = 0


def prepare(plugins: Sequence[Plugin], memory_mb: int) -> None:
    """Import the analyzers, then allow the process `memory_mb` MiB of address space beyond what it has.

    Where there is no `/proc` (outside Linux) memory is not limited. What analyzers print goes to standard
    error, because standard output carries the server's log.
    """
    global _baseline_bytes
    os.dup2(2, 1)
    # Service managers signal every process of a server, which still needs its workers to finish its sessions.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for plugin in plugins:
        plugin.load()
    # A core file of a crashing plugin would hold exam data.
    _limit("RLIMIT_CORE", 0)
    if _STATM.exists():  # pragma: no branch
        address_space, _baseline_bytes = _memory_bytes()
        _limit("RLIMIT_AS", address_space + memory_mb * 2**20)


def outgrown(memory_mb: int) -> bool:
    """Return whether the process now keeps so much that it should make way for a fresh one."""
    return _STATM.exists() and _memory_bytes()[1] - _baseline_bytes > memory_mb * 2**20 / 2


def ready() -> None:
    """Do nothing; a worker that returns from it has started."""


def answers(calls: Sequence[Callable[[], bytes]]) -> list[Outcome[bytes]]:
    """Make one call after the other; what one raises is nothing to the others."""
    return [capture(call) for call in calls]


def advance_within(seconds: float, job: Job) -> bytes:
    """Do :func:`proctor.analysis.fold.advance`; an analyzer that takes longer ends the process."""
    return _run(advance, seconds, job)


def report_within(seconds: float, request: ReportRequest, job: Job) -> bytes:
    """Do :func:`proctor.analysis.fold.report`; an analyzer that takes longer ends the process."""
    return _run(partial(report, request), seconds, job)


def glance_within(seconds: float, request: ReportRequest, job: Job) -> bytes:
    """Do :func:`proctor.analysis.fold.glance`; an analyzer that takes longer ends the process."""
    return _run(partial(glance, request), seconds, job)


def _run(function: Callable[[Job, Guard], bytes], seconds: float, job: Job) -> bytes:
    try:
        return function(job, partial(alarm, seconds))
    except Exception:
        raise
    except BaseException:  # noqa: BLE001  raised again in the server, it would stop the server
        _die()


def _die() -> NoReturn:
    os._exit(os.EX_SOFTWARE)


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Have the kernel end the process after so many seconds, even if native code holds the interpreter."""
    if sys.platform == "win32":
        yield
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit(name: str, value: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    kind = getattr(resource, name)
    _, hard = resource.getrlimit(kind)
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (allowed, allowed))


def _memory_bytes() -> tuple[int, int]:
    """Return the process's address space and the part of it that is in memory."""
    pages = _STATM.read_text(encoding="ascii").split()
    size = os.sysconf("SC_PAGE_SIZE")
    return int(pages[0]) * size, int(pages[1]) * size
