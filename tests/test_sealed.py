"""What is sealed comes back as it was, and costs a state no more than its bytes."""

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from proctor.analysis.sealed import Sealed

Row = tuple[int, str]
rows = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.text(max_size=40)), max_size=40)


@given(rows, st.lists(st.integers(0, 40), max_size=5))
def test_rows_come_back_in_order_however_they_were_added(added, cuts):
    whole, pieces = Sealed(), Sealed()
    whole.add(added)
    for start, end in itertools.pairwise([0, *sorted(cuts), 40]):
        pieces.add(added[start:end])
        pieces = msgspec.msgpack.decode(msgspec.msgpack.encode(pieces), type=Sealed)
    assert pieces == whole
    assert whole.rows(Row) == added


def test_a_day_of_rows_comes_back():
    """More than MessagePack counts in two bytes."""
    sealed = Sealed()
    sealed.add((number, "") for number in range(2**16 + 1))
    assert [number for number, _ in sealed.rows(Row)] == list(range(2**16 + 1))
