"""Who ended workers is kept apart from the others, and after a while not run at all."""

from proctor.analysis.blame import OFFENCES_MAX, SESSIONS_MAX, Blame
from proctor.analysis.discovery import Plugin
from proctor.analysis.schema import Status
from proctor.analysis.slot import Fault

RULE = Plugin("rule", "ours", "1", "a:A")
OTHER = Plugin("other", "ours", "1", "a:B")
FAULT = Fault(Status.TIMED_OUT, "ours[rule]: took longer than 1 s")


def test_who_offended_is_a_suspect_until_it_does_well():
    blame = Blame()
    blame.convict(RULE, FAULT, None)
    assert blame.suspects([RULE, OTHER]) == [RULE]
    blame.acquit(RULE)
    assert blame.suspects([RULE, OTHER]) == []


def test_a_session_remembers():
    """An analyzer that hung on a session's report is not asked about it again, others' sessions are."""
    blame = Blame()
    blame.convict(RULE, FAULT, "exam")
    blame.acquit(RULE)
    assert blame.faults("exam") == {"rule": FAULT}
    assert blame.faults("other exam") == blame.faults(None) == {}


def test_too_many_offences_in_a_row_are_enough():
    """It is then off for all sessions; a good turn in between starts the count again."""
    blame = Blame()
    for _ in range(OFFENCES_MAX - 1):
        blame.convict(RULE, FAULT, None)
    blame.acquit(RULE)
    for _ in range(OFFENCES_MAX - 1):
        blame.convict(RULE, FAULT, None)
    assert blame.faults(None) == {}
    blame.convict(RULE, FAULT, None)
    [fault] = blame.faults("any").values()
    assert fault.status is Status.TIMED_OUT
    assert fault.reason.startswith(FAULT.reason)


def test_memory_is_bounded():
    blame = Blame()
    for number in range(SESSIONS_MAX + 1):
        blame.convict(RULE, FAULT, f"exam {number}")
    blame.acquit(RULE)
    assert blame.faults("exam 0") == {}
    assert blame.faults(f"exam {SESSIONS_MAX}") == {"rule": FAULT}
