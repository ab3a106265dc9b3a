"""Where a server listens: from ``host:port`` to sockets."""

import contextlib
import socket

from pyraft_lite.rpc.address import NO_SUCH_FAMILY, resolve, split_address

EVERYWHERE = ("", "0.0.0.0", "::")
"""The hosts that stand for every interface; each does so in both families."""


BACKLOG = 1024
"""How many connections may wait to be accepted."""

_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)


class ListenError(Exception):
    """An address cannot be listened on; the message names it and says why."""


async def bind_all(address: str) -> list[socket.socket]:
    """Sockets bound to all that ``address`` (``host:port``) stands for, to be closed by the caller.

    A port that another process listens on is taken; it is never shared. A family that this machine is not set up for is
    left out as long as there is another. With port 0 the sockets have the same port, any that is free.

    Raises:
        ListenError: the address is invalid, not of this machine, or taken.
    """
    try:
        host, port = split_address(address)
        found = await resolve(f":{port}" if host in EVERYWHERE else address)
    except (ValueError, OSError) as error:
        raise ListenError(f"cannot listen on {address}: {error}") from error
    sockets: list[socket.socket] = []
    with contextlib.ExitStack() as undo:
        reason: OSError | None = None
        for family, place in dict.fromkeys(found):  # Without repetition, of which /etc/hosts may hold some.
            try:
                each = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                each.bind((place[0], port, *place[2:]))
                port = each.getsockname()[1]
                sockets.append(each)
            except OSError as error:
                reason = error
                if error.errno not in NO_SUCH_FAMILY:
                    break
        else:
            if sockets:
                undo.pop_all()
                return sockets
    raise ListenError(f"cannot listen on {address}: {reason and reason.strerror}") from reason


async def listen_all(address: str) -> list[socket.socket]:
    """As :func:`bind_all`, but they listen, and have TCP look after their connections."""
    sockets = await bind_all(address)
    try:
        for each in sockets:
            keep_alive(each)
            each.listen(BACKLOG)
    except OSError as error:
        for each in sockets:
            each.close()
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    return sockets


def keep_alive(listener: socket.socket) -> None:
    """Has TCP find clients that vanished without a word, within 30 s: connections have this from what listens for
    them."""
    for option in _KEEPALIVE:
        listener.setsockopt(*option)
