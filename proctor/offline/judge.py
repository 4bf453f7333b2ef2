"""The server's analysis without a server: in this process, or in a worker process as there."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import msgspec
import trio

from proctor.accommodations import in_force
from proctor.analysis.discovery import LoadedPlugin
from proctor.analysis.engine import open_engine
from proctor.analysis.fold import Job, ReportRequest, report
from proctor.analysis.policy import Policy, load_policies, load_policy
from proctor.errors import InvalidRequest
from proctor.offline.recording import Recording
from proctor.settings import Settings


def choose_policy(name_or_file: str, directory: Path, analyzers: Sequence[LoadedPlugin]) -> Policy:
    """Return the policy in a `.toml` file, or the one that sessions of a server choose by this name.

    Raises:
        InvalidRequest: there is no policy of this name.
        Misconfigured: a policy is wrong, as :func:`load_policies` has it.
    """
    path = Path(name_or_file)
    if path.suffix == ".toml":
        return load_policy(path, analyzers)
    policies = load_policies(directory, analyzers)
    if name_or_file not in policies:
        known = ", ".join(sorted(policies))
        raise InvalidRequest(
            f"no policy {name_or_file!r} in {directory}; there are {known}; a file's name ends in .toml",
            field="policy",
        )
    return policies[name_or_file]


def judge(recording: Recording, analyzers: Sequence[LoadedPlugin], policy: Policy, analysed_ms: int) -> bytes:
    """Return the final report as JSON, as a server with these analyzers and this policy makes it.

    In this process, which an analyzer may hang or crash.

    Raises:
        InvalidRequest: frames that no store holds.
    """
    request = ReportRequest(recording.session, final=True, analysed_ms=analysed_ms)
    job = Job(
        tuple(loaded.plugin for loaded in analyzers),
        policy,
        frames=recording.frames,
        accommodations=in_force(recording.session.accommodations),
    )
    # Whatever analyzers print would end up in the report.
    with redirect_stdout(sys.stderr):
        return report(request, job)


def judge_apart(
    recording: Recording,
    analyzers: Sequence[LoadedPlugin],
    policy: Policy,
    settings: Settings,
    analysed_ms: int,
) -> bytes:
    """Do as :func:`judge`, in a worker process: one that hangs or crashes costs its own section only."""
    session = msgspec.structs.replace(recording.session, policy=policy.name)

    async def main() -> bytes:
        async with open_engine(settings, analyzers, {policy.name: policy}) as engine:
            return await engine.judge(recording.frames, session, analysed_ms=analysed_ms)

    return trio.run(main)
