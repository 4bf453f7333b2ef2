"""Granting accommodations: what an institution asks for, held to what rules and policies know."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from proctor.accommodations import EVENTS, SIGNALS, AnyAccommodation, Break, Exempt, Scale, in_force, scaled
from proctor.analysis.discovery import LoadedPlugin
from proctor.analysis.policy import Policy, policy_of
from proctor.errors import InvalidRequest
from proctor.features import VOCABULARY
from proctor.strict_json import place_and_fault
from proctor.times import iso_from_ms, ms_from_iso

ACCOMMODATIONS_MAX = 50
"""Most that one session may have."""

_TYPES = "exempt, allow_people, scale, break"


class Granting:
    """Knows the policies and the bounds of the rules' settings."""

    def __init__(self, analyzers: Sequence[LoadedPlugin], policies: Mapping[str, Policy]) -> None:
        self._analyzers = {loaded.plugin.name: loaded.analyzer for loaded in analyzers}
        self._policies = policies

    def read(
        self,
        asked: Sequence[Any],
        policy_name: str,
        already: Sequence[AnyAccommodation] = (),
        granted_at: str | None = None,
    ) -> list[AnyAccommodation]:
        """Return what is asked for, given as JSON values, after what is there already. Ids are given here.

        Raises:
            InvalidRequest: naming the accommodation, counted from 0, and the key in it.
        """
        if len(asked) + len(already) > ACCOMMODATIONS_MAX:
            raise InvalidRequest(
                f"a session may have {ACCOMMODATIONS_MAX} accommodations", field="accommodations"
            )
        policy, granted = policy_of(self._policies, policy_name), list(already)
        for place, value in enumerate(asked):
            with _at(place):
                read = _timed(_converted(value))
                if read.withdrawn is not None:
                    raise InvalidRequest("this one was taken back; leave it out", field="withdrawn")
                read = msgspec.structs.replace(read, id=f"a{len(granted) + 1}", granted_at=granted_at)
                self._check(read, policy, granted)
                granted.append(read)
        return granted

    def check(self, granted: Sequence[AnyAccommodation], policy_name: str) -> None:
        """Hold what was granted under one policy to another. Raises as :meth:`read`."""
        policy = policy_of(self._policies, policy_name)
        for place, each in enumerate(granted):
            with _at(place):
                self._check(each, policy, granted[:place])

    def _check(self, read: AnyAccommodation, policy: Policy, already: Sequence[AnyAccommodation]) -> None:
        match read:
            case Exempt():
                _check_exemption(read, policy)
            case Scale():
                self._check_scale(read, policy)
                _check_alone(read, already)
            case Break(effective_until=None):
                raise InvalidRequest("a break has an end; say when", field="effective_until")

    def _check_scale(self, scale: Scale, policy: Policy) -> None:
        _check_known(scale.rule, policy.rules, "rule")
        settings = policy.rules[scale.rule].settings
        _check_known(scale.setting, settings, "setting")
        if isinstance(settings[scale.setting], bool) or not isinstance(settings[scale.setting], (int, float)):
            raise InvalidRequest(f"{scale.rule}.{scale.setting} is no number to scale", field="setting")
        changed = scaled(settings, [scale])
        before, after = settings[scale.setting], changed[scale.setting]
        if after == before:
            raise InvalidRequest(f"{scale.setting} would stay {before:g}", field="factor")
        analyzer = self._analyzers[scale.rule]
        try:
            analyzer(msgspec.convert(changed, analyzer.Settings))
        except ValueError as error:
            what = place_and_fault(error)[1] if isinstance(error, msgspec.ValidationError) else str(error)
            raise InvalidRequest(f"{scale.setting} would be {after:g}: {what}", field="factor") from error


@contextmanager
def _at(place: int) -> Iterator[None]:
    """Name the accommodation in every complaint about it."""
    try:
        yield
    except InvalidRequest as error:
        field = ".".join(filter(None, [f"accommodations.{place}", error.field]))
        raise InvalidRequest(f"{field}: {error.detail}", field=field) from error


def _converted(value: Any) -> AnyAccommodation:
    try:
        read: AnyAccommodation = msgspec.convert(value, AnyAccommodation)
    except msgspec.ValidationError as error:
        place, what = place_and_fault(error)
        if place == "type" or "`type`" in what:
            raise InvalidRequest(f"must be one of {_TYPES}", field="type") from error
        raise InvalidRequest(what, field=place or None) from error
    return read


def _check_alone(scale: Scale, already: Sequence[AnyAccommodation]) -> None:
    start, end = scale.span_ms
    for each in in_force(already):
        same = isinstance(each, Scale) and (each.rule, each.setting) == (scale.rule, scale.setting)
        if same and each.span_ms[0] < end and start < each.span_ms[1]:
            detail = f"{scale.rule}.{scale.setting} is scaled at that time already, by {each.id}"
            raise InvalidRequest(detail, field="setting")


def _timed(read: AnyAccommodation) -> AnyAccommodation:
    """Return it with its times written the one way that the rest of Proctor reads."""
    times = {}
    for field in ("effective_from", "effective_until"):
        text = getattr(read, field)
        if text is not None:
            try:
                times[field] = iso_from_ms(ms_from_iso(text))
            except (ValueError, OverflowError) as error:
                detail = f"{text!r} is no ISO 8601 date and time, like 2026-01-05T09:00:00Z"
                raise InvalidRequest(detail, field=field) from error
    read = msgspec.structs.replace(read, **times)
    start, end = read.span_ms
    if start >= end:
        raise InvalidRequest("must be later than effective_from", field="effective_until")
    return read


def _check_exemption(exemption: Exempt, policy: Policy) -> None:
    if (exemption.signal is None) == (exemption.rule is None):
        raise InvalidRequest("say which signal or which rule, one of the two", field="signal")
    if exemption.rule is not None:
        _check_known(exemption.rule, policy.rules, "rule")
    else:
        _check_known(exemption.signal or "", [*SIGNALS, *VOCABULARY, *EVENTS], "signal")


def _check_known(name: str, known: Iterable[str], field: str) -> None:
    names = sorted(known)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1) or difflib.get_close_matches(
            name.lower(), names, n=1
        )
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
        raise InvalidRequest(f"{name!r} is unknown; {hint}", field=field)
