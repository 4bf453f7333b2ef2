"""Tells candidates at once what a rule has found, where the exam's policy wants them to know."""

from collections import OrderedDict
from collections.abc import Callable, Mapping

from proctor.analysis.glance import Glance
from proctor.analysis.policy import Policy
from proctor.farewells import Farewells
from proctor.model import ExamSession
from proctor.replies import Alert
from proctor.times import iso_from_ms

_NOW_MS = 10_000
"""A concern that ended longer ago, counted from the last frame, helps nobody any more."""
_REMEMBERED = 10_000
"""Concerns that candidates were told of, the latest."""


class Alerts:
    """Remembers what was told, so that nobody hears twice of one concern."""

    hurried = True

    def __init__(
        self, farewells: Farewells, policies: Mapping[str, Policy], now_ms: Callable[[], int]
    ) -> None:
        self._farewells = farewells
        self._now_ms = now_ms
        self._texts = {name: policy.alerts for name, policy in policies.items() if policy.alerts}
        """By policy that has any, what to tell by rule."""
        self._told_until: OrderedDict[tuple[str, str], int] = OrderedDict()

    async def is_looking(self) -> bool:
        """See :class:`proctor.monitor.looking.Onlooker`."""
        return bool(self._texts)

    def wants(self, session: ExamSession) -> bool:
        """See the protocol."""
        return session.policy in self._texts

    async def see(self, session: ExamSession, glance: Glance) -> None:
        """Tell the session's clients of what is new in a glance."""
        texts = self._texts[session.policy]
        for concern in reversed(glance.newest):
            text, key = texts.get(concern.rule), (session.session_id, concern.rule)
            if text is None or concern.end_ms < (glance.last_ms or 0) - _NOW_MS:
                continue
            known, self._told_until[key] = self._told_until.get(key), concern.end_ms
            self._told_until.move_to_end(key)
            if len(self._told_until) > _REMEMBERED:
                self._told_until.popitem(last=False)
            if known is None or concern.start_ms > known:
                alert = Alert(session.session_id, concern.rule, text, iso_from_ms(self._now_ms()))
                await self._farewells.tell_everywhere(session.session_id, alert)
