"""The server's analysis in this process: no event loop, no worker processes, no deadlines."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from proctor.accommodations import in_force
from proctor.analysis.discovery import LoadedPlugin
from proctor.analysis.fold import Job, ReportRequest, report
from proctor.analysis.policy import Policy, load_policies, load_policy
from proctor.errors import InvalidRequest
from proctor.offline.recording import Recording


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
