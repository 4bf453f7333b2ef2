"""Which analyzers are installed: find, sort, check, load, classify.

Each step is a function over tuples that says what is wrong before the server starts. Whoever needs analyzers
is handed the result, so a test or a tool works with exactly those that it chose.
"""

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any, NamedTuple

import msgspec

from proctor.analysis.api import API_VERSION
from proctor.errors import Misconfigured

GROUP = "proctor.analyzers"
"""The entry-point group in which a distribution names its analyzers."""

ENGINE_KEYS = frozenset({"enabled", "points", "shadow", "alert"})
"""Keys of a policy's `[rules.NAME]` that belong to Proctor; no analyzer's settings may use them."""

_ENTRY_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)


class Plugin(NamedTuple):
    """An analyzer before loading. Travels to worker processes, which load it themselves."""

    name: str
    """Entry-point name: the key in reports and policies."""
    package: str
    version: str
    value: str
    """`module:Class`."""

    @property
    def display_name(self) -> str:
        """What every message about this analyzer begins with."""
        return f"{self.package}[{self.name}]"

    def load(self) -> Any:
        """Import the analyzer; whatever its import raises goes through."""
        return EntryPoint(self.name, self.value, GROUP).load()


class LoadedPlugin(NamedTuple):
    """An analyzer that keeps to the contract, as far as that can be told without running it."""

    plugin: Plugin
    analyzer: type[Any]
    """An :class:`Analyzer`, which types can say of its instances only: its Settings and State are classes."""


def find_plugins(folders: Sequence[str] | None = None) -> tuple[Plugin, ...]:
    """List what installed distributions declare, sorted by name, without importing any of it.

    They are looked for in `folders`, by default in those that Python imports from. A distribution that is
    there twice counts once: the first, which is the one Python imports.
    """
    where: dict[str, Any] = {} if folders is None else {"path": folders}
    # Of the many that declare nothing not even the name is read: it takes parsing all that they say.
    packages = {each.metadata["Name"] for each in distributions(**where) if _declared(each)}
    firsts = (next(iter(distributions(name=package, **where))) for package in packages)
    return tuple(
        sorted(
            Plugin(entry.name, first.metadata["Name"], first.version, entry.value)
            for first in firsts
            for entry in _declared(first)
        )
    )


def _declared(distribution: Distribution) -> list[EntryPoint]:
    return [entry for entry in distribution.entry_points if entry.group == GROUP]


def check_names(plugins: Sequence[Plugin], required: Iterable[str] = ()) -> None:
    """Refuse names that are taken twice, that no policy could spell, or that are required but missing.

    Raises:
        Misconfigured: naming the distributions and what to do.
    """
    by_name: dict[str, Plugin] = {}
    for plugin in plugins:
        if not _ENTRY_NAME.fullmatch(plugin.name):
            raise Misconfigured(
                f"{plugin.display_name}: an analyzer's name is a letter and then letters, digits, '_' or "
                f"'-', at most 64 in all; rename the entry point in {plugin.package}"
            )
        other = by_name.setdefault(plugin.name, plugin)
        if other is not plugin:
            raise Misconfigured(
                f"{other.package} and {plugin.package} both bring an analyzer named {plugin.name!r}; "
                "uninstall one of them or rename its entry point"
            )
    missing = sorted(set(required) - set(by_name))
    if missing:
        raise Misconfigured(
            f"required analyzers are not installed: {', '.join(missing)}; installed are "
            f"{', '.join(by_name) or 'none'}; install their distributions or change REQUIRED_ANALYZERS",
            field="required_analyzers",
        )


def load_plugin(plugin: Plugin) -> LoadedPlugin:
    """Import an analyzer and check it against the contract.

    Raises:
        Misconfigured: it cannot be imported, or does not keep to this version of the contract.
    """
    try:
        analyzer = plugin.load()
    except (Exception, SystemExit) as error:
        raise Misconfigured(
            f"{plugin.display_name} cannot be loaded from {plugin.value!r}: {type(error).__name__}: {error}; "
            f"repair or uninstall {plugin.package} {plugin.version}"
        ) from error
    version = getattr(analyzer, "api_version", None)
    if version != API_VERSION:
        raise Misconfigured(
            f"{plugin.display_name} is written for version {version} of the analyzer contract, this server "
            f"has version {API_VERSION}; install a release of {plugin.package} made for it"
        )
    for fault in _faults(analyzer):
        raise Misconfigured(f"{plugin.display_name}: {fault}; repair or uninstall {plugin.package}")
    return LoadedPlugin(plugin, analyzer)


def _faults(analyzer: Any) -> Iterable[str]:
    if not isinstance(analyzer, type):
        yield "the entry point does not name a class"
    if not isinstance(getattr(analyzer, "title", None), str):
        yield "it has no title"
    for method in ("fold", "assess"):
        if not callable(getattr(analyzer, method, None)):
            yield f"it has no method {method}"
    for name in ("Settings", "State"):
        struct = getattr(analyzer, name, None)
        if not (isinstance(struct, type) and issubclass(struct, msgspec.Struct)):
            yield f"its {name} is no msgspec.Struct"
        elif bare := [field.name for field in msgspec.structs.fields(struct) if field.required]:
            yield f"its {name} has fields without a default: {', '.join(bare)}"
        elif name == "Settings" and (taken := ENGINE_KEYS & set(struct.__struct_encode_fields__)):
            yield f"its Settings use names that belong to Proctor: {', '.join(sorted(taken))}"


def discover(
    required: Iterable[str] = (), plugins: Sequence[Plugin] | None = None
) -> tuple[LoadedPlugin, ...]:
    """Return the analyzers to work with, ready to be handed on: those installed, or those in `plugins`.

    Raises:
        Misconfigured: see :func:`check_names` and :func:`load_plugin`.
    """
    chosen = find_plugins() if plugins is None else tuple(sorted(plugins))
    check_names(chosen, required)
    return tuple(load_plugin(plugin) for plugin in chosen)
