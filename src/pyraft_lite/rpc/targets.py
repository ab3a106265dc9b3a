"""What clients are told to connect to: ``host:port``, ``dns:///host:port`` or ``multi:///a:1,b:2,c:3``."""

import asyncio
import re
import socket

from pyraft_lite.rpc.address import split_address

EXPECTED = "want host:port, dns:///host:port or multi:///host:port,host:port,…"

_HOST = re.compile(r"[\w.:%-]+")


def parse_target(target: str) -> list[str]:
    """The addresses a target names.

    Raises:
        ValueError: the target is not of a known form.
    """
    scheme, separator, rest = target.partition("://")
    if not separator:
        addresses = [target]
    elif scheme in ("dns", "multi") and rest.startswith("/"):
        addresses = rest[1:].split(",") if scheme == "multi" else [rest[1:]]
    else:
        raise ValueError(f"invalid target {target!r}: {EXPECTED}")
    for address in addresses:
        try:
            host, port = split_address(address)
        except ValueError as error:
            raise ValueError(f"invalid target {target!r}: {EXPECTED}") from error
        if not _HOST.fullmatch(host) or not port:
            raise ValueError(f"invalid target {target!r}: {EXPECTED}")
    return addresses


def grpc_target(target: str) -> str:
    """All that a target names, as grpc understands it. A single name is left for grpc to resolve, and to resolve anew
    when it reconnects; of several, grpc takes only IP addresses, so they are resolved here, once. Blocks while it
    does.

    Raises:
        ValueError: the target is not of a known form, or none of its names can be resolved.
    """
    addresses = parse_target(target)
    if len(addresses) == 1:
        return f"dns:///{addresses[0]}"
    places = _resolve(addresses)
    if all(family is socket.AF_INET for family, _, _ in places):
        return "ipv4:" + ",".join(f"{ip}:{port}" for _, ip, port in places)
    # One list holds one family: IPv4 goes into it in its mapped form, which needs no IPv6 to work.
    mapped = (ip if family is socket.AF_INET6 else f"::ffff:{ip}" for family, ip, _ in places)
    return "ipv6:" + ",".join(f"[{ip}]:{port}" for ip, (_, _, port) in zip(mapped, places, strict=True))


def grpc_targets(target: str) -> list[str]:
    """A grpc target for each IP address that a target stands for. Blocks while it resolves names.

    Raises:
        ValueError: the target is not of a known form, or none of its names can be resolved.
    """
    places = _resolve(parse_target(target))
    return [f"ipv6:[{ip}]:{port}" if family is socket.AF_INET6 else f"ipv4:{ip}:{port}" for family, ip, port in places]


async def resolve_target(target: str) -> list[str]:
    """Addresses (``host:port``) of all that a target stands for, whose hosts are IP addresses.

    Raises:
        ValueError: the target is not of a known form, or none of its names can be resolved.
    """
    places = await asyncio.to_thread(_resolve, parse_target(target))
    return [f"[{ip}]:{port}" if family is socket.AF_INET6 else f"{ip}:{port}" for family, ip, port in places]


def _resolve(addresses: list[str]) -> list[tuple[int, str, int]]:
    """Family, IP address and port of all that the addresses stand for. A name may stand for several, of which a node
    may listen on one only; and one that can't be resolved must not keep us from the others."""
    places = []
    for address in addresses:
        host, port = split_address(address)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # The latter if the name is none, such as one with an overlong label.
            continue
        places += [(family, str(place[0]), port) for family, _, _, _, place in found]
    if not places:
        raise ValueError(f"cannot resolve {' or '.join(addresses)}")
    return list(dict.fromkeys(places))
