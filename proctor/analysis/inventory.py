"""What is installed and whether it works: an answer for people, where a server would refuse to start."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout, suppress

import msgspec

from proctor.analysis.discovery import Plugin, check_names, find_plugins, load_plugin
from proctor.errors import Misconfigured


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One analyzer, or one that is missing."""

    rule: str
    """Entry-point name: the key in reports and policies."""
    title: str = ""
    plugin: str = ""
    """The distribution that brings it; empty if none does."""
    version: str = ""
    contract: int | None = None
    """Version of the contract that it is written for, as far as it says so."""
    status: str = "ok"
    """`ok`, or `unusable`: a server with it does not start."""
    problem: str | None = None
    """What is wrong and what to do about it."""


def inventory(required: Iterable[str] = (), plugins: Sequence[Plugin] | None = None) -> list[Listed]:
    """List the installed analyzers, or those in `plugins`, and the required ones that are not among them.

    Each is imported; what that prints goes to standard error.
    """
    found = find_plugins() if plugins is None else plugins
    with redirect_stdout(sys.stderr):
        listed = [
            _listed(plugin, [other for other in found if other.name == plugin.name]) for plugin in found
        ]
    for name in sorted(set(required) - {plugin.name for plugin in found}):
        problem = f"{name}: required by REQUIRED_ANALYZERS but not installed; install its distribution"
        listed.append(Listed(rule=name, status="unusable", problem=problem))
    return listed


def _listed(plugin: Plugin, namesakes: Sequence[Plugin]) -> Listed:
    title, contract = "", None
    with suppress(Exception, SystemExit):  # told below, in words
        analyzer = plugin.load()
        title, contract = str(getattr(analyzer, "title", "")), getattr(analyzer, "api_version", None)
    problem = None
    try:
        load_plugin(plugin)
        check_names(namesakes)
    except Misconfigured as error:
        problem = error.detail
    return Listed(
        rule=plugin.name,
        title=title,
        plugin=plugin.package,
        version=plugin.version,
        contract=contract if isinstance(contract, int) else None,
        status="ok" if problem is None else "unusable",
        problem=problem,
    )
