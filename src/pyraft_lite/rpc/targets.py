"""What clients are told to connect to: ``host:port``, ``dns:///host:port`` or ``multi:///a:1,b:2,c:3``."""

import socket

from pyraft_lite.rpc.address import split_address

EXPECTED = "want host:port, dns:///host:port or multi:///host:port,host:port,…"


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
        if not host or not port:
            raise ValueError(f"invalid target {target!r}: {EXPECTED}")
    return addresses


def grpc_target(target: str) -> str:
    """The target as grpc understands it. A single name is left for grpc to resolve, and to resolve anew when it
    reconnects; of several, grpc takes only IP addresses of one family, so they are resolved here, once.

    Raises:
        ValueError: the target is not of a known form, or none of its names can be resolved.
    """
    addresses = parse_target(target)
    if len(addresses) == 1:
        return f"dns:///{addresses[0]}"
    for family, scheme in ((socket.AF_INET, "ipv4"), (socket.AF_INET6, "ipv6")):
        found = [place for address in addresses if (place := _resolve(address, family))]
        if found:
            return f"{scheme}:" + ",".join(dict.fromkeys(found))
    raise ValueError(f"cannot resolve any of {', '.join(addresses)}")


def _resolve(address: str, family: socket.AddressFamily) -> str:
    """The address as ``ip:port``, "" if it has none of this family: a name of a lost node must not keep us from the
    others."""
    host, port = split_address(address)
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    except OSError:
        return ""
    ip = str(found[0][4][0])
    return f"[{ip}]:{port}" if family is socket.AF_INET6 else f"{ip}:{port}"
