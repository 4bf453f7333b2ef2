"""Where webhooks may go, whatever the address looks like and whatever a name turns out to be."""

import socket

import pytest
import trio

from proctor.errors import InvalidRequest, Misconfigured
from proctor.webhooks.addresses import Addresses
from proctor.webhooks.sender import Sender
from proctor.webhooks.signing import make_secret
from tests.fixtures.receiver import Receiver

PUBLIC = [
    "93.184.216.34",
    "8.8.8.8",
    "2606:2800:220:1:248:1893:25c8:1946",
    "64:ff9b::8.8.8.8",
    "::ffff:8.8.8.8",
]
REFUSED = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001:0:7f00:1::1",
    "fe80::1",
    "fec0::1",
    "fd00:ec2::254",
    "ff02::1",
    "::7f00:1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_called_with_tls(address):
    Addresses([]).check(address, encrypted=True)
    with pytest.raises(InvalidRequest, match="with TLS only"):
        Addresses([]).check(address, encrypted=False)


@pytest.mark.parametrize("address", REFUSED)
def test_others_are_refused(address):
    with pytest.raises(InvalidRequest, match=r"no public address.*WEBHOOK_PRIVATE_NETWORKS"):
        Addresses(["203.0.113.0/24"]).check(address, encrypted=True)


def test_networks_that_the_operator_names_are_called_and_no_others():
    addresses = Addresses(["10.1.0.0/16", "fd00::/8"])
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1"):
        addresses.check(address, encrypted=False)
    with pytest.raises(InvalidRequest):
        addresses.check("10.2.0.1", encrypted=True)
    with pytest.raises(Misconfigured, match="host bits set"):
        Addresses(["10.1.2.3/16"])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://example.org/", "https://HOST/PATH"),
        ("https:///path", "https://HOST/PATH"),
        ("example.org/hook", "https://HOST/PATH"),
        ("https://user:secret@example.org/", "user, password"),
        ("https://example.org/#x", "fragment"),
        ("http://example.org/", "WEBHOOK_PRIVATE_NETWORKS"),
        ("https://example.org:99999/", "no URL"),
        ("https://example.org/\r\nX: y", "no URL"),
        ("https://[::1", "no URL"),
        (f"https://example.org/{'x' * 2000}", "longer than"),
    ],
)
def test_addresses_of_another_form_are_refused_with_what_is_wrong(url, words):
    with pytest.raises(InvalidRequest) as refused:
        Addresses([]).check_url(url)
    assert words in refused.value.detail
    assert refused.value.field == "url"


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0"]
)
async def test_no_spelling_of_this_machine_is_called(receiver: Receiver, host):
    url = f"https://{host}:{receiver.port}/hook"
    outcome = await Sender(Addresses([])).send(url, make_secret(), "msg_1", b"{}")
    assert not outcome.delivered
    assert "no public address" in str(outcome.reason) or "no URL" in str(outcome.reason), outcome
    assert receiver.most_at_once == 0


class Names:
    """A resolver whose answer changes from one look to the next."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def getaddrinfo(self, host, port, *_args):
        await trio.lowlevel.checkpoint()
        host = host.decode() if isinstance(host, bytes) else host
        if host[0].isdecimal():
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        found = self.answers.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    async def getnameinfo(self, *_args):
        raise AssertionError("nobody asks for the name of an address")


async def test_a_name_that_changes_after_the_check_gains_nothing(receiver: Receiver):
    """It is looked up once per attempt, all its addresses are checked, and one of these is called."""
    names = Names(["127.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["10.0.0.1"], ["127.0.0.1"])
    trio.socket.set_custom_hostname_resolver(names)
    try:
        sender, url = Sender(Addresses(["127.0.0.0/8"])), f"http://rebinding.example:{receiver.port}/hook"
        outcomes = [await sender.send(url, make_secret(), "msg_1", b"{}") for _ in range(4)]
    finally:
        trio.socket.set_custom_hostname_resolver(None)
    assert [each.delivered for each in outcomes] == [True, False, False, True]
    assert "10.0.0.1 is no public address" in str(outcomes[1].reason)
    assert names.answers == []
    assert receiver.received[0].headers["host"] == f"rebinding.example:{receiver.port}"
