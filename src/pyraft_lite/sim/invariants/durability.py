"""What a node promises is on its disk before anybody counts on it: a vote, its own as well, and the entries it says
were appended (R3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core.effects import Effect, Respond
from pyraft_lite.core.messages import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    RequestVoteRequest,
    RequestVoteResponse,
)
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.network import Arrival
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.core.events import Event
    from pyraft_lite.sim.node import SimulatedNode


class Durability(Invariant):
    def elected(self, node: SimulatedNode, term: int) -> None:
        durable = node.disk.hard_state
        if (durable.term, durable.voted_for) != (term, node.address):
            raise Violation("durability", f"{node.name} leads term {term}, whose vote for itself is not on its disk")

    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        for effect in outcome:
            if not isinstance(effect, Respond) or not isinstance(effect.rpc, Arrival):
                continue
            request = effect.rpc.call.request
            match effect.response, request:
                case RequestVoteResponse(granted=True), RequestVoteRequest():
                    self._check_vote(node, request)
                case AppendEntriesResponse(success=True), AppendEntriesRequest() if request.entries:
                    self._check_entries(node, request)

    def _check_vote(self, node: SimulatedNode, request: RequestVoteRequest) -> None:
        durable = node.disk.hard_state
        if durable.term < request.term or (
            durable.term == request.term and durable.voted_for != request.sender.address
        ):
            raise Violation("durability", f"{node.name} promises {request.sender.id} its vote, on disk is {durable}")

    def _check_entries(self, node: SimulatedNode, request: AppendEntriesRequest) -> None:
        if node.core.term != request.term:
            return  # what was promised in an earlier term may have been overwritten since
        last, disk = request.entries[-1], node.disk
        if disk.log.term(last.index) != last.term and all(meta.index < last.index for meta in disk.snapshots.list()):
            raise Violation("durability", f"{node.name} says it has {last}, which is not on its disk")
