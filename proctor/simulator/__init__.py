"""Exam takers that do not exist: people of known honesty, the browsers they sit at, and their connections.

`kinds` says what sorts of people there are, `people` who takes an exam and does what when, `scene` and
`habits` what that looks like, `camera` and `browser` what an engine in a browser makes of it. None of these
knows about servers: `client`, `run`, `replay` and `demo` do.
"""

from proctor.simulator.kinds import KINDS
from proctor.simulator.people import Episode, ExamTaker, Truth, episode, exam_taker

__all__ = ["KINDS", "Episode", "ExamTaker", "Truth", "episode", "exam_taker"]
