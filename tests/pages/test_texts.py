"""The languages of the pages say the same things."""

from collections.abc import Iterator
from typing import Any

import pytest

from proctor.web.pages.shell import LANGUAGES, data, texts_of


def names(texts: dict[str, Any], before: str = "") -> Iterator[str]:
    for name, text in texts.items():
        if isinstance(text, dict):
            yield from names(text, f"{before}{name}.")
        else:
            yield f"{before}{name} {sorted(part.partition('}')[0] for part in text.split('{')[1:])}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text_and_value(language):
    assert sorted(names(texts_of(language))) == sorted(names(texts_of("en")))


def test_a_text_cannot_end_the_script_that_it_stands_in():
    assert data({"a": "</script><!--"}) == '{"a":"\\u003c/script\\u003e\\u003c!--"}'
