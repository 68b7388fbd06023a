"""Which host a request comes from, where web servers stand in front of the bus and say so in ``X-Forwarded-For``."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


def sending_host(peer: str, forwarded: Iterable[str], *, trusted: Collection[Network]) -> str:
    """Go back from the peer as long as a trusted proxy speaks: everybody else can write what it likes.

    Args:
        peer: The address at the other end of the connection.
        forwarded: The ``X-Forwarded-For`` headers in their order; each proxy appends the address of its own peer.
        trusted: Where such proxies are.
    """
    said = [host.strip() for header in forwarded for host in header.split(",")]
    while said and is_in(peer, trusted):
        peer = said.pop()
    return peer


def is_in(host: str, networks: Collection[Network]) -> bool:
    """Is a host in one of these networks?"""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)
