"""What clients and operators do: writes, reads, transfers, membership changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core import State, events
from pyraft_lite.core.configuration import Change, ChangeCommand
from pyraft_lite.core.entry import EntryType
from pyraft_lite.sim.oracle import Operation

if TYPE_CHECKING:
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation

FEWEST_VOTERS = 2
"""No change takes a vote away below this: a cluster of one that loses its only voter's disk is lost by right."""


class Clients:
    """Mostly ask the leader, sometimes somebody else."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._kinds = {
            self._write: 75,
            self._read: 15,
            self._transfer: 2,
            self._change_membership: 5,
            self._snapshot: 3,
        }

    def go_on(self, until: float) -> None:
        """One request now, and the next one after a while."""
        simulation = self._simulation
        random = simulation.world.random
        running = [node for node in simulation.nodes if node.is_running]
        leaders = [node for node in running if node.core.state is State.LEADER]
        if running:
            node = random.choice(leaders if leaders and random.random() < 0.9 else running)
            (request,) = random.choices(list(self._kinds), list(self._kinds.values()))
            request(node)
        if simulation.world.now < until:
            simulation.world.soon(1 / simulation.profile.requests, self.go_on, until)

    def _begin(self, node: SimulatedNode, command: bytes | None = None, at_least: int = 0) -> Operation:
        return self._simulation.oracle.begin(Operation(node, node.epoch, command, at_least))

    def _write(self, node: SimulatedNode) -> None:
        count = self._simulation.world.random.choice([1, 1, 3, 10])
        commands = [b"%d" % self._simulation.world.unique() for _ in range(count)]
        proposals = (events.Proposal(self._begin(node, command), EntryType.COMMAND, command) for command in commands)
        node.step(events.Propose(tuple(proposals)))

    def _read(self, node: SimulatedNode) -> None:
        operation = self._begin(node, at_least=self._simulation.oracle.acknowledged_index)
        node.step(events.ReadIndex(operation, lease=self._simulation.world.random.random() < 0.5))

    def _transfer(self, node: SimulatedNode) -> None:
        random = self._simulation.world.random
        target = random.choice(["", random.choice(self._simulation.nodes).name])
        node.step(events.TransferLeadership(self._begin(node), target))

    def _change_membership(self, node: SimulatedNode) -> None:
        random = self._simulation.world.random
        command = random.choice(list(ChangeCommand))
        if len(node.core.configurations.latest.voters) <= FEWEST_VOTERS:
            command = ChangeCommand.ADD_VOTER
        server = random.choice(self._simulation.nodes)
        node.step(events.ChangeMembership(self._begin(node), Change(command, server.name, server.address)))

    def _snapshot(self, node: SimulatedNode) -> None:
        node.take_snapshot()
