"""What clients and operators ask for: reads and writes, transfers, membership changes, snapshots."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyraft_lite.core import State, events
from pyraft_lite.core.configuration import Change, ChangeCommand
from pyraft_lite.core.entry import EntryType
from pyraft_lite.sim.workload import Read, Write

if TYPE_CHECKING:
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation

LEADER_ASKED = 0.9
"""How often the leader is asked, if there is one; else anybody."""


class Clients:
    """Mostly ask the leader, sometimes somebody else; some pay no heed to a leader that was replaced."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._dice = simulation.world.dice("clients")
        profile = simulation.profile
        self._kinds: dict[Callable[[SimulatedNode], None], float] = {
            self._request: profile.requests,
            self._transfer: profile.transfers,
            self._change_membership: profile.changes,
            self._snapshot: profile.snapshots,
        }
        self._rate = sum(self._kinds.values())

    def go_on(self, until: float) -> None:
        """One thing now, and the next one after a while."""
        node = self._somebody()
        if node is not None:
            (ask,) = self._dice.choices(list(self._kinds), list(self._kinds.values()))
            ask(node)
        world = self._simulation.world
        if world.now < until:
            world.after(self._dice.expovariate(self._rate), self.go_on, until)

    def burst(self, size: int) -> None:
        """Many requests at once."""
        node = self._somebody()
        if node is not None:
            self._ask(node, size)

    def barrier(self, node: SimulatedNode) -> None:
        """One more write, which means nothing to the state machine."""
        request = self._simulation.oracle.begin(node)
        proposal = events.Proposal(request, EntryType.BARRIER, b"", b"%d" % request.number)
        node.step(events.Propose((proposal,)))

    def _somebody(self) -> SimulatedNode | None:
        running = [node for node in self._simulation.nodes if node.is_running]
        leaders = [node for node in running if node.core.state is State.LEADER]
        if not running:
            return None
        return self._dice.choice(leaders if leaders and self._dice.random() < LEADER_ASKED else running)

    def _request(self, node: SimulatedNode) -> None:
        self._ask(node, self._dice.choice([1, 1, 1, 5]))

    def _ask(self, node: SimulatedNode, count: int) -> None:
        """Reads and writes together; the writes are proposed as one."""
        oracle = self._simulation.oracle
        proposals: list[events.Proposal] = []
        for _ in range(count):
            asked = self._simulation.workload.request(self._dice, self._simulation.world.unique())
            request = oracle.begin(node, asked)
            match asked:
                case Write():
                    extensions = b"%d" % request.number
                    proposals.append(events.Proposal(request, EntryType.COMMAND, asked.command, extensions))
                case Read():
                    node.step(events.ReadIndex(request, lease=self._dice.random() < 0.5))
        if proposals:
            node.step(events.Propose(tuple(proposals)))

    def _transfer(self, node: SimulatedNode) -> None:
        target = self._dice.choice(["", self._dice.choice(self._simulation.nodes).name])
        node.step(events.TransferLeadership(self._simulation.oracle.begin(node), target))

    def _change_membership(self, node: SimulatedNode) -> None:
        command = self._dice.choice(list(ChangeCommand))
        if len(node.core.configurations.latest.voters) <= self._simulation.profile.fewest_voters:
            command = ChangeCommand.ADD_VOTER
        server = self._dice.choice(self._simulation.nodes)
        change = Change(command, server.name, server.address)
        node.step(events.ChangeMembership(self._simulation.oracle.begin(node), change))

    def _snapshot(self, node: SimulatedNode) -> None:
        self._dice.choice([node, self._dice.choice(self._simulation.nodes)]).take_snapshot()
