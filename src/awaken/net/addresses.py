"""Which addresses belong to the public internet, and which must not be reached from a server.

A server that fetches what it is told to can be made to fetch what only it can reach: the metadata
service of its cloud, a database on the private network, itself (server-side request forgery). The
test is made on the address that a name resolved to, never on the name. The networks are listed
here, by the IANA special-purpose registries, because what `ipaddress` calls global differs between
Python versions.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_CLOSED_V4: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; one cloud's metadata is at 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # another cloud's host agent, an address that looks public
        "169.254.0.0/16",  # link-local, with the metadata service of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays from IPv6
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_UNICAST_V6: Final = ipaddress.IPv6Network("2000::/3")
"""Where IPv6 addresses of the internet are; loopback, link-local, private and multicast are not."""
_CLOSED_V6: Final = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, with addresses that hide an IPv4 address (Teredo)
        "2001:db8::/32",  # documentation
        "2002::/16",  # hides an IPv4 address (6to4)
        "3fff::/20",  # documentation
    )
)
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""Two ways to write an IPv4 address in IPv6: the address inside is the one that is reached."""


def is_public(address: Address) -> bool:
    """Whether `address` is one of the public internet."""
    address = unwrapped(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    return address in _UNICAST_V6 and not any(address in network for network in _CLOSED_V6)


def unwrapped(address: Address) -> Address:
    """The IPv4 address that is written as an IPv6 one, else `address`."""
    if isinstance(address, IPv6Address) and (address in _MAPPED or address in _TRANSLATED):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
