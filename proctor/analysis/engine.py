"""Analysis in worker processes, so that neither its cost nor its accidents are the server's.

All analyzers of a session run together, in one call to one worker. Only when that worker dies does the engine
run each of them alone, switch off those that end a worker again, and repeat the call without them.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import structlog
import trio
import trio_parallel

from proctor.accommodations import in_force
from proctor.analysis import worker
from proctor.analysis.blame import Blame
from proctor.analysis.discovery import LoadedPlugin, Plugin
from proctor.analysis.dispatch import Dispatch, WorkerLost
from proctor.analysis.fold import FRAMES_AT_ONCE, Job, ReportRequest, active_plugins
from proctor.analysis.glance import Look
from proctor.analysis.policy import Policy
from proctor.analysis.slot import Fault
from proctor.errors import InvalidRequest, Misconfigured, Unavailable
from proctor.model import ExamSession
from proctor.settings import Settings

START_SECONDS = 60.0
"""Longest that a worker may take to start, or that Proctor's own part of a call may take."""

JOB_FRAMES, JOB_BYTES = 10_000, 2**20
"""Most in one job, so that a long backlog neither fills the memory nor runs into a batch's time limit."""

CLOSE_SECONDS = 2.0
"""Longest that idle workers may take to exit."""

_log = structlog.get_logger(__name__)

_Run = Callable[[Job], Awaitable[bytes]]


class Engine:
    """Folds frames and makes reports.

    Any number of calls may be under way; `analysis_workers` workers are busy with some of them, the others
    wait. Cancelling a call ends the worker that is busy with it and harms no other call.
    """

    def __init__(
        self,
        workers: trio_parallel.WorkerContext,
        settings: Settings,
        plugins: tuple[Plugin, ...],
        policies: Mapping[str, Policy],
    ) -> None:
        self.policies = policies
        self._seconds = settings.analysis_timeout_seconds
        self._dispatch = Dispatch(workers, settings.analysis_workers, self._seconds)
        self._plugins = plugins
        self._blame = Blame()

    async def advance(self, state: bytes | None, frames: Sequence[bytes], session: ExamSession) -> bytes:
        """Fold stored frames, in time order, into a session's state, and return the new state.

        Frames that the state already has are passed over, so a call may be repeated.

        Raises:
            InvalidRequest: no such policy, or frames that are not stored frames in time order.
            Unavailable: workers die although every analyzer alone does well; try again.
        """
        job = self._job(state, frames, session)
        return await self._run(partial(self._call, partial(worker.advance_within, self._seconds)), job, None)

    async def report(
        self,
        state: bytes | None,
        tail: Sequence[bytes],
        session: ExamSession,
        *,
        final: bool,
        analysed_ms: int,
        stored: int = 0,
    ) -> bytes:
        """Return the report, as JSON, on the frames in `state` and in `tail`; `state` stays as it is.

        `stored` is how many frames the session ever stored, if some of them are in neither.

        Raises:
            InvalidRequest: as :meth:`advance`.
            Unavailable: as :meth:`advance`.
        """
        request = ReportRequest(session, final, analysed_ms, stored)
        return await self._on_copy(worker.report_within, request, state, tail)

    async def glance(self, state: bytes | None, tail: Sequence[bytes], session: ExamSession) -> Look:
        """Return the glance at the frames in `state` and in `tail`; `state` stays as it is.

        Raises as :meth:`advance`.
        """
        request = ReportRequest(session, final=False, analysed_ms=0)
        look = await self._on_copy(worker.glance_within, request, state, tail)
        return msgspec.msgpack.decode(look, type=Look)

    async def _on_copy(
        self,
        function: Callable[..., bytes],
        request: ReportRequest,
        state: bytes | None,
        tail: Sequence[bytes],
    ) -> bytes:
        session = request.session
        faults = self._blame.faults(session.session_id)
        job = self._job(state, tail, session)._replace(faults=faults)
        run = partial(self._call, partial(function, self._seconds, request))
        return await self._run(run, job, session.session_id)

    async def judge(
        self, frames: Sequence[bytes], session: ExamSession, *, analysed_ms: int, stored: int = 0
    ) -> bytes:
        """Return the final report on a session's frames, in time order; `stored` is as for :meth:`report`.

        They go to the worker some at a time, which bounds its memory. Raises as :meth:`advance`.
        """
        state = None
        for start in range(0, len(frames), JOB_FRAMES):
            state = await self.advance(state, frames[start : start + JOB_FRAMES], session)
        return await self.report(state, (), session, final=True, analysed_ms=analysed_ms, stored=stored)

    def _job(self, state: bytes | None, frames: Sequence[bytes], session: ExamSession) -> Job:
        policy = self.policies.get(session.policy)
        if policy is None:
            known = ", ".join(sorted(self.policies))
            raise InvalidRequest(f"no policy {session.policy!r}; there are {known}", field="policy")
        accommodations = in_force(session.accommodations)
        return Job(self._plugins, policy, state, list(frames), self._blame.faults(None), accommodations)

    async def _run(self, run: _Run, job: Job, session_id: str | None) -> bytes:
        job = await self._without_culprits(run, job, self._blame.suspects(active_plugins(job)), session_id)
        for _ in range(2):
            try:
                return await run(job)
            except WorkerLost as lost:
                _log.warning("analysis worker lost", reason=lost.reason, session=session_id)
                job = await self._without_culprits(run, job, active_plugins(job), session_id)
        raise Unavailable("analysis workers die although every analyzer alone does well")

    async def _without_culprits(
        self, run: _Run, job: Job, suspects: Iterable[Plugin], session_id: str | None
    ) -> Job:
        """Run each suspect alone, and return the job with those switched off that end their worker."""
        faults = dict(job.faults)
        for plugin in suspects:
            try:
                await run(job._replace(plugins=(plugin,)))
            except WorkerLost as lost:
                fault = Fault(lost.status, f"{plugin.display_name}: {lost.reason}")
                faults[plugin.name] = fault
                self._blame.convict(plugin, fault, session_id)
                _log.warning("analyzer switched off", reason=fault.reason, session=session_id)
            else:
                self._blame.acquit(plugin)
        return job._replace(faults=faults)

    async def _call(self, function: Callable[..., bytes], job: Job) -> bytes:
        # The worker enforces the analyzers' deadlines itself. This one is for whatever else may hang, and
        # does not include the wait for a worker.
        batches = 1 + len(job.frames) / FRAMES_AT_ONCE
        runs = len(job.plugins) * (1 + 2 * len(job.accommodations))
        return await self._dispatch.call(
            partial(function, job),
            size=len(job.state or b"") + sum(map(len, job.frames)),
            limit_seconds=START_SECONDS + self._seconds * batches * (1 + runs),
        )


