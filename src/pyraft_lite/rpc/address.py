"""Addresses of the form ``host:port``, as servers have them."""

import asyncio
import errno
import ipaddress
import socket
from typing import Any

NO_SUCH_FAMILY = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What a socket says of an address that this machine is not set up for, such as ``::1`` where there is no IPv6."""


def split_address(address: str) -> tuple[str, int]:
    """The host and port of an address; an IPv6 host stands in brackets (``[::1]:50051``), and loses them here.

    An empty host (``:50051``) stands for every interface.

    Raises:
        ValueError: the address is not of that form.
    """
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535 or (":" in host and not bracketed):
        raise ValueError(f"invalid address {address!r}: want host:port, such as localhost:50051 or [::1]:50051")
    return (host[1:-1] if bracketed else host), int(port)


async def resolve(address: str) -> list[tuple[socket.AddressFamily, Any]]:
    """All that ``address`` stands for: address families with what ``socket.bind`` and ``socket.connect`` take.

    Raises:
        ValueError: the address is not of the form ``host:port``.
        OSError: the host is unknown.
    """
    host, port = split_address(address)
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return [(family, place) for family, _, _, _, place in found]


def is_loopback(address: str) -> bool:
    """True if only this machine can reach ``address`` (``host:port``); a name other than ``localhost`` may stand for
    any.

    Raises:
        ValueError: the address is not of the form ``host:port``.
    """
    host, _ = split_address(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
