"""Which host a request comes from, where web servers stand in front of the bus and say so in ``X-Forwarded-For``.

What a host may have is bounded, and so is what its site may: a provider gives a customer a /48 of IPv6, or a part of
it (RFC 6177), in which there are 65,536 hosts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

NETWORK_OF_A_HOST = 64
"""Bits of an IPv6 address that its owner cannot choose (RFC 4291, 2.5.1)."""

NETWORK_OF_A_SITE = 48

HOSTS_OF_A_SITE = 8
"""All hosts of a site together may have as much as so many."""


def sending_host(peer: str, forwarded: Iterable[str], *, trusted: Collection[Network]) -> str:
    """Go back from the peer as long as a trusted proxy speaks: everybody else can write what it likes.

    Args:
        peer: The address at the other end of the connection.
        forwarded: The ``X-Forwarded-For`` headers in their order; each proxy appends the address of its own peer.
        trusted: Where such proxies are.

    Returns:
        An IPv4 address, an IPv6 network, or nothing for all whose address is not known.
    """
    said = [host for header in forwarded for host in header.split(",")]
    address = _address(peer)
    while said and address and any(address in network for network in trusted):
        address = _address(said.pop())
    return _host(address) if address else ""


def is_in(host: str, networks: Collection[Network]) -> bool:
    """Is a host in one of these networks?"""
    address = _address(host)
    return address is not None and any(address in network for network in networks)


@lru_cache(maxsize=1024)
def places_of(host: str) -> tuple[tuple[str, int], ...]:
    """Tell for whom else a host counts.

    Args:
        host: As `sending_host` returns it.

    Returns:
        The host and, with IPv6, its site; beside each, how many hosts' share it may have.
    """
    if ":" not in host:
        return ((host, 1),)
    site = IPv6Network(host).supernet(new_prefix=NETWORK_OF_A_SITE)
    return (host, 1), (str(site), HOSTS_OF_A_SITE)


# Both are asked at each request, and mostly for the same hosts.
@lru_cache(maxsize=1024)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address as proxies write it: perhaps with a port, in brackets, or as an IPv6 one that stands for IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


@lru_cache(maxsize=1024)
def _host(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((int(address), NETWORK_OF_A_HOST), strict=False))