@asynccontextmanager
async def open_engine(
    settings: Settings, analyzers: Sequence[LoadedPlugin], policies: Mapping[str, Policy]
) -> AsyncIterator[Engine]:
    """Start the workers, and end them on leaving, the busy ones too once their calls are cancelled.

    Raises:
        Misconfigured: a worker cannot start.
    """
    plugins = tuple(loaded.plugin for loaded in analyzers)
    async with _open_workers(settings, plugins) as workers:
        try:
            # So many at once that each gets a worker of its own: the first analysis then finds it warm.
            async with trio.open_nursery() as nursery:
                for _ in range(settings.analysis_workers):
                    nursery.start_soon(partial(workers.run_sync, worker.ready, kill_on_cancel=True))
        except* trio_parallel.BrokenWorkerError as group:
            raise Misconfigured("an analysis worker cannot start; its error is on standard error") from group
        yield Engine(workers, settings, plugins, policies)


@asynccontextmanager
async def _open_workers(
    settings: Settings, plugins: tuple[Plugin, ...]
) -> AsyncIterator[trio_parallel.WorkerContext]:
    memory_mb = settings.analysis_memory_mb
    failure: BaseException | None = None
    try:
        async with trio_parallel.open_worker_context(
            idle_timeout=math.inf,
            init=partial(worker.prepare, plugins, memory_mb),
            retire=partial(worker.outgrown, memory_mb),
            grace_period=CLOSE_SECONDS,
        ) as workers:
            try:
                yield workers
            except BaseException as error:
                failure = error
                raise
    except trio_parallel.BrokenWorkerError as error:
        # An idle worker was killed from outside, or a plugin kept it from exiting. It is gone either way.
        _log.warning("analysis worker did not exit by itself", reason=str(error))
        if failure is not None:
            raise failure from None
