"""How much of a turn of the event loop goes into refusing calls.

To refuse a call costs little, but clients can send more calls than even that allows for, and then all else on the loop
waits, a node's heartbeats among it. So connections whose calls are refused take turns, a part of each turn of the loop;
meanwhile TCP holds their clients up.
"""

import asyncio
from collections import deque

from pyraft_lite.rpc.http2.protocol import Http2Protocol
from pyraft_lite.rpc.http2.server import ServerConnection

MOST_REFUSED = 512
"""Calls that are refused in one turn of the loop before connections are held: some ten milliseconds. With 32, a node
that is called twice as often as it can answer falls behind with refusing."""


class Shedding:
    """Holds connections that ask for too much, for as long as it takes that others have had their turns."""

    def __init__(self) -> None:
        self._left = MOST_REFUSED
        self._counting = False
        self._held: deque[Http2Protocol[ServerConnection]] = deque()

    def refused(self, protocol: Http2Protocol[ServerConnection]) -> None:
        """A call has been refused that has just come on this connection."""
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._left -= 1
        if self._left < 0:
            protocol.connection.held = True
            self._held.append(protocol)

    def _next_turn(self) -> None:
        self._left = MOST_REFUSED
        self._counting = bool(self._held)
        if self._held:
            asyncio.get_running_loop().call_soon(self._next_turn)
        for _ in range(len(self._held)):
            if self._left <= 0:
                break
            self._held.popleft().go_on()
