"""A node gives one vote per term, whatever crashes lie between (R3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core.effects import Effect, Respond
from pyraft_lite.core.messages import RequestVoteRequest, RequestVoteResponse
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.network import Arrival
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.core.events import Event
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation


class OneVote(Invariant):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._votes: dict[tuple[str, int], str] = {}

    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        for effect in outcome:
            if isinstance(effect, Respond) and isinstance(effect.response, RequestVoteResponse):
                assert isinstance(effect.rpc, Arrival)
                request = effect.rpc.call.request
                assert isinstance(request, RequestVoteRequest)
                if effect.response.granted:
                    self._count(node.name, request.term, request.sender.id)

    def elected(self, node: SimulatedNode, term: int) -> None:
        self._count(node.name, term, node.name)

    def _count(self, voter: str, term: int, candidate: str) -> None:
        first = self._votes.setdefault((voter, term), candidate)
        if first != candidate:
            raise Violation("one vote", f"{voter} votes in term {term} for {first} and for {candidate}")
