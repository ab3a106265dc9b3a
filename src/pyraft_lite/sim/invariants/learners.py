"""A server becomes a voter once it has what was in the log when that was asked for (R11, dissertation 4.2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core import State
from pyraft_lite.core.configuration import ChangeCommand
from pyraft_lite.core.effects import Write
from pyraft_lite.core.entry import EntryType
from pyraft_lite.core.events import ChangeMembership
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.core.effects import Effect
    from pyraft_lite.core.events import Event
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation


class LearnersCatchUp(Invariant):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._asked: dict[tuple[str, int, int, str], int] = {}  # leader, its epoch and term, new voter -> last index

    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        core = node.core
        if core.state is not State.LEADER:
            return
        if isinstance(event, ChangeMembership) and event.change.command is ChangeCommand.ADD_VOTER:
            self._asked.setdefault((node.name, node.epoch, core.term, event.change.server_id), core.commit_index)
        for effect in outcome:
            if isinstance(effect, Write):
                for entry in effect.entries:
                    if entry.type is EntryType.CONFIGURATION:
                        self._check(node, entry.index)

    def _check(self, leader: SimulatedNode, index: int) -> None:
        core = leader.core
        _, before = core.configurations.at(index - 1)
        _, after = core.configurations.at(index)
        for voter in after.voters:
            if before.is_voter(voter.id):
                continue
            needed = self._asked.pop((leader.name, leader.epoch, core.term, voter.id), 0)
            disk = self.simulation.network.nodes[voter.address].disk
            has = max([disk.log.last_index(), *(meta.index for meta in disk.snapshots.list())])
            if has < needed:
                what = f"makes {voter.id} a voter, whose log ends at {has}, before {needed}"
                raise Violation("learners catch up", f"{leader.name} {what}")
