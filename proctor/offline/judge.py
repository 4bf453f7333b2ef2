"""The server's analysis without a server."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import trio

from proctor.analysis.discovery import LoadedPlugin
from proctor.analysis.engine import open_engine
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


def judge(
    recording: Recording,
    analyzers: Sequence[LoadedPlugin],
    policy: Policy,
    settings: Settings,
    analysed_ms: int,
) -> bytes:
    """Return the final report as JSON, as a server with these analyzers and this policy makes it.

    In a worker process, as there: one that hangs or crashes costs its own section and nothing else, and
    what it prints goes to standard error. Blocks.

    Raises:
        InvalidRequest: frames that no store holds.
    """
    session = msgspec.structs.replace(recording.session, policy=policy.name)

    async def main() -> bytes:
        async with open_engine(settings, analyzers, {policy.name: policy}) as engine:
            return await engine.judge(recording.frames, session, analysed_ms=analysed_ms)

    return trio.run(main)
