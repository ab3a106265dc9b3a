"""A leader commits what is of its own term and durable on a majority of the voters, and at most one configuration is
not committed yet (R9, R10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core import State
from pyraft_lite.core.configuration import Configuration
from pyraft_lite.core.effects import Apply, Effect, Write
from pyraft_lite.core.quorum import majority_of
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.core.events import Event
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation


class CommitQuorum(Invariant):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._committed = 0  # the greatest commit index of any node ever, whatever it forgot in a crash since

    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        core = node.core
        self._committed = max(self._committed, core.commit_index)
        if core.state is not State.LEADER:
            return
        configurations = core.configurations
        if configurations.latest_index > self._committed:
            before, _ = configurations.at(configurations.latest_index - 1)
            if before > self._committed:
                both = f"{before} and {configurations.latest_index}"
                raise Violation("one change at a time", f"{node.name} has uncommitted configurations {both}")
        for effect in outcome:
            if isinstance(effect, Apply):
                self._check_commit(node, effect.to_index, _in_force_before(node, outcome))

    def _check_commit(self, node: SimulatedNode, index: int, configuration: Configuration) -> None:
        term = node.core.log.term(index)
        if term != node.core.term:
            what = f"commits {index} of term {term} by counting, in term {node.core.term}"
            raise Violation("commit quorum", f"{node.name} {what}")
        voters = configuration.voters
        holders = [voter.id for voter in voters if self._holds(voter.address, index, term)]
        if len(holders) < majority_of(len(voters)):
            who = f"only {holders} of {len(voters)} voters have on disk"
            raise Violation("commit quorum", f"{node.name} commits {index}, which {who}")

    def _holds(self, address: str, index: int, term: int | None) -> bool:
        disk = self.simulation.network.nodes[address].disk
        return disk.log.term(index) == term or any(meta.index >= index for meta in disk.snapshots.list())


def _in_force_before(node: SimulatedNode, outcome: list[Effect]) -> Configuration:
    """The configuration that counted at the beginning of the step: a commit may let the next change begin at once."""
    configurations = node.core.configurations
    for effect in outcome:
        if isinstance(effect, Write) and effect.entries:
            return configurations.at(effect.entries[0].index - 1)[1]
    return configurations.latest
