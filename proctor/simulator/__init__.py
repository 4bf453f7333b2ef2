"""Exam takers that do not exist: people of known honesty, the browsers they sit at, and their connections.

`people` says who there is and what they do when, `scene` and `habits` what that looks like, `browser` what an
engine in a browser makes of it. None of these knows about servers: `client`, `run`, `replay` and `demo` do.
"""

from proctor.simulator.people import KINDS, Episode, ExamTaker, Truth, episode, exam_taker

__all__ = ["KINDS", "Episode", "ExamTaker", "Truth", "episode", "exam_taker"]
