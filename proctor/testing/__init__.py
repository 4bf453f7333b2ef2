"""The test kit for analyzer plugins: sessions to judge, and judging them as a server does.

A rule's own tests read like this::

    from proctor.testing import FACE, episode, held, judge, only, simulated

    ALONE = FACE | {"phone_present": 0}
    CALLING = FACE | {"phone_present": 1, "phone_conf": 90}


    def test_a_phone_is_seen():
        finding = only(judge("phone", held((60, ALONE), (8, CALLING), (20, ALONE))))
        assert (finding.start_seconds, finding.end_seconds, finding.level) == (60.0, 68.0, "concern")


    def test_one_frame_at_a_time_is_the_same():
        frames = held((60, ALONE), (8, CALLING), (20, ALONE), fps=10, jitter=1)
        assert judge("phone", frames, cuts=range(1, len(frames))) == judge("phone", frames)


    def test_a_policy_may_be_patient():
        frames = held((60, ALONE), (8, CALLING), (20, ALONE))
        assert only(judge("phone", frames, concern_seconds=30.0)).level == "info"


    def test_people():
        assert judge("phone", simulated("honest-lively").frames).findings == []
        exam = simulated("honest-lively", script=[episode("phone", 60, 75)])
        assert 60 <= only(judge("phone", exam.frames)).start_seconds <= 75

An analyzer is named by its entry point, or given as a class. Frames come from `held` and `stored` (made by
hand), `simulated` (exam takers whose truth is known) and `recorded` (a dump). `judge` folds them, encodes and
decodes the state at each of `cuts`, and holds the analyzer to the server's limits.

What every analyzer must do, whatever it is about, is tested by one suite: `pytest --pyargs proctor.testing`
for all that are installed, `--analyzer NAME` for one, or as a class among a plugin's own tests::

    from proctor.testing.suite import ContractSuite


    class TestContract(ContractSuite):
        analyzer = "phone"

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
