"""Whose address a request has behind reverse proxies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor.errors import Misconfigured
from proctor.web.proxies import client_of, proxy_networks

TRUSTED = proxy_networks(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1,198.51.100.1,192.0.2.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, , 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("2001:db8::1", "[2001:db9::7]:4711", "2001:db9::7"),
        ("2001:db8::1", "2001:db9::7", "2001:db9::7"),
        ("<local>", "198.51.100.1", "<local>"),
    ],
)
def test_it_is_the_last_that_no_trusted_proxy_has(peer, forwarded, client):
    assert client_of(peer, forwarded, TRUSTED) == client


@given(st.text(), st.text(st.sampled_from("0123456789abcdef:.,[]% ")))
def test_whatever_the_header_says_there_is_an_address(odd, likely):
    for forwarded in (odd, likely, f"{odd},{likely}"):
        assert client_of("203.0.113.9", forwarded, TRUSTED) == "203.0.113.9"
        assert client_of("10.0.0.1", f"{forwarded},198.51.100.1", TRUSTED) == "198.51.100.1"
        client_of("10.0.0.1", forwarded, TRUSTED)


@pytest.mark.parametrize("entry", ["", "proxy.example", "10.0.0.1/8", "10.0.0.0/33", "*"])
def test_an_entry_that_is_no_network_stops_the_server(entry):
    with pytest.raises(Misconfigured, match=r"write an address or a network") as caught:
        proxy_networks(["10.0.0.0/8", entry])
    assert caught.value.field == "trusted_proxies"
