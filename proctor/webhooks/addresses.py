"""Where webhooks may go: to public addresses, and to networks that the operator has named.

Whoever may add a webhook could otherwise have the server call what only the server reaches: databases, cloud
metadata, itself. A name is looked up for each attempt, every address of it is checked, and the connection
goes to an address that was checked, so that a name which changes in between gains nothing.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import httpcore
import httpx
import trio

from proctor.errors import InvalidRequest, Misconfigured

_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")
"""All that IANA has given out to be reached from everywhere."""
_SPECIAL = [
    # Not what one host is reached at, whether or not this Python's `is_global` knows already.
    ip_network(each)
    for each in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]
URL_CHARACTERS = 2000
_HOW = "; the operator can allow its network in WEBHOOK_PRIVATE_NETWORKS"


class Addresses:
    """Tells the addresses that may be called from others. `networks` are CIDRs.

    Raises:
        Misconfigured: one of them is none.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        try:
            self._networks = [ip_network(each) for each in networks]
        except ValueError as error:
            detail = f'{error}; networks are written like ["10.0.0.0/8", "fd00::/8"]'
            raise Misconfigured(detail, field="webhook_private_networks") from None

    def check_url(self, text: str) -> httpx.URL:
        """Return an address that a webhook may have, as far as that can be told without looking up its name.

        Raises:
            InvalidRequest: it may not; says why.
        """
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise InvalidRequest(f"no URL: {error}", field="url") from None
        if len(text) > URL_CHARACTERS or not text.isprintable():
            detail = f"longer than {URL_CHARACTERS} characters, or with some that cannot be printed"
            raise InvalidRequest(detail, field="url")
        if url.port is not None and not 0 < url.port < 2**16:
            raise InvalidRequest("no URL: a port is from 1 to 65535", field="url")
        if url.scheme not in ("https", "http") or not url.host:
            raise InvalidRequest("write it as https://HOST/PATH", field="url")
        if url.userinfo or url.fragment:
            raise InvalidRequest("leave out user, password and fragment", field="url")
        if url.scheme == "http" and not self._networks:
            raise InvalidRequest(
                f"without TLS, webhooks only go to WEBHOOK_PRIVATE_NETWORKS; {_HTTPS}", field="url"
            )
        return url

    async def resolve(self, host: str, port: int, *, encrypted: bool) -> list[str]:
        """Look up the addresses of a host, all of which may be called.

        Raises:
            InvalidRequest: one of them may not.
            OSError: there are none.
        """
        found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        for address in addresses:
            self.check(address, encrypted=encrypted)
        return addresses

    def check(self, text: str, *, encrypted: bool) -> None:
        """Return if an IP address may be called. Raises InvalidRequest."""
        address = _embedded(ip_address(text))
        if any(address in network for network in self._networks):
            return
        if not _is_public(address):
            raise InvalidRequest(f"{text} is no public address{_HOW}", field="url")
        if not encrypted:
            raise InvalidRequest(f"{text} is called with TLS only: {_HTTPS}", field="url")


_HTTPS = "use https://"


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to hosts by addresses that may be called. TLS still insists on the host's name."""

    def __init__(self, addresses: Addresses, *, encrypted: bool) -> None:
        self._addresses = addresses
        self._encrypted = encrypted
        self._network = httpcore.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore calls it so
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers.

        Raises:
            InvalidRequest: an address of the host may not be called.
            httpcore.ConnectError: none answers, or there is none.
        """
        try:
            addresses = await self._addresses.resolve(host, port, encrypted=self._encrypted)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} is not known: {error}") from error
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    special = any(address in network for network in _SPECIAL if network.version == address.version)
    return address.is_global and not address.is_multicast and not special


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that is meant by an IPv6 one, where it is."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
