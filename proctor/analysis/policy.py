"""Exam policies: what a deployment may choose about judgement, read from `NAME.toml` files.

A policy is data: every value is filled in, so its digest changes whenever a judgement could.
"""

import difflib
import hashlib
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_type_hints

import msgspec

from proctor.analysis.api import Group
from proctor.analysis.calibration import Calibration
from proctor.analysis.discovery import ENGINE_KEYS, LoadedPlugin
from proctor.analysis.review_policy import ReviewPolicy
from proctor.errors import Misconfigured
from proctor.features import VOCABULARY
from proctor.model import ExamSession
from proctor.strict_json import place_and_fault

DEFAULT = "default"
"""The policy of a session that names none; it exists even without a file."""

Points = Annotated[float, msgspec.Meta(ge=0, le=100)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_T = TypeVar("_T")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table that takes no keys but its own."""


class GroupPoints(Strict, frozen=True, kw_only=True):
    """The most that one rule may add to the score, by the group of its findings."""

    device: Points = 75
    people: Points = 75
    workspace: Points = 70
    presence: Points = 45
    attention: Points = 45
    speech: Points = 25

    def of(self, group: Group) -> float:
        """Return the bound for a group; technical trouble scores nothing."""
        return 0.0 if group is Group.TECHNICAL else float(getattr(self, group.value))


class ObservationPolicy(Strict, frozen=True, kw_only=True):
    """What counts as having been observed."""

    gap_seconds: Annotated[float, msgspec.Meta(ge=1, le=60)] = 5.0
    coverage_min: _Share = 0.6
    observed_minutes_min: Annotated[float, msgspec.Meta(ge=0, le=600)] = 5.0


class VerdictPolicy(Strict, frozen=True, kw_only=True):
    """How findings become a score and a review priority."""

    low_score: Points = 10
    medium_score: Points = 30
    high_score: Points = 60
    concern_weight: Annotated[float, msgspec.Meta(ge=0, le=10)] = 1.0
    strength_weight: Annotated[float, msgspec.Meta(ge=0, le=10)] = 2.0
    info_weight: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.1
    info_weight_max: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.3
    rate_floor_minutes: Annotated[float, msgspec.Meta(ge=1, le=120)] = 10.0
    absence_seconds: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 60.0
    window_confidence: _Share = 0.5
    points: GroupPoints = GroupPoints()
    calibration: Calibration = Calibration()

    def __post_init__(self) -> None:
        if not self.low_score < self.medium_score < self.high_score:
            raise ValueError("low_score, medium_score and high_score must rise")


class StoragePolicy(Strict, frozen=True, kw_only=True):
    """What of the frames is kept."""

    drop: tuple[str, ...] = ()
    """Names of features that are never stored, nor seen by any rule."""

    def __post_init__(self) -> None:
        for name in self.drop:
            close = [] if name in VOCABULARY else difflib.get_close_matches(name, VOCABULARY, n=1)
            # One that was misspelt would be kept.
            if close:
                raise ValueError(f"drop: {name!r} is no feature that browsers send; did you mean {close[0]}?")


class Rule(Strict, frozen=True, kw_only=True):
    """One analyzer's table, `[rules.NAME]`."""

    enabled: bool = True
    points: Points | None = None
    """The most that this rule may add to the score through one group; None means the group's `points`."""
    shadow: bool = False
    """On trial: judged and shown as such, scoring nothing."""
    alert: Annotated[str, msgspec.Meta(min_length=1, max_length=500)] | None = None
    """What a candidate is told at once when the rule has a concern; None is nothing."""
    settings: dict[str, Any] = {}
    """The analyzer's own settings, all of them."""

    @property
    def digest(self) -> str:
        """Tells two ways of running the same analyzer apart."""
        return _digest(self.settings)


class Judgement(Strict, frozen=True, kw_only=True):
    """What a policy says besides its rules."""

    observation: ObservationPolicy = ObservationPolicy()
    verdict: VerdictPolicy = VerdictPolicy()
    storage: StoragePolicy = StoragePolicy()
    review: ReviewPolicy = ReviewPolicy()


class Policy(Judgement, frozen=True, kw_only=True):
    """One exam policy, complete and checked."""

    name: str = DEFAULT
    rules: dict[str, Rule] = {}
    """By entry-point name; every installed analyzer has one."""

    @property
    def digest(self) -> str:
        """SHA-256 of all that reports follow from."""
        return _digest(self.values)

    @property
    def values(self) -> dict[str, Any]:
        """All that reports follow from, as a file could say it: not the name, nor who is told what."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        del values["name"], values["review"]
        for rule in values["rules"].values():
            del rule["alert"]
        if not self.storage.drop:
            del values["storage"]  # so that the policies of before there was such a choice are the same
        return values

    @property
    def alerts(self) -> dict[str, str]:
        """What candidates are told, by rule."""
        return {name: rule.alert for name, rule in self.rules.items() if rule.alert and rule.enabled}

    def on_trial(self, rule: str) -> bool:
        """Return whether a rule runs in shadow."""
        return rule in self.rules and self.rules[rule].shadow

    def promoted(self, rule: str) -> Self:
        """Return the policy with a rule's trial over, for a look at what it would have scored."""
        own = msgspec.structs.replace(self.rules[rule], shadow=False)
        return msgspec.structs.replace(self, rules={**self.rules, rule: own})

    def points(self, rule: str, group: Group) -> float:
        """Return the most that `rule` may add to the score through findings of `group`."""
        own = self.rules[rule].points if rule in self.rules else None
        if self.on_trial(rule):
            return 0.0
        bound = self.verdict.points.of(group)
        return bound if own is None or group is Group.TECHNICAL else own


def load_policies(directory: Path, analyzers: Sequence[LoadedPlugin]) -> Mapping[str, Policy]:
    """Read every `NAME.toml` in `directory`; a directory that is missing has just the built-in default.

    Raises:
        Misconfigured: naming the file, the place in it and what it must be.
    """
    policies = {DEFAULT: built_in_policy(analyzers)}
    for path in sorted(directory.glob("*.toml")):
        policies[path.stem] = load_policy(path, analyzers)
    return policies


def policy_of(policies: Mapping[str, Policy], name: str) -> Policy:
    """Return what a session is judged by that has chosen a policy: the default one, if that is gone by now.

    The report names it; a session that could not end would be worse.
    """
    return policies.get(name) or policies[DEFAULT]


def judgeable(session: ExamSession, policies: Mapping[str, Policy]) -> ExamSession:
    """Return the session under a policy that there is; see :func:`policy_of`."""
    return session if session.policy in policies else msgspec.structs.replace(session, policy=DEFAULT)


def load_policy(path: Path, analyzers: Sequence[LoadedPlugin]) -> Policy:
    """Read one policy; its name is the file's. What it does not say is as in the built-in default.

    Raises:
        Misconfigured: as :func:`load_policies`.
    """
    if not _NAME.fullmatch(path.stem):
        raise Misconfigured(f"{path}: a policy's file name is made of letters, digits, '_' and '-'")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path}: is not UTF-8, as TOML has to be: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{path}: {error}") from error
    for place in _non_finite(table):
        raise Misconfigured(f"{path}: {place}: must be a finite number")
    tables = table.pop("rules", {})
    general = _convert(table, Judgement, path, "")
    if not isinstance(tables, dict):
        raise Misconfigured(f"{path}: rules: must be tables, [rules.NAME]")
    _refuse_unknown(
        tables, [loaded.plugin.name for loaded in analyzers], path, "rules", "installed analyzers"
    )
    rules = {loaded.plugin.name: _rule(loaded, tables, path) for loaded in analyzers}
    general_tables = {name: getattr(general, name) for name in Judgement.__struct_fields__}
    return Policy(name=path.stem, rules=rules, **general_tables)


