"""Messages between nodes: late, lost, twice, out of order, or cut off. Every request ends in an answer or a failure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyraft_lite.core.effects import Channel
from pyraft_lite.core.events import RpcFailed, RpcResponse
from pyraft_lite.core.messages import Request, Response

if TYPE_CHECKING:
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.profile import Profile
    from pyraft_lite.sim.world import World

RPC_TIMEOUT = 1.0
REFUSED_AFTER = 0.001
BROKEN_AFTER = 0.005
"""How soon a node notices that a stream broke, in the mean."""


class Stream:
    """The appends from one start of a node to one peer: they arrive in order, until one of them does not arrive."""

    __slots__ = ("calls", "last_answer", "last_arrival", "lost")

    def __init__(self) -> None:
        self.calls: dict[Call, None] = {}
        self.last_arrival = 0.0
        self.last_answer = 0.0
        self.lost = False


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """One request on its way, and its answer's way back."""

    sender: SimulatedNode
    epoch: int
    rpc_id: int
    receiver: SimulatedNode
    request: Request
    state: bytes | None = None
    stream: Stream | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Arrival:
    """The receiver's token for a request; a duplicate arrives with one of its own."""

    call: Call


class Network:
    """Connects nodes by address.

    Attributes:
        cut: How many faults hold up what goes from one address to another.
        loss, duplication: Probabilities.
        delay: The mean delay in seconds.
        slow_links: The mean of what comes on top of it from one address to another.
        usual_loss, usual_duplication, usual_delay: What they are when no fault changes them.
    """

    def __init__(self, world: World, profile: Profile) -> None:
        self._world = world
        self._dice = world.dice("network")
        self.loss = self.usual_loss = profile.loss
        self.duplication = self.usual_duplication = profile.duplication
        self.delay = self.usual_delay = profile.delay
        self._ordered_streams = profile.ordered_streams
        self.nodes: dict[str, SimulatedNode] = {}
        self.cut: Counter[tuple[str, str]] = Counter()
        self.slow_links: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._open: dict[Call, None] = {}
        self._streams: dict[tuple[str, int, str], Stream] = {}

    def mend(self, links: Iterable[tuple[str, str]]) -> None:
        """One fault less on each of these links."""
        self.cut.subtract(links)

    def quicken(self, link: tuple[str, str], by: float) -> None:
        """This link is no longer so slow."""
        self.slow_links[link] = max(0.0, self.slow_links[link] - by)

    def heal(self) -> None:
        """No more faults, and no more long ways."""
        self.cut.clear()
        self.slow_links.clear()
        self.loss = self.usual_loss = self.duplication = self.usual_duplication = 0.0
        self.delay = self.usual_delay = 0.002
        self._ordered_streams = True

    # -- requests ---------------------------------------------------------------------------------------------------

    def send(
        self,
        sender: SimulatedNode,
        rpc_id: int,
        address: str,
        request: Request,
        *,
        channel: Channel = Channel.UNARY,
        state: bytes | None = None,
    ) -> None:
        """Sends a request, a snapshot with its state."""
        receiver = self.nodes[address]
        stream = None
        if channel is Channel.STREAM and self._ordered_streams:
            stream = self._streams.setdefault((sender.name, sender.epoch, address), Stream())
        call = Call(sender, sender.epoch, rpc_id, receiver, request, state, stream)
        self._open[call] = None
        if stream is not None:
            stream.calls[call] = None
        self._world.after(RPC_TIMEOUT, self._time_out, call)
        if not receiver.is_running and receiver.refuses:
            self._world.after(REFUSED_AFTER, self._time_out, call, "connection refused")
        elif not self._gets_through(sender.address, address):
            if stream is not None:
                stream.lost = True
        elif stream is None:
            for _ in range(2 if self._dice.random() < self.duplication else 1):
                self._world.after(self._way(sender.address, address), receiver.receive, Arrival(call))
        elif not stream.lost:
            stream.last_arrival = max(stream.last_arrival, self._world.now + self._way(sender.address, address))
            self._world.at(stream.last_arrival, self._arrive, call, receiver.epoch)

    def close_stream(self, sender: SimulatedNode, address: str) -> None:
        """The sender wants no more of it."""
        self._break(self._streams.pop((sender.name, sender.epoch, address), None), "stream closed")

    def break_streams(self, node: SimulatedNode) -> None:
        """All streams from and to this node break."""
        for key, stream in list(self._streams.items()):
            name, _, address = key
            if node.name == name or node.address == address:
                del self._streams[key]
                stream.lost = True
                self._world.after(self._dice.expovariate(1 / BROKEN_AFTER), self._break, stream, "stream broken")

    def crashed(self, node: SimulatedNode) -> None:
        """The node's process died, and its machine says so to whom it was connected."""
        self.break_streams(node)
        for call in list(self._open):
            if call.receiver is node and call.stream is None:
                self._world.after(self._dice.expovariate(1 / BROKEN_AFTER), self._time_out, call, "connection reset")

    # -- answers ----------------------------------------------------------------------------------------------------

    def answer(self, arrival: Arrival, response: Response | None) -> None:
        """Takes an answer back to who asked; None is an error."""
        call = arrival.call
        stream = call.stream
        if not self._gets_through(call.receiver.address, call.sender.address):
            if stream is not None:
                stream.lost = True
            return
        way = self._way(call.receiver.address, call.sender.address)
        event = RpcFailed(call.rpc_id, "error") if response is None else RpcResponse(call.rpc_id, response)
        if stream is None:
            self._world.after(way, self._end, call, event)
        elif not stream.lost:
            stream.last_answer = max(stream.last_answer, self._world.now + way)
            self._world.at(stream.last_answer, self._end_on_stream, call, event)

    def _arrive(self, call: Call, epoch: int) -> None:
        """The next request of a stream, unless it broke or leads to an earlier life of the receiver."""
        if call in self._open and call.receiver.epoch == epoch:
            call.receiver.receive(Arrival(call))

    def _time_out(self, call: Call, reason: str = "deadline exceeded") -> None:
        if call not in self._open:
            return
        if call.stream is None:
            self._end(call, RpcFailed(call.rpc_id, reason))
            return
        key = (call.sender.name, call.epoch, call.receiver.address)
        if self._streams.get(key) is call.stream:
            del self._streams[key]
        self._break(call.stream, reason)

    def _break(self, stream: Stream | None, reason: str) -> None:
        """Nothing of a broken stream is answered any more."""
        if stream is None:
            return
        stream.lost = True
        for call in list(stream.calls):
            self._end(call, RpcFailed(call.rpc_id, reason))

    def _end_on_stream(self, call: Call, event: Any) -> None:
        if isinstance(event, RpcFailed):
            self._time_out(call, event.reason)
        else:
            self._end(call, event)

    def _end(self, call: Call, event: Any) -> None:
        if call in self._open:
            del self._open[call]
            if call.stream is not None:
                call.stream.calls.pop(call, None)
            call.sender.deliver(call.epoch, event)

    def _gets_through(self, sender: str, receiver: str) -> bool:
        return self.cut[sender, receiver] <= 0 and (not self.loss or self._dice.random() >= self.loss)

    def _way(self, sender: str, receiver: str) -> float:
        mean = self.delay + self.slow_links.get((sender, receiver), 0.0)
        return self._dice.expovariate(1 / mean)
