"""Whoever is asked for a pre-vote changes nothing by it: no term, no vote, no role, no timer (R2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core import State
from pyraft_lite.core.events import Receive
from pyraft_lite.core.messages import RequestPreVoteRequest
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.core.effects import Effect
    from pyraft_lite.core.events import Event
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation


class PreVoteChangesNothing(Invariant):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._before: dict[str, tuple[object, ...]] = {}

    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        core = node.core
        timer = core.deadline() if core.state is State.FOLLOWER else None
        after = (node.epoch, core.term, core.voted_for, core.state, core.leader, timer)
        before = self._before.get(node.name)
        self._before[node.name] = after
        if not isinstance(event, Receive) or not isinstance(event.request, RequestPreVoteRequest):
            return
        if before is not None and before[0] == node.epoch and before != after:
            raise Violation("pre-vote", f"{node.name} was asked for a pre-vote, and went from {before} to {after}")
