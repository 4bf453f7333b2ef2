"""Whatever comes from outside, no cell of an export is a formula, and every text can be read back."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.spreadsheet import csv_rows


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff20", " =", "  @"])
def test_what_would_be_a_formula_is_text(start):
    [[cell]] = read(csv_rows([[f"{start}cmd|' /C calc'!A0"]]))
    assert cell == f"'{start}cmd|' /C calc'!A0"


def test_numbers_stand_as_they_are_and_nothing_is_empty():
    assert csv_rows([["a", -1, 2.5, None, 'say "x"; now']]) == '"a",-1,2.5,"","say ""x""; now"\r\n'


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1))
def test_texts_come_back(cells):
    [row] = read(csv_rows([cells]))
    assert all(cell in (before, f"'{before}") for cell, before in zip(row, cells, strict=True))
