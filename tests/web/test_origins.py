"""Which pages may stream to the server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.errors import Misconfigured
from proctor.settings import Settings
from proctor.web.origins import Own, may_act, origin_patterns

HOST = "proctor.example:8000"
OWN = Own("")


@pytest.mark.parametrize(
    ("public_url", "origin", "own"),
    [
        ("https://proctor.example/", "https://proctor.example", True),
        ("https://proctor.example", "https://proctor.example:8000", True),
        ("https://proctor.example", "http://proctor.example:8000", False),
        ("http://proctor.example", "http://proctor.example:8000", True),
        ("https://proctor.example", "https://elsewhere", False),
        ("", "http://proctor.example:8000", True),
        ("", "https://elsewhere", False),
        ("", "", False),
    ],
)
def test_pages_of_the_server_itself(public_url, origin, own):
    """Where browsers come by TLS, pages that came without it may be anybody's."""
    assert Own(public_url).includes(origin, HOST) is own


@pytest.mark.parametrize(
    ("allowed", "origin"),
    [
        (["https://exam.example"], "https://exam.example"),
        (["https://exam.example:8443"], "https://exam.example:8443"),
        (["http://localhost:*"], "http://localhost"),
        (["http://localhost:*"], "http://localhost:3000"),
        (["http://[::1]:*"], "http://[::1]:3000"),
        (["*"], "https://anywhere.example"),
        (["*"], "null"),
        ([], "https://proctor.example:8000"),
        ([], None),
    ],
)
def test_these_may(allowed, origin):
    """Also a page of the server's own, behind a proxy that does TLS, and a program, which sends no Origin."""
    assert may_act(origin, HOST, origin_patterns(allowed), OWN)


@pytest.mark.parametrize(
    ("allowed", "origin"),
    [
        (["https://exam.example"], "http://exam.example"),
        (["https://exam.example"], "https://exam.example:8443"),
        (["https://exam.example"], "https://exam.example.evil.example"),
        (["https://exam.example"], "https://sub.exam.example"),
        (["https://exam.example:*"], "https://examXexample"),
        (["http://localhost:*"], "http://localhost.evil.example"),
        (["http://localhost:*"], "http://localhost:80.evil.example"),
        (["http://localhost:*"], "http://localhost:"),
        (["http://localhost:*"], "https://localhost:3000"),
        ([], "https://exam.example"),
        ([], "null"),
        ([], ""),
        ([], "http://[nonsense"),
        ([], "https://proctor.example:8000.evil.example"),
        ([], "https://user@proctor.example:8000"),
    ],
)
def test_these_may_not(allowed, origin):
    assert not may_act(origin, HOST, origin_patterns(allowed), OWN)


@pytest.mark.parametrize("host", [None, ""])
@pytest.mark.parametrize("origin", ["null", "", "file://"])
def test_nowhere_is_not_the_server_itself(origin, host):
    assert not may_act(origin, host, [], OWN)


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "exam.example",
        "ftp://a.example",
        "https://",
        "https://a.example/",
        "https://*.a.example",
        "https://a b",
        "https://a.example:port",
        "https://a.example:*:*",
        "https://[",
        "https://a]",
    ],
)
def test_an_entry_that_is_no_origin_stops_the_server(entry):
    with pytest.raises(Misconfigured) as caught:
        origin_patterns(["https://good.example", entry])
    assert repr(entry) in caught.value.detail
    assert caught.value.field == "allowed_origins"


def test_by_default_only_pages_of_this_machine_may():
    patterns = origin_patterns(Settings(_env_file=None).allowed_origins)
    assert may_act("http://localhost:5173", HOST, patterns, OWN)
    assert may_act("http://127.0.0.1:5173", HOST, patterns, OWN)
    assert not may_act("https://evil.example", HOST, patterns, OWN)


@given(
    st.text() | st.from_regex(r"https?://[\[\]a-z:0-9@/.]*", fullmatch=True), st.none() | st.text(max_size=3)
)
def test_no_origin_is_too_odd_to_be_judged(origin, host):
    may_act(origin, host, origin_patterns(["http://localhost:*", "https://exam.example"]), OWN)
