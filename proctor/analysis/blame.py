"""Who ended a worker process, and what follows from it."""

from collections.abc import Iterable

import msgspec

from proctor.analysis.discovery import Plugin
from proctor.analysis.slot import Fault

OFFENCES_MAX = 3
"""An analyzer that ended workers in so many sessions in a row is off in this server until it restarts."""

SESSIONS_MAX = 1_000
"""Most sessions that are remembered; the oldest give way, and may cost one more worker each."""


class Blame:
    """The memory of one engine, lost with it."""

    def __init__(self) -> None:
        self._offences: dict[str, list[Fault]] = {}
        self._sessions: dict[str, dict[str, Fault]] = {}

    def convict(self, plugin: Plugin, fault: Fault, session_id: str | None) -> None:
        """Note that an analyzer, alone in a worker, ended it."""
        self._offences.setdefault(plugin.name, []).append(fault)
        if session_id is not None:
            self._sessions.setdefault(session_id, {})[plugin.name] = fault
            while len(self._sessions) > SESSIONS_MAX:
                del self._sessions[next(iter(self._sessions))]

    def acquit(self, plugin: Plugin) -> None:
        """Note that an analyzer did well alone in a worker."""
        self._offences.pop(plugin.name, None)

    def suspects(self, plugins: Iterable[Plugin]) -> list[Plugin]:
        """Return those that had better run alone first, so that they do not take the others with them."""
        return [plugin for plugin in plugins if plugin.name in self._offences]

    def faults(self, session_id: str | None) -> dict[str, Fault]:
        """Return the analyzers that are off for a session, or for all of them."""
        off = {
            name: msgspec.structs.replace(faults[-1], reason=f"{faults[-1].reason}, as in sessions before")
            for name, faults in self._offences.items()
            if len(faults) >= OFFENCES_MAX
        }
        return off | self._sessions.get(session_id or "", {})
