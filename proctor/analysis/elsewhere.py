"""Which values of two reports differ, place by place, whatever they mean."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from proctor.analysis.causes import same_times
from proctor.analysis.pairing import BOOKKEEPING, TIMES, pair_grants
from proctor.analysis.told import Granted

Path = tuple[str, ...]
"""Keys from the report down; elements of a list have the list's."""

_NAMED: frozenset[Path] = frozenset(
    {("analyzers",), ("provenance", "plugins"), ("suspicious_events", "summary")}
)
"""Where keys are names of rules and the like: one that is not there says that the rule was not."""

_WHOLE: frozenset[Path] = frozenset(
    {("provenance", "policy", "values"), ("window_analysis", "predictions_per_window", "rules")}
)
"""What may have any keys is the same or is not."""

_DEPTHS: Mapping[str, int] = {
    "analyzers": 3,
    "contributions": 1,
    "findings": 1,
    "provenance": 3,
    "shadow": 1,
    "suspicious_events": 1,
    "timeline": 1,
    "window_analysis": 1,
}
"""How many keys say where something is, by the first of them; of others two."""


class Difference(NamedTuple):
    """A place where two reports do not say the same."""

    path: Path
    untold: bool = False
    """The earlier report has no such key, and so may come from a Proctor that knew nothing of it."""

    @property
    def name(self) -> str:
        """The place, dotted, no finer than it helps a reader."""
        return ".".join(self.path[: _DEPTHS.get(self.path[0], 2)])


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield where two reports, as JSON values, differ; accommodations are left to :func:`of_grants`."""
    if "accommodations" in before and "accommodations" in after:
        before, after = {**before, "accommodations": []}, {**after, "accommodations": []}
    yield from _differences(before, after, ())


def of_grants(
    old: Sequence[Granted], new: Sequence[Granted], before: Sequence[Any], after: Sequence[Any]
) -> Iterator[Difference]:
    """Yield in what the accommodations of two reports differ, other than in what was granted and when.

    `before` and `after` are `old` and `new` as JSON values.
    """
    for then, since in pair_grants(old, new):
        if then is not None and since is not None:
            told = BOOKKEEPING | TIMES
            if not same_times(old[then], new[since]):
                told |= {"description"}
            yield from _differences(
                _besides(before[then], told), _besides(after[since], told), ("accommodations",)
            )


def _besides(granted: Mapping[str, Any], told: frozenset[str]) -> dict[str, Any]:
    values = {**granted, **granted["accommodation"]}
    return {name: value for name, value in values.items() if name not in told | {"accommodation"}}


def _differences(before: Any, after: Any, path: Path) -> Iterator[Difference]:
    if before == after:
        return
    whole = path in _WHOLE or (path[:1] == ("analyzers",) and path[2:] == ("details",))
    if isinstance(before, dict) and isinstance(after, dict) and not whole:
        for key in sorted(before.keys() | after.keys()):
            if key in before and key in after:
                yield from _differences(before[key], after[key], (*path, key))
            else:
                yield Difference((*path, key), untold=key not in before and path not in _NAMED)
    elif isinstance(before, list) and isinstance(after, list) and not whole and len(before) == len(after):
        for one, other in zip(before, after, strict=True):
            yield from _differences(one, other, path)
    else:
        yield Difference(path)
