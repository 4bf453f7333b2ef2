"""Judging episodes by how long they last and how often they come: what most rules do."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from proctor.analysis.api import WINDOW_SECONDS, Assessment, Calm, Finding, Group, Level, Observed
from proctor.analysis.episodes import Episode, Episodes, Hysteresis, joined, not_listed

_WINDOW_MS = round(WINDOW_SECONDS * 1000)


class Durations(msgspec.Struct, frozen=True, kw_only=True):
    """What episodes of one signal amount to. Each is a finding; a long or repeated one is a concern."""

    category: str
    group: Group
    signal: str
    """The feature or event that a reader of the report looks up."""
    hysteresis: Hysteresis
    """Its `persist_seconds` is what a finding takes at the least."""
    concern_seconds: float
    within_seconds: float = 0.0
    """If not 0, what counts towards `concern_seconds` is evidence in any stretch so long, of all those …"""
    apart_seconds: float | None = None
    """… that have no longer between one and the next; None means however far apart."""
    repeats: int = 0
    """If not 0, so many alerts within `repeats_within_seconds` are a concern from the last of them on."""
    repeats_within_seconds: float = 300.0
    repeats_from_seconds: float = 0.0
    """Shorter episodes are no alert."""
    frames_min: int = 1
    """No concern and no alert with fewer frames of evidence: a detector that errs in one frame of twenty errs
    in three on end in one of eight thousand."""
    realert_seconds: float = 30.0
    """Episodes that begin sooner after an alert belong to it and do not count as another."""

    def __post_init__(self) -> None:
        if self.hysteresis.persist_seconds > self.concern_seconds:
            raise ValueError(
                f"a finding would take {self.hysteresis.persist_seconds:g} s and a concern only "
                f"{self.concern_seconds:g} s; info_seconds must not be above concern_seconds"
            )

    def assess(
        self, state: Episodes, describe: Callable[[str], str], baseline: float | None = None
    ) -> Assessment:
        """Make the assessment of a rule that is about one signal.

        `describe` makes the finding's sentence from a duration in words, e.g. `12 s` or `12 s out of 30 s`.
        """
        episodes, windows = state.so_far(self.hysteresis), state.windows
        return Assessment(
            findings=self.findings(self.whole(episodes), describe, baseline),
            window_strengths=self._strengths(windows, episodes),
            observed_windows=sorted(window for window, (_, known) in windows.items() if known),
            details=not_listed(state.log),
            calm=Calm(seconds=self.calm_seconds(state, episodes), under_way=state.begun(self.hysteresis)),
        )

    def calm_seconds(self, state: Episodes, episodes: Sequence[Episode]) -> float:
        """Return how much more evidence, at the least, another concern takes; `episodes` are all so far."""
        current = state.current
        pending = 0.0 if current is None else current.seconds
        few = current is not None and current.frames < self.frames_min
        together = pending + self._recent_seconds(state)
        if together < self.concern_seconds:
            missing = self.concern_seconds - together
        else:  # it is one already, or part of one
            missing = _missing(self.concern_seconds, pending, few=few)
        alerts = self._recent_alerts(episodes)
        if alerts and alerts[-1] + 1 >= self.repeats > 0:
            least = max(self.hysteresis.persist_seconds, self.repeats_from_seconds)
            missing = min(missing, _missing(least, pending, few=few))
        return missing

    def whole(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Make one episode of those that only together are a concern, from the first of them to the last.

        Two belong together if some stretch of `within_seconds` reaches into both and has enough evidence.
        """
        behaviours: list[Episode] = []
        for chain in self._chains(episodes):
            for earlier, episode in zip([None, *chain], chain, strict=False):
                if earlier is not None and self._one_behaviour(earlier, episode, chain):
                    behaviours[-1] = joined(behaviours[-1], episode)
                else:
                    behaviours.append(episode)
        return behaviours

    def findings(
        self, episodes: Sequence[Episode], describe: Callable[[str], str], baseline: float | None = None
    ) -> list[Finding]:
        """Make a finding of every episode; they must be in order of time."""
        counted = [seconds for chain in self._chains(episodes) for seconds in self._counted_seconds(chain)]
        alerts = self._recent_alerts(episodes)
        return [
            self._finding(episode, seconds, alert, describe(extent(episode)), baseline)
            for episode, seconds, alert in zip(episodes, counted, alerts, strict=True)
        ]

    def window_strengths(self, state: Episodes, episodes: Sequence[Episode]) -> dict[int, float]:
        """Grade the evidence in each window.

        Within an episode evidence counts as spread evenly, for a signal that comes and goes means no less in
        the window that happens to catch little of it.
        """
        return self._strengths(state.windows, episodes)

    def _strengths(
        self, windows: Mapping[int, tuple[int, int]], episodes: Sequence[Episode]
    ) -> dict[int, float]:
        evidence = {window: weighed / 1_000_000 for window, (weighed, _) in windows.items() if weighed}
        for window, seconds in spread(episodes).items():
            evidence[window] = max(evidence.get(window, 0.0), seconds)
        return {window: grade(evidence[window], self.concern_seconds) for window in sorted(evidence)}

    def strengths_of(self, episodes: Sequence[Episode]) -> dict[int, float]:
        """Grade the evidence in each window that belongs to one of these episodes."""
        return self.window_strengths(Episodes(), episodes)

    def _finding(
        self, episode: Episode, seconds: float, alert: int, message: str, baseline: float | None
    ) -> Finding:
        repeated = 0 < self.repeats <= alert and self._alerts(episode)
        concern = repeated or (seconds >= self.concern_seconds and episode.frames >= self.frames_min)
        strength = round(seconds / (seconds + self.concern_seconds), 4)
        if repeated:
            message = f"{message}, the {_ordinal(alert)} time in {in_words(self.repeats_within_seconds)}"
        return Finding(
            category=self.category,
            group=self.group,
            level=Level.CONCERN if concern else Level.INFO,
            start_seconds=episode.start_ms / 1000,
            end_seconds=episode.end_ms / 1000,
            strength=max(strength, 0.5) if concern else strength,
            message=message,
            frame_ids=(episode.first_id, episode.worst_id, episode.last_id),
            observed=Observed(
                signal=self.signal,
                value=round(seconds, 3),
                threshold=self.concern_seconds
                if concern and not repeated
                else self.hysteresis.persist_seconds,
                baseline=baseline,
                unit="s",
            ),
        )

    def _recent_seconds(self, state: Episodes) -> float:
        """Seconds of finished episodes that may count together with what comes next."""
        if not self.within_seconds or state.newest is None or not state.log.kept:
            return 0.0
        chain, now_ms = self._chains(state.log.kept)[-1], state.newest.time_ms
        begins_ms = now_ms if state.current is None else state.current.start_ms
        if self.apart_seconds is not None and begins_ms - chain[-1].end_ms > self.apart_seconds * 1000:
            return 0.0
        return sum(one.seconds for one in chain if now_ms - one.end_ms < self.within_seconds * 1000)

    def _chains(self, episodes: Sequence[Episode]) -> list[list[Episode]]:
        """Split where there is more than `apart_seconds` between one episode and the next."""
        chains: list[list[Episode]] = []
        for episode in episodes:
            before = chains[-1][-1].end_ms if chains else 0
            apart = self.apart_seconds is not None and episode.start_ms - before > self.apart_seconds * 1000
            if not chains or apart:
                chains.append([])
            chains[-1].append(episode)
        return chains

    def _one_behaviour(self, earlier: Episode, later: Episode, episodes: Sequence[Episode]) -> bool:
        """Return whether a stretch that reaches into both holds `concern_seconds` of evidence."""
        width = round(self.within_seconds * 1000)
        if later.start_ms - earlier.end_ms >= width:
            return False
        begins = [earlier.start_ms, later.start_ms - width, earlier.end_ms - width, later.end_ms - width]
        return any(
            sum(_share_ms(episode, begin, begin + width) for episode in episodes)
            >= self.concern_seconds * 1000
            for begin in begins
            if begin < earlier.end_ms and begin + width > later.start_ms
        )

    def _counted_seconds(self, episodes: Sequence[Episode]) -> list[float]:
        """Seconds of each episode that count towards a concern."""
        if not self.within_seconds or not episodes:
            return [episode.seconds for episode in episodes]
        width = round(self.within_seconds * 1000)
        begins = [episode.start_ms for episode in episodes] + [episode.end_ms - width for episode in episodes]
        shares = np.array(
            [[_share_ms(episode, begin, begin + width) for episode in episodes] for begin in begins]
        )
        totals: NDArray[np.int64] = np.where(shares > 0, shares.sum(axis=1, keepdims=True), 0).max(axis=0)
        return [max(total, 0) / 1000 for total in totals.tolist()]

    def _alerts(self, episode: Episode) -> bool:
        return episode.seconds >= self.repeats_from_seconds and episode.frames >= self.frames_min

    def _recent_alerts(self, episodes: Sequence[Episode]) -> list[int]:
        """How many alerts there were within `repeats_within_seconds`, each episode's own included."""
        alerts: list[int] = []
        counts = []
        for episode in episodes:
            rested = not alerts or episode.start_ms - alerts[-1] >= self.realert_seconds * 1000
            if rested and self._alerts(episode):
                alerts.append(episode.start_ms)
            since = (alerts[-1] if alerts else 0) - self.repeats_within_seconds * 1000
            counts.append(sum(alert >= since for alert in alerts))
        return counts


