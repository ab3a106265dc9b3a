"""What a leader believes of a follower's log is so: up to the match index it holds the same, durably; and the match
index never moves back (dissertation 3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core.events import RpcResponse
from pyraft_lite.core.leader import Leader
from pyraft_lite.core.progress import Progress
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.core.effects import Effect
    from pyraft_lite.core.events import Event
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation


class MatchIndex(Invariant):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._known: dict[tuple[str, str], tuple[Progress, int]] = {}  # (leader, peer) -> what was believed last

    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        role = node.core.role
        if not isinstance(event, RpcResponse) or not isinstance(role, Leader):
            return
        for peer in role.replication.peers.values():
            known, match = self._known.get((node.name, peer.server.id), (None, 0))
            if known is peer and peer.match == match:
                continue
            if known is peer and peer.match < match:
                what = f"takes the match index of {peer.server.id} back from {match} to {peer.match}"
                raise Violation("match index", f"{node.name} {what}")
            self._known[node.name, peer.server.id] = (peer, peer.match)
            self._check(node, peer)

    def _check(self, leader: SimulatedNode, peer: Progress) -> None:
        disk = self.simulation.network.nodes[peer.server.address].disk
        if disk.hard_state.term > leader.core.term:
            return  # a later leader may have changed its log since
        ours = leader.core.log.term(peer.match)
        if not peer.match or ours is None or disk.log.term(peer.match) == ours:
            return
        if not any(meta.index >= peer.match for meta in disk.snapshots.list()):
            believed = f"believes that {peer.server.id} has its entry {peer.match} of term {ours}"
            raise Violation("match index", f"{leader.name} {believed}, which is not on its disk")
