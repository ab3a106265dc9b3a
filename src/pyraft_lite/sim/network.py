"""Messages between nodes: late, lost, twice, out of order, or cut off. Every request ends in an answer or a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyraft_lite.core.events import RpcFailed, RpcResponse
from pyraft_lite.core.messages import Request, Response

if TYPE_CHECKING:
    from pyraft_lite.sim.disk import State
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.world import World

RPC_TIMEOUT = 1.0
REFUSED_AFTER = 0.001
REFUSALS = 0.7
"""How often a dead node's port refuses at once; else it is as if its machine were gone."""


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """One request on its way, and its answer's way back."""

    sender: SimulatedNode
    epoch: int
    rpc_id: int
    receiver: SimulatedNode
    request: Request
    state: State | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Arrival:
    """The receiver's token for a request; a duplicate arrives with one of its own."""

    call: Call


class Network:
    """Connects nodes by address.

    Attributes:
        cut: Pairs of addresses between which nothing gets through, in this direction.
        loss, duplication: Probabilities.
        delay: The mean delay in seconds.
    """

    def __init__(self, world: World, *, loss: float, duplication: float, delay: float) -> None:
        self._world = world
        self.loss, self.duplication, self.delay = loss, duplication, delay
        self.nodes: dict[str, SimulatedNode] = {}
        self.cut: set[tuple[str, str]] = set()
        self._open: set[Call] = set()

    def heal(self) -> None:
        """No more faults, and no more long ways."""
        self.cut.clear()
        self.loss = self.duplication = 0.0
        self.delay = 0.002

    def send(
        self, sender: SimulatedNode, rpc_id: int, address: str, request: Request, state: State | None = None
    ) -> None:
        """Sends a request, a snapshot with its state."""
        receiver = self.nodes[address]
        call = Call(sender, sender.epoch, rpc_id, receiver, request, state)
        self._open.add(call)
        self._world.after(RPC_TIMEOUT, self.fail, call, "deadline exceeded")
        chance = self._world.random.random
        if not receiver.is_running:
            if chance() < REFUSALS:
                self._world.after(REFUSED_AFTER, self.fail, call, "connection refused")
        elif self._gets_through(sender.address, address):
            for _ in range(2 if chance() < self.duplication else 1):
                self._world.soon(self.delay, receiver.receive, Arrival(call))

    def answer(self, arrival: Arrival, response: Response | None) -> None:
        """Takes an answer back to who asked; None is an error."""
        call = arrival.call
        if self._gets_through(call.receiver.address, call.sender.address):
            event = RpcFailed(call.rpc_id, "error") if response is None else RpcResponse(call.rpc_id, response)
            self._world.soon(self.delay, self._end, call, event)

    def fail(self, call: Call, reason: str) -> None:
        """There will be no answer."""
        self._end(call, RpcFailed(call.rpc_id, reason))

    def _end(self, call: Call, event: Any) -> None:
        if call in self._open:
            self._open.remove(call)
            call.sender.deliver(call.epoch, event)

    def _gets_through(self, sender: str, receiver: str) -> bool:
        return (sender, receiver) not in self.cut and self._world.random.random() >= self.loss
