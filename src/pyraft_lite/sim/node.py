"""One simulated node: the production core, with a simulated disk, network and state machine around it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING

from pyraft_lite.core import Core, effects, events
from pyraft_lite.core.entry import EntryType
from pyraft_lite.core.messages import Peer
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.sim.disk import Disk, State
from pyraft_lite.sim.network import Arrival
from pyraft_lite.storage import configuration_codec

if TYPE_CHECKING:
    from pyraft_lite.sim.simulation import Simulation

SNAPSHOT_FAILURES = 0.2
RESTART_AFTER = 1.0
READ_BYTES = 1 << 20


class SimulatedNode:
    """A node that can crash and start again with what its disk kept.

    Attributes:
        epoch: Grows with every start and crash: what was begun in an earlier one has no effect any more.
        core: The node's protocol; of the last start, if it does not run.
        applied: What the state machine has seen; ``state`` is all commands of it.
    """

    def __init__(self, simulation: Simulation, name: str, address: str, clock_rate: float) -> None:
        self.simulation = simulation
        self.name = name
        self.address = address
        self.disk = Disk(simulation.world)
        self.is_running = False
        self.epoch = 0
        self.applied = 0
        self.state: list[bytes] = []
        self.core: Core
        self._clock_rate = clock_rate
        self._clock = 0.0
        self._tick_at: float | None = None

    # -- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts, unless it runs."""
        if self.is_running:
            return
        self.is_running = True
        self.epoch += 1
        snapshot = self.disk.latest_snapshot()
        self.applied, self.state = 0, []
        if snapshot is not None:
            self._restore(snapshot)
        world = self.simulation.world
        self.core = Core(
            Peer(self.name, self.address),
            self.simulation.profile.settings,
            self.disk.log,
            configuration_codec,
            type(world.random)(world.random.random()),
            now=self.clock(),
            hard_state=self.disk.hard_state,
            snapshot=snapshot,
        )
        epoch = self.epoch
        self.disk.start(lambda seq: self.deliver(epoch, events.Written(seq)))
        self._tick_at = None
        self._arm()

    def crash(self) -> None:
        """Stops at once; what is not on disk is gone."""
        self.is_running = False
        self.epoch += 1
        self.disk.crash()

    def clock(self) -> float:
        """The node's own clock, which runs at its own rate."""
        self._clock = max(self._clock, self.simulation.world.now * self._clock_rate)
        return self._clock

    def take_snapshot(self) -> None:
        """Begins a snapshot of the state, which takes its time."""
        if not self.is_running or self.applied <= self.core.log.snapshot_index:
            return
        meta = replace(self.core.snapshot_point(self.applied), id=self._snapshot_id(), size=len(self.state))
        self.simulation.world.soon(0.1, self._snapshot_taken, self.epoch, meta, tuple(self.state))

    def _snapshot_taken(self, epoch: int, meta: SnapshotMeta, state: State) -> None:
        if epoch == self.epoch:
            self.disk.store_snapshot(meta, state)
            self.step(events.SnapshotTaken(meta))

    # -- events -----------------------------------------------------------------------------------------------------

    def deliver(self, epoch: int, event: events.Event) -> None:
        """An event for the node as it was in ``epoch``."""
        if epoch == self.epoch:
            self.step(event)

    def receive(self, arrival: Arrival) -> None:
        """A request of a peer arrives."""
        if self.is_running:
            self.step(events.Receive(arrival, arrival.call.request))

    def step(self, event: events.Event) -> None:
        """Lets the core see an event and carries out what it wants."""
        now = self.clock()
        outcome = self.core.step(event, now)
        self.simulation.stepped(self, event, outcome)
        for effect in outcome:
            self._carry_out(effect)
        if self.is_running:
            self._arm()

    def _arm(self) -> None:
        deadline = self.core.deadline()
        if deadline is not None and (self._tick_at is None or deadline < self._tick_at):
            self._tick_at = deadline
            world = self.simulation.world
            world.at(max(world.now, deadline / self._clock_rate), self._tick, self.epoch, deadline)

    def _tick(self, epoch: int, time: float) -> None:
        if epoch != self.epoch or time != self._tick_at:
            return
        self._tick_at = None
        self._clock = max(self._clock, time)
        deadline = self.core.deadline()
        if deadline is not None and deadline <= self.clock():
            self.step(events.Tick())
        else:
            self._arm()

    # -- effects ----------------------------------------------------------------------------------------------------

    def _carry_out(self, effect: effects.Effect) -> None:
        simulation = self.simulation
        match effect:
            case effects.Write():
                self.disk.write(effect)
            case effects.Send():
                simulation.network.send(self, effect.rpc_id, effect.to.address, effect.request)
            case effects.Respond():
                simulation.network.answer(_arrival(effect.rpc), effect.response)
            case effects.Refuse():
                simulation.network.answer(_arrival(effect.rpc), None)
            case effects.Apply():
                self._apply(effect)
            case effects.SendSnapshot():
                _, state = self.disk.snapshots[effect.snapshot_id]
                simulation.network.send(self, effect.rpc_id, effect.to.address, effect.request, state)
            case effects.ReceiveSnapshot():
                simulation.world.soon(0.05, self._snapshot_received, self.epoch, effect)
            case effects.RestoreSnapshot():
                self._restore(effect.meta)
            case effects.CompactLog():
                simulation.world.soon(0.05, self._compact, self.epoch, effect.to_index)
            case effects.Complete():
                simulation.oracle.completed(effect.token, effect.index)
            case effects.ReadReady():
                simulation.oracle.read(self, effect.token, effect.index)
            case effects.Fail():
                simulation.oracle.failed(effect.token)
            case effects.RoleChanged():
                simulation.role_changed(self, effect)
            case effects.Stopped():
                simulation.stopped(self, effect.reason)
                self.crash()
                simulation.world.after(RESTART_AFTER, self.start)

    def _apply(self, effect: effects.Apply) -> None:
        waiting = dict(effect.waiting)
        while self.applied < effect.to_index:
            for entry in self.core.log.entries(self.applied + 1, effect.to_index, READ_BYTES):
                self.simulation.applied(self, entry)
                if entry.type is EntryType.COMMAND:
                    self.state.append(entry.data)
                self.applied = entry.index
                if entry.index in waiting:
                    self.simulation.oracle.completed(waiting[entry.index], entry.index)

    def _snapshot_received(self, epoch: int, effect: effects.ReceiveSnapshot) -> None:
        if epoch != self.epoch:
            return
        request = effect.request
        if self.simulation.world.random.random() < SNAPSHOT_FAILURES:
            self.step(events.SnapshotReceiveFailed(effect.rpc, "the stream broke"))
            return
        state = _arrival(effect.rpc).call.state
        assert state is not None, "only SendSnapshot sends InstallSnapshot requests"
        meta = SnapshotMeta(
            self._snapshot_id(),
            request.last_index,
            request.last_term,
            request.configuration,
            request.configuration_index,
            request.size,
        )
        self.disk.store_snapshot(meta, state)
        self.simulation.world.soon(0.02, self.deliver, epoch, events.SnapshotReceived(effect.rpc, meta))

    def _restore(self, meta: SnapshotMeta) -> None:
        self.applied, self.state = meta.index, list(self.disk.snapshots[meta.id][1])

    def _compact(self, epoch: int, to_index: int) -> None:
        if epoch == self.epoch:
            self.disk.log.compact(to_index, to_index)

    def _snapshot_id(self) -> str:
        return f"{self.name}-{self.simulation.world.unique()}"


def _arrival(token: Hashable) -> Arrival:
    assert isinstance(token, Arrival)
    return token
