"""Where a request comes from, if it comes through reverse proxies.

A proxy appends to `X-Forwarded-For` whom it was asked by; whoever asks may have written anything before that.
So the header is read from its end, and only as far as each address is one of a trusted proxy.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from proctor.errors import Misconfigured

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def proxy_networks(trusted: Sequence[str]) -> list[Network]:
    """Return what trusted proxies are recognised by.

    Raises:
        Misconfigured: an entry that is neither an address nor a network.
    """
    networks: list[Network] = []
    for entry in trusted:
        try:
            networks.append(ip_network(entry))
        except ValueError as fault:
            detail = f"{fault}; write an address or a network, such as 10.0.0.7 or 10.0.0.0/24"
            raise Misconfigured(detail, field="trusted_proxies") from None
    return networks


def client_of(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """Return the address of who asks: the last one that is no trusted proxy's.

    `forwarded` is the header. What is no address in it ends the search, for it tells nothing.
    """
    client = _address(peer)
    if client is None:
        return peer
    hops = reversed(forwarded.split(","))
    while _is_in(client, trusted):
        before = _address(next(hops, ""))
        if before is None:
            break
        client = before
    return str(client)


class BehindProxies:
    """An ASGI application whose clients are those of the trusted proxies before it."""

    def __init__(self, app: Any, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] in ("http", "websocket") and (client := scope.get("client")):
            forwarded = b",".join(_lines(scope["headers"])).decode("latin-1")
            scope["client"] = (client_of(client[0], forwarded, self._trusted), client[1])
        await self._app(scope, receive, send)


def _lines(headers: Any) -> Iterator[bytes]:
    return (value for name, value in headers if name.lower() == b"x-forwarded-for")


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _address(text: str) -> Address | None:
    """Read an address as proxies write it, perhaps with a port."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
