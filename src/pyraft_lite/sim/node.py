"""One simulated node: the production core, with a simulated disk, network and state machine around it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from pyraft_lite.core import Core, State, effects, events
from pyraft_lite.core.errors import StorageError
from pyraft_lite.core.messages import Peer
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.sim.disk import Disk
from pyraft_lite.sim.machine import Machine, frozen
from pyraft_lite.sim.network import Arrival
from pyraft_lite.sim.violation import Violation
from pyraft_lite.storage import configuration_codec

if TYPE_CHECKING:
    from pyraft_lite.sim.simulation import Simulation

SNAPSHOT_FAILURES = 0.2
RESTART_AFTER = 1.0
NOTICED_AFTER = 0.01
"""How soon a follower notices that its leader's process is gone, in the mean (R19)."""

FAILED_WRITE = "simulated write error"

OPERATIONS = (events.Propose, events.ReadIndex, events.ChangeMembership, events.TransferLeadership)
"""What clients and operators ask for."""


class SimulatedNode:
    """A node that can crash and start again with what its disk kept.

    Attributes:
        epoch: Grows with every start and crash: what was begun in an earlier one has no effect any more.
        core: The node's protocol; of the last start, if it does not run.
        disk, machine: What keeps its data, and the user's state machine.
        refuses: While it does not run: whether its machine does, and refuses connections.
    """

    def __init__(self, simulation: Simulation, name: str, address: str, clock_rate: float) -> None:
        self.simulation = simulation
        self.name = name
        self.address = address
        self._dice = simulation.world.dice(f"node {name}")
        self.disk = Disk(simulation.world, name)
        self.is_running = False
        self.refuses = True
        self.epoch = 0
        self.machine = Machine(self)
        self.core: Core
        self._clock_rate = clock_rate
        self._clock = 0.0
        self._tick_at: float | None = None
        self._doom: tuple[bool, float] | None = None
        self._missed: list[events.Event] | None = None
        self._has_untold_snapshot = False

    # -- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts, unless it runs."""
        if self.is_running:
            return
        self.is_running = True
        self.epoch += 1
        snapshot = next(iter(self.disk.snapshots.list()), None)
        self.machine.start(snapshot)
        try:
            self.core = Core(
                Peer(self.name, self.address),
                self.simulation.profile.settings,
                self.disk.log,
                configuration_codec,
                self._dice,
                now=self.clock(),
                hard_state=self.disk.hard_state,
                snapshot=snapshot,
            )
        except StorageError as error:
            raise Violation("storage", f"{self.name} does not start: {error}") from error
        epoch = self.epoch
        self.disk.start(
            lambda seq: self.deliver(epoch, events.Written(seq)),
            lambda: self.deliver(epoch, events.Fatal(FAILED_WRITE)),
        )
        self._tick_at = None
        self._has_untold_snapshot = False
        self._arm()

    def crash(self, *, refuses: bool = True) -> None:
        """Stops at once; what is not on disk is gone. With ``refuses``, others are told so by its machine."""
        if not self.is_running:
            return
        self.is_running = False
        self.refuses = refuses
        self.epoch += 1
        self._doom = None
        self._missed = None
        self.disk.crash()
        if refuses:
            self.simulation.network.crashed(self)
            for other in self.simulation.nodes:
                if other is not self and other.is_running and other.core.leader == self.core.me:
                    self.simulation.world.soon(NOTICED_AFTER, other.leader_gone, other.epoch, self)

    def crash_amid_next_step(self, *, refuses: bool, restart_after: float) -> None:
        """Lets it see one more event, and carry out some of what it wants then, or none, or all."""
        if self.is_running:
            self._doom = (refuses, restart_after)

    def pause(self, lasts: float) -> None:
        """Lets its process stand still, as a signal, a hypervisor or a full machine does: what comes meanwhile
        waits."""
        if self.is_running and self._missed is None:
            self._missed = []
            self.simulation.world.after(lasts, self._resume, self.epoch)

    def resume(self) -> None:
        """Ends a pause: the node sees what it missed, and looks at the clock only then."""
        missed, self._missed = self._missed or [], None
        if self._dice.random() < 0.5:  # they came over different connections
            missed.sort(key=lambda event: not isinstance(event, OPERATIONS))
        for event in missed:
            self.step(event)
        if self.is_running:
            self._arm()

    def _resume(self, epoch: int) -> None:
        if epoch == self.epoch and self._missed is not None:
            self.resume()

    def leader_gone(self, epoch: int, leader: SimulatedNode) -> None:
        """Its connection to the leader broke; a new one may be refused."""
        if not leader.is_running and not self.simulation.network.cut[self.address, leader.address] > 0:
            self.deliver(epoch, events.LeaderGone(leader.address))

    def clock(self) -> float:
        """The node's own clock, which runs at its own rate."""
        self._clock = max(self._clock, self.simulation.world.now * self._clock_rate)
        return self._clock

    def take_snapshot(self) -> None:
        """Begins a snapshot of the state, which takes its time."""
        if not self.is_running or self.machine.applied <= self.core.log.snapshot_index:
            return
        point = self.core.snapshot_point(self.machine.applied)
        self.simulation.world.soon(0.1, self._snapshot_taken, self.epoch, point, frozen(self.machine.fsm))

    def _snapshot_taken(self, epoch: int, point: SnapshotMeta, state: bytes) -> None:
        if epoch == self.epoch:
            self.step(events.SnapshotTaken(self._store_snapshot(point, state)))

    # -- events -----------------------------------------------------------------------------------------------------

    def deliver(self, epoch: int, event: events.Event) -> None:
        """An event for the node as it was in ``epoch``."""
        if epoch == self.epoch:
            self.step(event)

    def receive(self, arrival: Arrival) -> None:
        """A request of a peer arrives."""
        self.step(events.Receive(arrival, arrival.call.request))

    def step(self, event: events.Event) -> None:
        """Lets the core see an event and carries out what it wants; unless the node has crashed, amid other requests of
        the same client maybe."""
        if not self.is_running:
            return
        if self._missed is not None:
            self._missed.append(event)
            return
        if isinstance(event, events.SnapshotReceived):
            self._has_untold_snapshot = False
        outcome = self.core.step(event, self.clock())
        self.simulation.stepped(self, event, outcome)
        if self._doom is not None:
            refuses, restart_after = self._doom
            self._carry_out_all(outcome[: self._dice.randint(0, len(outcome))])
            self.crash(refuses=refuses)
            self.simulation.world.after(restart_after, self.start)
            return
        self._carry_out_all(outcome)
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
        if self._missed is not None:
            return
        self._clock = max(self._clock, time)
        deadline = self.core.deadline()
        if deadline is not None and deadline <= self.clock():
            self.step(events.Tick())
        else:
            self._arm()

    # -- effects ----------------------------------------------------------------------------------------------------

    def _carry_out_all(self, outcome: list[effects.Effect]) -> None:
        for effect in outcome:
            self._carry_out(effect)

    def _carry_out(self, effect: effects.Effect) -> None:
        simulation, network, oracle = self.simulation, self.simulation.network, self.simulation.oracle
        match effect:
            case effects.Write():
                self.disk.write(effect)
            case effects.Send():
                network.send(self, effect.rpc_id, effect.to.address, effect.request, channel=effect.channel)
            case effects.Respond():
                network.answer(_arrival(effect.rpc), effect.response)
            case effects.Refuse():
                network.answer(_arrival(effect.rpc), None)
            case effects.Apply():
                self.machine.commit(effect.to_index, effect.waiting)
            case effects.CloseStream():
                network.close_stream(self, effect.to.address)
            case effects.SendSnapshot():
                self._send_snapshot(effect)
            case effects.ReceiveSnapshot():
                simulation.world.soon(0.05, self._snapshot_received, self.epoch, effect)
            case effects.RestoreSnapshot():
                self.machine.restore(effect.meta)
            case effects.CompactLog():
                simulation.world.soon(0.05, self._compact, self.epoch, effect.to_index)
            case effects.Complete():
                oracle.completed(effect.token)
            case effects.ReadReady():
                oracle.read(effect.token, effect.index)
            case effects.Fail():
                oracle.failed(effect.token, effect.error)
            case effects.RoleChanged():
                if effect.state is State.LEADER:
                    simulation.elected(self, effect.term)
            case effects.Stopped():
                if effect.reason not in ("", FAILED_WRITE):
                    raise Violation("storage", f"{self.name} stopped: {effect.reason}")
                self.crash()
                simulation.world.after(RESTART_AFTER, self.start)

    def _send_snapshot(self, effect: effects.SendSnapshot) -> None:
        try:
            _, source = self.disk.snapshots.open(effect.snapshot_id)
        except StorageError as error:  # newer ones took its place
            failed = events.RpcFailed(effect.rpc_id, str(error))
            self.simulation.world.after(0.0, self.deliver, self.epoch, failed)
            return
        self.simulation.network.send(self, effect.rpc_id, effect.to.address, effect.request, state=source.read())

    def _snapshot_received(self, epoch: int, effect: effects.ReceiveSnapshot) -> None:
        if epoch != self.epoch:
            return
        if self._has_untold_snapshot or self.machine.is_restoring:  # as in the runtime, whose store drops old ones, too
            self.simulation.world.soon(0.02, self._snapshot_received, epoch, effect)
            return
        request = effect.request
        if self._dice.random() < SNAPSHOT_FAILURES:
            self.step(events.SnapshotReceiveFailed(effect.rpc, "the stream broke"))
            return
        state = _arrival(effect.rpc).call.state
        assert state is not None, "only SendSnapshot sends InstallSnapshot requests"
        point = SnapshotMeta(
            "", request.last_index, request.last_term, request.configuration, request.configuration_index, request.size
        )
        meta = self._store_snapshot(point, state)
        self._has_untold_snapshot = True
        self.simulation.world.soon(0.02, self.deliver, epoch, events.SnapshotReceived(effect.rpc, meta))

    def _store_snapshot(self, point: SnapshotMeta, state: bytes) -> SnapshotMeta:
        sink = self.disk.snapshots.create(
            index=point.index,
            term=point.term,
            configuration=point.configuration,
            configuration_index=point.configuration_index,
        )
        sink.write(state)
        return sink.close()

    def _compact(self, epoch: int, to_index: int) -> None:
        if epoch == self.epoch:
            self.disk.log.compact(to_index, to_index)


def _arrival(token: Hashable) -> Arrival:
    assert isinstance(token, Arrival)
    return token
