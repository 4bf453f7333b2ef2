"""The test kit for analyzer plugins: sessions to judge, and judging them as a server does.

A rule's own tests read like this::

    from proctor.testing import FACE, held, judge, only, simulated


    def test_hands_out_of_view():
        frames = held((60, FACE | {"hand_count": 2}), (30, FACE | {"hand_count": 0}), (5, FACE))
        finding = only(judge("hands", frames))
        assert (finding.start_seconds, finding.end_seconds) == (60.0, 90.0)


    def test_honest_people_are_left_alone():
        assert judge("hands", simulated("honest-lively").frames).findings == []

Frames come from `held` and `stored` (made by hand), `simulated` (exam takers whose truth is known) and
`recorded` (a dump). `judge` folds them, encodes and decodes the state at each of `cuts`, and holds the
analyzer to the server's limits.

What every analyzer must do, whatever it is about, is tested by one suite: `pytest --pyargs proctor.testing`
for all that are installed, `--analyzer NAME` for one, or as a class among a plugin's own tests::

    from proctor.testing.suite import ContractSuite


    class TestContract(ContractSuite):
        analyzer = "hands"

Importing this package loads neither the server, nor an event loop, nor pytest.
"""

from proctor.simulator import KINDS, Episode, Truth, episode
from proctor.testing.frames import FACE, NO_FACE, ORIGIN_MS, event, held, stored
from proctor.testing.judging import judge, levels, only
from proctor.testing.sessions import Simulated, recorded, simulated

__all__ = [
    "FACE",
    "KINDS",
    "NO_FACE",
    "ORIGIN_MS",
    "Episode",
    "Simulated",
    "Truth",
    "episode",
    "event",
    "held",
    "judge",
    "levels",
    "only",
    "recorded",
    "simulated",
    "stored",
]