def built_in_policy(analyzers: Sequence[LoadedPlugin]) -> Policy:
    """Return the policy that says nothing of its own."""
    rules = {loaded.plugin.name: _rule(loaded, {}, Path("built-in")) for loaded in analyzers}
    return Policy(rules=rules)


def _rule(loaded: LoadedPlugin, tables: Mapping[str, Any], path: Path) -> Rule:
    name, settings = loaded.plugin.name, loaded.analyzer.Settings
    place = f"rules.{name}"
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise Misconfigured(f"{path}: {place}: must be a table")
    fields = list(settings.__struct_encode_fields__)
    _refuse_unknown(table, [*ENGINE_KEYS, *fields], path, place, "settings")
    own = _convert({key: table[key] for key in table if key in fields}, settings, path, place)
    try:
        loaded.analyzer(own)
    except ValueError as error:
        raise Misconfigured(f"{path}: {place}: {error}") from error
    rule = _convert({key: table[key] for key in table if key in ENGINE_KEYS}, Rule, path, place)
    return msgspec.structs.replace(rule, settings=msgspec.to_builtins(own))


def _convert(table: Mapping[str, Any], kind: type[_T], path: Path, place: str) -> _T:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        within, what = place_and_fault(error)
        what += _hint(what, kind, within)
        full_place = ".".join(filter(None, [place, within]))
        raise Misconfigured(": ".join(filter(None, [str(path), full_place, what]))) from error


def _hint(what: str, kind: Any, within: str) -> str:
    """Say which of a table's keys an unknown one was meant to be."""
    unknown = re.search(r"unknown field `(.*)`", what)
    for name in within.split(".") if within else ():
        kind = get_type_hints(kind).get(name)
    known = getattr(kind, "__struct_encode_fields__", ())
    close = difflib.get_close_matches(unknown[1], known, n=1) if unknown else []
    return f"; did you mean {close[0]}?" if close else ""


def _refuse_unknown(
    table: Mapping[str, Any], known: Iterable[str], path: Path, place: str, kind: str
) -> None:
    for key in sorted(set(table) - set(known)):
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"{kind} are {', '.join(sorted(known)) or 'none'}"
        raise Misconfigured(f"{path}: {place}.{key}: unknown; {hint}")


def _non_finite(table: Mapping[str, Any], place: str = "") -> Iterable[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _non_finite(value, f"{place}{key}.")
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{place}{key}"


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()
