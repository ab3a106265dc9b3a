"""What goes wrong. All of a run's faults are drawn before it begins: a plan that can be read, and made shorter."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from itertools import combinations, permutations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyraft_lite.sim.profile import Profile
    from pyraft_lite.sim.simulation import Simulation

FIRST_FAULT = 1.0
SUPERVISED_RESTART = 0.05
FLAP_PERIOD = 0.4
BURST_SIZE = 200
LONGEST_PAUSE = 3.0
SLOW_LINK = 0.3
STALL = 1000.0
"""A disk so much slower stands still for longer than an election."""


class Kind(Enum):
    """The kinds of faults; the values are what reports call them."""

    CRASH = "crash"
    RESTART = "quick restart"
    BLACKOUT = "blackout"
    PARTITION = "partition"
    PARTIAL_PARTITION = "partial partition"
    ONE_WAY_LINK = "one-way link"
    SLOW_LINK = "slow link"
    ISOLATE_OUT = "isolate out"
    ISOLATE_IN = "isolate in"
    FLAP = "flapping links"
    LOSS = "message loss"
    DUPLICATION = "duplication"
    DELAY = "long delays"
    BREAK_STREAMS = "broken streams"
    SLOW_DISK = "slow disk"
    STALLED_DISK = "stalled disk"
    FAILED_WRITE = "failed write"
    SLOW_MACHINE = "slow state machine"
    PAUSE = "paused process"
    SNAPSHOT = "snapshot"
    BURST = "burst of requests"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the plan.

    Attributes:
        number: Its place in the plan; names it in a shortened one.
        at, lasts: When it begins, and for how long.
        nodes: Whom it befalls, by number: one node, one side of a partition, the two that a partial partition keeps
            apart, those that a blackout takes. Of a one-way or slow link, the second does not hear the first, or late.
        sudden: Of a crash or restart, whether the process alone dies, so that its port refuses at once.
    """

    number: int
    at: float
    kind: Kind
    lasts: float
    nodes: tuple[int, ...]
    sudden: bool

    def __str__(self) -> str:
        whom = ", ".join(f"n{node}" for node in self.nodes)
        return f"#{self.number} at {self.at:.3f} s: {self.kind.value} of {whom} for {self.lasts:.3f} s"


def draw_plan(profile: Profile, random: random.Random) -> list[Fault]:
    """The faults of a run, in order of time."""
    plan: list[Fault] = []
    everybody = range(profile.voters + profile.spares)
    at = FIRST_FAULT + random.expovariate(profile.faults)
    while at < profile.duration:
        (kind,) = random.choices(list(profile.kinds), list(profile.kinds.values()))
        nodes: tuple[int, ...] = (random.choice(everybody),)
        if kind in (Kind.PARTITION, Kind.FLAP):
            nodes = tuple(node for node in everybody if random.random() < 0.5)
        elif kind in (Kind.PARTIAL_PARTITION, Kind.ONE_WAY_LINK, Kind.SLOW_LINK):
            nodes = tuple(random.sample(everybody, min(2, len(everybody))))
        elif kind is Kind.BLACKOUT:
            nodes = tuple(node for node in everybody if random.random() < 0.8)
        lasts = random.expovariate(1 / (SUPERVISED_RESTART if kind is Kind.RESTART else profile.fault_lasts))
        plan.append(Fault(len(plan), at, kind, lasts, nodes, random.random() < 0.7))
        at += random.expovariate(profile.faults)
    return plan


