"""One run: a cluster under a virtual clock, everything in it drawn from one seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from pyraft_lite.core import HardState, State
from pyraft_lite.core.configuration import Configuration, Server
from pyraft_lite.core.effects import Effect, RoleChanged
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.events import Event
from pyraft_lite.sim.clients import Clients
from pyraft_lite.sim.faults import Faults
from pyraft_lite.sim.invariants import ALL
from pyraft_lite.sim.network import Network
from pyraft_lite.sim.node import SimulatedNode
from pyraft_lite.sim.oracle import Oracle
from pyraft_lite.sim.profile import Profile, random_profile
from pyraft_lite.sim.violation import Violation
from pyraft_lite.sim.world import World
from pyraft_lite.storage import configuration_codec

FIRST_REQUEST = 1.0
LAST_REQUESTS = 5.0
"""Seconds before the end of a run in which clients ask for nothing more, so that all can settle."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run that violated nothing came to.

    Attributes:
        seed: Of the run.
        steps: How many events the cores saw.
        simulated: Node-seconds of virtual time.
        acknowledged: How many writes were acknowledged.
        faults: How many there were of each kind.
        trace_hash: Of all events and effects: the same for the same seed.
    """

    seed: int
    steps: int
    simulated: float
    acknowledged: int
    faults: dict[str, int]
    trace_hash: str


class Simulation:
    """A cluster that is maltreated, then left alone, and watched all the time.

    Args:
        seed: Where all chance comes from: the same seed gives the same run.
        profile: How rough it gets; None: the seed decides.
        observer: Is shown each step: the time, the node's name, the event, and what came of it.
    """

    def __init__(
        self,
        seed: int,
        profile: Profile | None = None,
        observer: Callable[[float, str, Event, list[Effect]], None] | None = None,
    ) -> None:
        self.seed = seed
        self.world = World(seed)
        self.profile = profile or random_profile(self.world.random)
        self.network = Network(
            self.world, loss=self.profile.loss, duplication=self.profile.duplication, delay=self.profile.delay
        )
        self.oracle = Oracle()
        self.committed: dict[int, Entry] = {1: self._first_entry()}
        self.nodes = [self._make_node(number) for number in range(self.profile.voters + self.profile.spares)]
        self._invariants = [invariant(self) for invariant in ALL]
        self._faults = Faults(self)
        self._clients = Clients(self)
        self._observer = observer
        self._steps = 0
        self._hash = hashlib.sha256()

    def run(self) -> Report:
        """Runs to the end.

        Raises:
            Violation: something happened that must not, or the cluster did not settle.
        """
        world, profile = self.world, self.profile
        end = profile.duration + profile.settle
        for node in self.nodes:
            node.start()
        world.at(FIRST_REQUEST, self._clients.go_on, end - LAST_REQUESTS)
        world.at(FIRST_REQUEST, self._faults.go_on)
        world.run_until(profile.duration)
        self._faults.end()
        world.run_until(end)
        self._check_settled()
        return Report(
            self.seed,
            self._steps,
            end * len(self.nodes),
            len(self.oracle.acknowledged),
            self._faults.counts,
            self._hash.hexdigest(),
        )

    # -- what nodes report --------------------------------------------------------------------------------------------

    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        self._steps += 1
        core = node.core
        seen = (self.world.now, len(outcome), core.term, core.log.last_index, core.commit_index)
        self._hash.update(repr(seen).encode())
        if self._observer is not None:
            self._observer(self.world.now, node.name, event, outcome)
        for invariant in self._invariants:
            invariant.stepped(node, event, outcome)

    def applied(self, node: SimulatedNode, entry: Entry) -> None:
        for invariant in self._invariants:
            invariant.applied(node, entry)

    def role_changed(self, node: SimulatedNode, change: RoleChanged) -> None:
        if change.state is State.LEADER:
            for invariant in self._invariants:
                invariant.elected(node, change.term)

    def stopped(self, node: SimulatedNode, reason: str) -> None:
        if reason:
            raise Violation("storage", f"{node.name} stopped: {reason}")

    # -- beginning and end --------------------------------------------------------------------------------------------

    def _configuration(self) -> Configuration:
        return Configuration(tuple(Server(f"n{number}", f"a{number}") for number in range(self.profile.voters)))

    def _first_entry(self) -> Entry:
        return Entry(1, 1, EntryType.CONFIGURATION, configuration_codec.encode(self._configuration()))

    def _make_node(self, number: int) -> SimulatedNode:
        drift = self.profile.clock_drift
        node = SimulatedNode(self, f"n{number}", f"a{number}", self.world.random.uniform(1 - drift, 1 + drift))
        self.network.nodes[node.address] = node
        if number < self.profile.voters:
            node.disk.hard_state = HardState(1)
            node.disk.log.append([self.committed[1]])
        return node

    def _check_settled(self) -> None:
        """Liveness: with no more faults, there is a leader, all members have what it has, and no operation is left
        open."""
        leaders = [node for node in self.nodes if node.is_running and node.core.state is State.LEADER]
        if not leaders:
            raise Violation("liveness", "there is no leader at the end")
        leader = max(leaders, key=lambda node: node.core.term)
        if leader.core.commit_index != leader.core.log.last_index:
            raise Violation("liveness", f"{leader.name} has entries that are not committed at the end")
        for server in leader.core.configurations.latest:
            node = self.network.nodes[server.address]
            if node.applied != leader.applied or node.state != leader.state:
                raise Violation("liveness", f"{node.name} is at {node.applied}, its leader at {leader.applied}")
        unanswered = self.oracle.unanswered()
        if unanswered:
            who = unanswered[0].node.name
            raise Violation("liveness", f"{len(unanswered)} operations have no outcome, one of them of {who}")
        for invariant in self._invariants:
            invariant.settled(leader)