def _missing(seconds: float, pending: float, *, few: bool) -> float:
    """Return what is missing to so many seconds, or to so many of another episode if they are there."""
    if pending < seconds:
        return seconds - pending
    return 0.0 if few else seconds


def spread(episodes: Sequence[Episode]) -> dict[int, float]:
    """Seconds of evidence per report window, each episode's spread evenly over its length."""
    seconds: dict[int, float] = {}
    for episode in episodes:
        for window in range(episode.start_ms // _WINDOW_MS, episode.end_ms // _WINDOW_MS + 1):
            share = _share_ms(episode, window * _WINDOW_MS, (window + 1) * _WINDOW_MS)
            seconds[window] = seconds.get(window, 0.0) + share / 1000
    return {window: share for window, share in seconds.items() if share}


def grade(seconds: float, concern_seconds: float) -> float:
    """Strength of so much evidence in one window: half at half of a concern, never quite 1."""
    half = min(concern_seconds, WINDOW_SECONDS) / 2
    return round(seconds / (seconds + half), 4)


def extent(episode: Episode) -> str:
    """`12 s`, or `12 s out of 30 s` where the signal came and went."""
    length = (episode.end_ms - episode.start_ms) / 1000
    seconds = in_words(episode.seconds)
    return seconds if episode.seconds >= 0.8 * length else f"{seconds} out of {in_words(length)}"


def in_words(seconds: float) -> str:
    """`3.4 s`, `12 s`, `2 min 5 s`, `5 min`."""
    if seconds < 10:
        return f"{round(seconds, 1):g} s"
    minutes, rest = divmod(round(seconds), 60)
    parts = [f"{minutes} min"] * bool(minutes) + [f"{rest} s"] * bool(rest)
    return " ".join(parts)


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")


def _share_ms(episode: Episode, start_ms: int, end_ms: int) -> int:
    length = max(episode.end_ms - episode.start_ms, 1)
    overlap = min(episode.end_ms, end_ms) - max(episode.start_ms, start_ms)
    return max(overlap, 0) * episode.on_ms // length
