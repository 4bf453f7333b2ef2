"""What stands of a review follows from its acts: who may do what, what is undone or lapses, who sees it."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proctor.analysis.review_policy import ReviewPolicy, SecondReviewer
from proctor.errors import Conflict, Forbidden, InvalidRequest, ProctorError
from proctor.review import Act, Decision, Review, ReviewState, fold, own_look, undoable, visible
from proctor.review_acts import STATEMENTS_MAX, Subject, Wish, add, state

NO_ISSUE, NEEDS_SECOND, REFERRED = Decision
OPEN, AWAITING, DECIDED = ReviewState
ONE = Subject(version=1, findings="x", keys=("a", "b", "c"))
OTHER = Subject(version=2, findings="y", keys=("b", "c", "d"))
SAME = Subject(version=3, findings="x", keys=("a", "b", "c"))


def policy(second: str = "referred") -> ReviewPolicy:
    return ReviewPolicy(second_reviewer=SecondReviewer(second))


class Desk:
    """A review under way, and whoever comes to it."""

    def __init__(self, second: str = "referred") -> None:
        self.policy = policy(second)
        self.subject = ONE
        self.events: list = []

    @property
    def review(self) -> Review:
        return fold(self.events, self.subject.findings)

    def do(self, reviewer: str, act: str, **more) -> ReviewState:
        wish = Wish(act=Act(act), **more)
        number = self.review.number + 1
        self.events.append(add(self.review, wish, self.subject, self.policy, reviewer=reviewer, at_ms=number))
        return self.events[-1].state

    def dismiss(self, reviewer: str, finding: str) -> ReviewState:
        return self.do(reviewer, "dismiss", finding=finding, reason="harmless")

    def decide(self, reviewer: str, decision: Decision, **more) -> ReviewState:
        return self.do(reviewer, "decide", decision=decision, **more)

    def say(self, text: str) -> None:
        self.events.append(state(self.review, text, self.subject, at_ms=0))


@pytest.mark.parametrize(
    ("second", "decision", "then"),
    [
        ("never", NO_ISSUE, DECIDED),
        ("never", REFERRED, DECIDED),
        ("never", NEEDS_SECOND, AWAITING),
        ("referred", NO_ISSUE, DECIDED),
        ("referred", REFERRED, AWAITING),
        ("always", NO_ISSUE, AWAITING),
    ],
)
def test_the_policy_says_when_somebody_else_looks(second, decision, then):
    desk = Desk(second)
    assert desk.do("ann", "confirm", finding="a") is OPEN
    assert desk.decide("ann", decision) is then
    assert desk.review.outcome == (decision if then is DECIDED else None)


def test_the_second_look_is_anothers_who_does_not_know_the_first_and_has_the_last_word():
    desk = Desk()
    desk.do("ann", "confirm", finding="a", note="clear")
    desk.decide("ann", REFERRED)
    with pytest.raises(Forbidden, match="another reviewer's"):
        desk.decide("ann", NO_ISSUE)
    assert visible(desk.review, "bob") == []
    assert [event.number for event in visible(desk.review, "ann")] == [1, 2]
    desk.dismiss("bob", "a")
    assert [event.number for event in visible(desk.review, "bob")] == [3]
    assert [event.number for event in visible(desk.review, "ann")] == [1, 2]
    assert undoable(desk.review, "ann") == [], "the second look has begun"
    with pytest.raises(InvalidRequest, match="last word"):
        desk.decide("bob", NEEDS_SECOND)
    assert desk.decide("bob", NO_ISSUE) is DECIDED
    assert (desk.review.outcome, desk.review.judgement("a").act) == (NO_ISSUE, Act.DISMISS)
    assert [len(visible(desk.review, who)) for who in ("ann", "bob", "cleo")] == [4, 4, 4]


def test_everything_can_be_taken_back_in_its_turn():
    desk = Desk()
    desk.dismiss("ann", "a")
    desk.do("ann", "confirm", finding="a")
    desk.do("ann", "undo", undoes=2)
    assert desk.review.first.judgements["a"].act is Act.DISMISS, "what was there before stands again"
    desk.decide("ann", NEEDS_SECOND)
    with pytest.raises(Conflict, match="what can be: 4"):
        desk.do("ann", "undo", undoes=1)
    with pytest.raises(Conflict, match="what can be: nothing"):
        desk.do("bob", "undo", undoes=4)
    desk.dismiss("bob", "b")
    desk.decide("bob", NO_ISSUE)
    with pytest.raises(Conflict, match="what can be: nothing"):
        desk.do("ann", "undo", undoes=6)
    assert desk.do("bob", "undo", undoes=6) is AWAITING
    assert desk.do("bob", "undo", undoes=5) is AWAITING
    assert desk.do("ann", "undo", undoes=4) is OPEN
    assert desk.do("cleo", "undo", undoes=1) is OPEN
    assert desk.review.first.judgements == {}
    with pytest.raises(Conflict, match="what can be: nothing"):
        desk.do("cleo", "undo", undoes=1)


def test_a_colleague_reopens_what_one_person_has_decided():
    desk = Desk("never")
    desk.decide("ann", NO_ISSUE)
    with pytest.raises(Conflict, match="take the decision back first"):
        desk.dismiss("bob", "a")
    assert desk.do("bob", "undo", undoes=1) is OPEN


def test_a_decision_lapses_when_other_things_are_found_and_judgements_stay_with_their_findings():
    desk = Desk("never")
    desk.dismiss("ann", "a")
    desk.dismiss("ann", "b")
    desk.decide("ann", NO_ISSUE)
    desk.subject = SAME
    assert desk.review.state is DECIDED
    desk.subject = OTHER
    assert (desk.review.state, desk.review.outcome) == (OPEN, None)
    assert {"a", "b"} == set(desk.review.first.judgements)
    with pytest.raises(InvalidRequest, match="version 2 of the report has no finding") as caught:
        desk.do("ann", "confirm", finding="a")
    assert caught.value.field == "finding"
    desk.dismiss("ann", "d")
    desk.subject = SAME
    assert desk.review.state is OPEN, "it was about another report meanwhile"


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"act": "confirm"}, "finding"),
        ({"act": "confirm", "finding": "a", "decision": NO_ISSUE}, "decision"),
        ({"act": "confirm", "finding": "a", "reason": "harmless"}, "reason"),
        ({"act": "dismiss", "finding": "a"}, "reason"),
        ({"act": "dismiss", "finding": "a", "reason": "as_reported"}, "reason"),
        ({"act": "dismiss", "finding": "z", "reason": "harmless"}, "finding"),
        ({"act": "decide"}, "decision"),
        ({"act": "decide", "decision": REFERRED}, "note"),
        ({"act": "decide", "decision": REFERRED, "note": " \n"}, "note"),
        ({"act": "undo"}, "undoes"),
        ({"act": "undo", "undoes": 1, "note": "sorry"}, "note"),
        ({"act": "statement", "note": "it was not me"}, "act"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(wish, field):
    with pytest.raises(InvalidRequest) as caught:
        Desk().do("ann", **wish)
    assert caught.value.field == field


def test_a_referral_rests_on_something():
    Desk().decide("ann", REFERRED, note="seen on the video")
    desk = Desk()
    desk.do("ann", "confirm", finding="a")
    desk.decide("ann", REFERRED)
    with pytest.raises(InvalidRequest, match="no finding is confirmed"):
        desk.decide("bob", REFERRED)  # not on what the first has confirmed


def test_a_candidate_is_heard_until_all_is_decided():
    desk = Desk()
    desk.say("it was a calculator")
    desk.decide("ann", NEEDS_SECOND)
    desk.say("it was my calculator")
    assert (desk.review.statement.note, desk.review.state) == ("it was my calculator", AWAITING)
    assert [event.number for event in visible(desk.review, "bob")] == [1, 3]
    desk.decide("bob", NO_ISSUE)
    with pytest.raises(Conflict, match="the review is over"):
        desk.say("please")
    flood = Desk()
    for _ in range(STATEMENTS_MAX):
        flood.say("again")
    with pytest.raises(Conflict, match="as often as it can be"):
        flood.say("again")


PEOPLE = st.sampled_from(["ann", "bob", "cleo"])
WISHES = st.one_of(
    st.builds(Wish, act=st.just(Act.CONFIRM), finding=st.sampled_from("abcd")),
    st.builds(Wish, act=st.just(Act.DISMISS), finding=st.sampled_from("abcd"), reason=st.just("harmless")),
    st.builds(Wish, act=st.just(Act.DECIDE), decision=st.sampled_from(Decision), note=st.just("so")),
    st.builds(Wish, act=st.just(Act.UNDO), undoes=st.integers(1, 12)),
)
STEPS = st.lists(st.tuples(PEOPLE, WISHES, st.sampled_from([ONE, ONE, ONE, OTHER])), max_size=25)


def essence(review: Review) -> object:
    looks = [(look.judgements, look.decision) for look in (review.first, review.second)]
    return (review.state, review.closing, looks)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.sampled_from(["never", "referred", "always"]))
def test_whatever_is_done_the_review_holds_together(steps, second):
    desk = Desk(second)
    for reviewer, wish, subject in steps:
        desk.subject = subject
        before = desk.review
        try:
            event = add(before, wish, subject, desk.policy, reviewer=reviewer, at_ms=1)
        except ProctorError:
            continue
        desk.events.append(event)
        after = desk.review
        assert (event.number, event.state, event.outcome) == (len(desk.events), after.state, after.outcome)
        # What the queue tells of it from the latest act alone.
        for other in (ONE, OTHER):
            stands = event.findings == other.findings
            assert fold(desk.events, other.findings).state is (event.state if stands else OPEN)
        if after.state is DECIDED and after.closing.look == 2:
            assert after.closing.reviewer not in after.first.reviewers
        for each in ("ann", "bob", "cleo"):
            if after.state is AWAITING:
                assert len({one.look for one in visible(after, each)}) <= 1
                assert (own_look(after, each) == 2) is (each not in after.first.reviewers)
            for one in undoable(after, each):
                assert one in visible(after, each)
        mine = [one.number for one in undoable(after, reviewer)]
        if wish.act is not Act.UNDO and event.number in mine:
            back = add(
                after,
                Wish(act=Act.UNDO, undoes=event.number),
                subject,
                desk.policy,
                reviewer=reviewer,
                at_ms=1,
            )
            assert essence(fold([*desk.events, back], subject.findings)) == essence(before)


def test_events_survive_being_written():
    desk = Desk()
    desk.dismiss("ann", "a")
    assert msgspec.convert(msgspec.to_builtins(desk.events[0]), type(desk.events[0])) == desk.events[0]
