"""What goes wrong, at random: crashes, restarts, cut and flapping links, slow disks, snapshots at odd moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyraft_lite.sim.simulation import Simulation

STALL = 1000.0
"""A disk so much slower stands still for longer than an election."""


class Faults:
    """Begins with the simulation and ends at its profile's ``duration``.

    Attributes:
        counts: How many there were of each kind.
    """

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.counts: dict[str, int] = {}
        self._kinds = {
            self._crash: 35,
            self._partition: 20,
            self._heal: 10,
            self._isolate_one_way: 5,
            self._change_disk_speed: 15,
            self._snapshot: 10,
            self._blackout: 5,
        }

    def go_on(self) -> None:
        """One fault now, and the next one after a while."""
        world, profile = self._simulation.world, self._simulation.profile
        if world.now >= profile.duration:
            return
        (fault,) = world.random.choices(list(self._kinds), list(self._kinds.values()))
        name = fault.__name__.strip("_")
        self.counts[name] = self.counts.get(name, 0) + 1
        fault()
        world.soon(1 / profile.faults, self.go_on)

    def end(self) -> None:
        """Makes everything good: nodes run, links work, disks are quick."""
        self._simulation.network.heal()
        for node in self._simulation.nodes:
            node.disk.slowness = 1.0
            node.start()

    def _crash(self) -> None:
        world = self._simulation.world
        node = world.random.choice(self._simulation.nodes)
        if node.is_running:
            node.crash()
            world.soon(1.0, node.start)

    def _blackout(self) -> None:
        world = self._simulation.world
        for node in self._simulation.nodes:
            if node.is_running and world.random.random() < 0.8:
                node.crash()
                world.soon(0.5, node.start)

    def _partition(self) -> None:
        chance = self._simulation.world.random.random
        addresses = [node.address for node in self._simulation.nodes]
        side = {address for address in addresses if chance() < 0.5}
        self._simulation.network.cut = {
            (a, b) for a in addresses for b in addresses if (a in side) != (b in side) and chance() < 0.8
        }

    def _isolate_one_way(self) -> None:
        random = self._simulation.world.random
        victim = random.choice(self._simulation.nodes).address
        outward = random.random() < 0.5
        others = [node.address for node in self._simulation.nodes if node.address != victim]
        self._simulation.network.cut |= {(victim, other) if outward else (other, victim) for other in others}

    def _heal(self) -> None:
        self._simulation.network.cut.clear()

    def _change_disk_speed(self) -> None:
        random = self._simulation.world.random
        random.choice(self._simulation.nodes).disk.slowness = random.choice([1.0, 1.0, 10.0, STALL])

    def _snapshot(self) -> None:
        self._simulation.world.random.choice(self._simulation.nodes).take_snapshot()
