"""One run: a cluster under a virtual clock, everything in it drawn from one seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass

from pyraft_lite.core import HardState, State
from pyraft_lite.core.configuration import Configuration, Server
from pyraft_lite.core.effects import Effect
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.events import Event
from pyraft_lite.sim.clients import Clients
from pyraft_lite.sim.faults import Faults, draw_plan
from pyraft_lite.sim.invariants import ALL, Invariant
from pyraft_lite.sim.network import Network
from pyraft_lite.sim.node import SimulatedNode
from pyraft_lite.sim.oracle import Oracle
from pyraft_lite.sim.profile import Profile, draw_profile
from pyraft_lite.sim.violation import Violation
from pyraft_lite.sim.workload import BUILT_IN, Workload
from pyraft_lite.sim.world import World
from pyraft_lite.storage import configuration_codec

FIRST_REQUEST = 1.0
LAST_REQUESTS = 5.0
"""Seconds before the end of a run in which clients ask for nothing more, so that all can settle."""

PATIENCE = 60.0
"""How long after the end of a run, in seconds, whatever is still open may take."""

Observer = Callable[[float, str, Event, list[Effect]], None]
"""Is shown each step: the time, the node's name, the event, and what came of it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run that violated nothing came to.

    Attributes:
        seed: Of the run.
        steps: How many events the cores saw.
        simulated: Node-seconds of virtual time.
        acknowledged: How many writes were acknowledged.
        checked: How many reads and writes the linearizability check explained.
        faults: How many there were of each kind.
        trace_hash: Of every step: its time, node and event, how many effects it had, and the node's state after it.
            The same for the same seed.
    """

    seed: int
    steps: int
    simulated: float
    acknowledged: int
    checked: int
    faults: dict[str, int]
    trace_hash: str


class Simulation:
    """A cluster that is maltreated, then left alone, and watched all the time.

    Args:
        seed: Where all chance comes from: the same seed, with the same other arguments, gives the same run.
        profile: How rough it gets; None: the seed decides.
        workload: What is replicated, and what clients ask for; None: the seed decides on one of our own.
        only: Of the faults that the seed gives, those of these numbers alone; None: all.
        observer: Is shown each step.
    """

    def __init__(
        self,
        seed: int,
        profile: Profile | None = None,
        workload: Workload | None = None,
        *,
        only: Collection[int] | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.seed = seed
        self.world = World(seed)
        self.profile = profile or draw_profile(self.world.dice("profile"))[1]
        self.workload = workload or self.world.dice("workload").choice(BUILT_IN)
        self.plan = [
            fault
            for fault in draw_plan(self.profile, self.world.dice("faults"))
            if only is None or fault.number in only
        ]
        self.network = Network(self.world, self.profile)
        self.oracle = Oracle(self.world)
        self.committed: dict[int, Entry] = {1: self._first_entry()}
        self.nodes = [self._make_node(number) for number in range(self.profile.voters + self.profile.spares)]
        self.clients = Clients(self)
        self._invariants = [invariant(self) for invariant in ALL]
        self._watch_steps = [each.stepped for each in self._invariants if type(each).stepped is not Invariant.stepped]
        self._faults = Faults(self, self.plan)
        self._observer = observer
        self._steps = 0
        self._hash = hashlib.sha256()

    def run(self) -> Report:
        """Runs to the end.

        Raises:
            Violation: something happened that must not, an exception included, or the cluster did not settle.
        """
        try:
            return self._run()
        except Violation as violation:
            violation.at = self.world.now
            raise
        except Exception as error:
            found = Violation("no exception", repr(error))
            found.at = self.world.now
            raise found from error

    def _run(self) -> Report:
        world, profile = self.world, self.profile
        end = profile.duration + profile.settle
        for node in self.nodes:
            node.start()
        self._faults.begin()
        world.at(FIRST_REQUEST, self.clients.go_on, end - LAST_REQUESTS)
        world.run_until(profile.duration)
        self._faults.end()
        world.run_until(end)
        self._settle()
        return Report(
            self.seed,
            self._steps,
            world.now * len(self.nodes),
            len(self.oracle.acknowledged),
            len(self.oracle.history),
            dict(self._faults.counts),
            self._hash.hexdigest(),
        )

    # -- what nodes report --------------------------------------------------------------------------------------------

    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        """A node has seen an event, and nothing of what it wants is carried out yet."""
        self._steps += 1
        core = node.core
        kind = type(event).__name__
        seen = (self.world.now, node.name, kind, len(outcome), core.term, core.log.last_index, core.commit_index)
        self._hash.update(repr(seen).encode())
        if self._observer is not None:
            self._observer(self.world.now, node.name, event, outcome)
        for check in self._watch_steps:
            check(node, event, outcome)

    def applied(self, node: SimulatedNode, entry: Entry) -> None:
        """A node is about to apply an entry."""
        for invariant in self._invariants:
            invariant.applied(node, entry)

    def elected(self, node: SimulatedNode, term: int) -> None:
        """A node has become leader."""
        for invariant in self._invariants:
            invariant.elected(node, term)

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

    def _settle(self) -> None:
        """Liveness: with no more faults and requests, there is a leader in the end that takes in one more write, all
        members have what it has, and no request is left open. A long backlog is given the time it takes, within
        bounds."""
        end = self.world.now + PATIENCE
        acknowledged = len(self.oracle.acknowledged)
        while why := self._what_is_open(acknowledged):
            if self.world.now >= end:
                raise Violation("liveness", why)
            leader = self._leader()
            if leader is not None and len(self.oracle.acknowledged) == acknowledged:
                self.clients.barrier(leader)
            self.world.run_until(self.world.now + 1)
        leader = self._leader()
        assert leader is not None, "there is one if nothing is open"
        for invariant in self._invariants:
            invariant.settled(leader)

    def _leader(self) -> SimulatedNode | None:
        leaders = (node for node in self.nodes if node.is_running and node.core.state is State.LEADER)
        return max(leaders, key=lambda node: node.core.term, default=None)

    def _what_is_open(self, acknowledged: int) -> str:
        """Why the cluster has not settled; "" if it has. There were so many ``acknowledged`` writes before."""
        leader = self._leader()
        if leader is None:
            return "there is no leader at the end"
        commit_index = leader.core.commit_index
        if commit_index != leader.core.log.last_index:
            return f"{leader.name} has entries that are not committed at the end"
        for server in leader.core.configurations.latest:
            node = self.network.nodes[server.address]
            if node.machine.applied != commit_index:
                return f"{node.name} has applied up to {node.machine.applied}, its leader has committed {commit_index}"
        if len(self.oracle.acknowledged) == acknowledged:
            return f"{leader.name}, leader, takes in no more writes at the end"
        unanswered = self.oracle.unanswered()
        if unanswered:
            return f"{len(unanswered)} requests have no outcome, one of them to {unanswered[0].node.name}"
        return ""