class Faults:
    """Carries the plan out, and repairs all at the end.

    Attributes:
        counts: How many there were of each kind.
    """

    def __init__(self, simulation: Simulation, plan: Collection[Fault]) -> None:
        self._simulation = simulation
        self._plan = plan
        self.counts: Counter[str] = Counter()

    def begin(self) -> None:
        """Puts all faults into the calendar."""
        for fault in self._plan:
            self._simulation.world.at(fault.at, self._happen, fault)

    def end(self) -> None:
        """Makes everything good: nodes run, links work, disks are quick."""
        self._simulation.network.heal()
        for node in self._simulation.nodes:
            node.disk.slowness = node.machine.slowness = 1.0
            node.disk.fails = False
            node.resume()
            node.start()

    def _happen(self, fault: Fault) -> None:
        self.counts[fault.kind.value] += 1
        simulation = self._simulation
        network, after = simulation.network, simulation.world.after
        nodes = [simulation.nodes[number] for number in fault.nodes]
        addresses = [node.address for node in nodes]
        match fault.kind:
            case Kind.CRASH | Kind.RESTART:
                nodes[0].crash_amid_next_step(refuses=fault.sudden, restart_after=fault.lasts)
            case Kind.BLACKOUT:
                for node in nodes:
                    node.crash(refuses=fault.sudden)
                    after(fault.lasts, node.start)
            case Kind.PARTITION:
                self._cut(fault.lasts, self._between(fault.nodes))
            case Kind.PARTIAL_PARTITION:
                self._cut(fault.lasts, set(permutations(addresses, 2)))
            case Kind.ONE_WAY_LINK:
                self._cut(fault.lasts, set(combinations(addresses, 2)))
            case Kind.SLOW_LINK:
                for link in combinations(addresses, 2):
                    network.slow_links[link] += SLOW_LINK
                    after(fault.lasts, network.quicken, link, SLOW_LINK)
            case Kind.ISOLATE_OUT:
                self._cut(fault.lasts, {link for link in self._between(fault.nodes) if link[0] == nodes[0].address})
            case Kind.ISOLATE_IN:
                self._cut(fault.lasts, {link for link in self._between(fault.nodes) if link[1] == nodes[0].address})
            case Kind.FLAP:
                for turn in range(int(fault.lasts / FLAP_PERIOD) + 1):
                    after(turn * FLAP_PERIOD, self._cut, FLAP_PERIOD / 2, self._between(fault.nodes))
            case Kind.LOSS:
                self._set_for(fault.lasts, network, "loss", 0.3)
            case Kind.DUPLICATION:
                self._set_for(fault.lasts, network, "duplication", 0.3)
            case Kind.DELAY:
                self._set_for(fault.lasts, network, "delay", 0.2)
            case Kind.BREAK_STREAMS:
                network.break_streams(nodes[0])
            case Kind.SLOW_DISK:
                self._set_for(fault.lasts, nodes[0].disk, "slowness", 30.0)
            case Kind.STALLED_DISK:
                self._set_for(fault.lasts, nodes[0].disk, "slowness", STALL)
            case Kind.FAILED_WRITE:
                nodes[0].disk.fails = True
            case Kind.SLOW_MACHINE:
                self._set_for(fault.lasts, nodes[0].machine, "slowness", 100.0)
            case Kind.PAUSE:
                nodes[0].pause(min(fault.lasts, LONGEST_PAUSE))
            case Kind.SNAPSHOT:
                nodes[0].take_snapshot()
            case Kind.BURST:
                simulation.clients.burst(BURST_SIZE)

    def _between(self, side: Collection[int]) -> set[tuple[str, str]]:
        addresses = [node.address for node in self._simulation.nodes]
        inside = {addresses[number] for number in side}
        return {(a, b) for a in addresses for b in addresses if (a in inside) != (b in inside)}

    def _cut(self, lasts: float, links: set[tuple[str, str]]) -> None:
        network = self._simulation.network
        if self._simulation.world.now >= self._simulation.profile.duration:
            return  # links that flap on
        network.cut.update(links)
        self._simulation.world.after(lasts, network.mend, links)

    def _set_for(self, lasts: float, whose: object, name: str, value: float) -> None:
        """Changes a number for a while; of two such changes at once, the end of the first ends both."""
        setattr(whose, name, value)
        self._simulation.world.after(lasts, lambda: setattr(whose, name, getattr(whose, f"usual_{name}")))
