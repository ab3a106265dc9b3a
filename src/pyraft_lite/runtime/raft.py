"""A Raft node: drives the core with real time, disk, network and the user's state machine."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, BinaryIO

from pyraft_lite.core import Core, State, effects, events
from pyraft_lite.core.configuration import Change, ChangeCommand, Configuration
from pyraft_lite.core.entry import EntryType
from pyraft_lite.core.errors import LeadershipLostError, RaftError, ShutdownError, StorageError
from pyraft_lite.core.messages import InstallSnapshotRequest, InstallSnapshotResponse, Peer, Request
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.runtime.api import Applied, Leader, Observation
from pyraft_lite.runtime.batch import Batch
from pyraft_lite.runtime.config import Config
from pyraft_lite.runtime.fsm import FSM
from pyraft_lite.runtime.fsm_runner import FsmRunner
from pyraft_lite.runtime.hard_state import load_hard_state
from pyraft_lite.runtime.limit import Limit
from pyraft_lite.runtime.operation import AwaitedOperation, Operation
from pyraft_lite.runtime.outbox import Outbox
from pyraft_lite.runtime.settle import settle
from pyraft_lite.runtime.snapshots import Snapshots
from pyraft_lite.runtime.stats import collect_stats
from pyraft_lite.runtime.transport import Answer, Transport
from pyraft_lite.runtime.writer import Writer
from pyraft_lite.storage import configuration_codec
from pyraft_lite.storage.interfaces import LogStore, SnapshotStore, StableStore
from pyraft_lite.timers import call_at

logger = logging.getLogger("raft")

_LEVELS = {
    effects.Level.DEBUG: logging.DEBUG,
    effects.Level.INFO: logging.INFO,
    effects.Level.WARNING: logging.WARNING,
    effects.Level.ERROR: logging.ERROR,
}

_LONGEST_MOMENT = 0.005
"""Seconds by which, at most, what is due may be late while steps follow each other: short beside all that is waited
for, of which the shortest are a commit timeout and a tenth of a heartbeat timeout."""

GONE_PROBES = (0.0, 0.01, 0.05)
"""Seconds to wait before each look whether a lost leader's process is gone: a dying process closes its connections and
its listening socket one after the other (R19)."""

MAX_QUEUED = 64
"""How many membership changes, transfers, restores and snapshots, of each, may be under way; one is carried out at a
time."""


@dataclass(eq=False, slots=True)
class _IncomingRpc:
    """A token of the core: a peer waits for its ``answer``; ``chunks`` follow if it sends a snapshot."""

    answer: Answer
    chunks: AsyncIterator[bytes] | None = None


class Raft:
    """One node of a cluster, with the operations of hashicorp/raft's ``Raft`` (see RaftOperations for what they do).

    Everything runs on the event loop that :meth:`start` was called on, except disk writes, which the kernel or a thread
    carries out meanwhile, and the state machine (unless it is quick, see ``Config.apply_on_loop``) and snapshots, which
    have threads of their own: however slow they are, heartbeats go on.
    """

    def __init__(
        self,
        config: Config,
        fsm: FSM,
        log_store: LogStore,
        stable_store: StableStore,
        snapshot_store: SnapshotStore,
        transport: Transport,
    ) -> None:
        """The stores stay the caller's, to be closed after :meth:`shutdown`. The log and stable store may be one
        object: then term, vote and entries share commits."""
        self._config = config
        self._log_store = log_store
        self._stable_store = stable_store
        self._transport = transport
        self._writer = Writer(log_store, stable_store, self._on_written, self._on_fatal)
        self._fsm = FsmRunner(fsm, snapshot_store, self._read_entries, self._on_fatal, on_loop=config.apply_on_loop)
        self._snapshots = Snapshots(snapshot_store, transport, self._post, self._fsm.until_restored)
        self._outbox = Outbox(transport, self._post)
        self._core: Core
        # Kept, since to ask which it is costs a system call.
        self._loop: asyncio.AbstractEventLoop
        self._epoch = 0.0
        self._inbox: deque[events.Event] = deque()
        self._stepping = False
        self._proposals: list[events.Proposal] = []
        self._proposed = Limit("proposals", config.max_proposals, config.max_proposal_bytes)
        # Apart, since whoever sends batches can wait, and would leave no room for whoever can't.
        self._batched = Limit("proposals in batches", config.max_proposals, config.max_proposal_bytes)
        self._reads = Limit("reads", config.max_reads)
        self._changes = Limit("membership changes", MAX_QUEUED)
        self._transfers = Limit("leadership transfers", MAX_QUEUED)
        self._restores = Limit("restores", MAX_QUEUED)
        self._snapshot_requests = Limit("snapshots", MAX_QUEUED)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        settings = config.settings
        self._moment = min(_LONGEST_MOMENT, settings.commit_timeout / 10, settings.heartbeat_timeout / 100)
        self._tasks: set[asyncio.Task[None]] = set()
        self._lasting_tasks: set[asyncio.Task[None]] = set()
        self._leader_watch: asyncio.Task[None] | None = None
        self._observers: list[Callable[[Observation], None]] = []
        self._snapshot_lock = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._ended: asyncio.Task[None] | None = None
        self.failure = ""

    async def start(self) -> None:
        """Loads what is stored and begins to take part in the cluster.

        Raises:
            StorageError: what is stored can't be read, or can't be true.
        """
        self._loop = asyncio.get_running_loop()
        snapshot = await self._load_snapshot()
        self._epoch = time.time() - monotonic()
        self._core = Core(
            Peer(self._config.local_id, self._config.local_address),
            self._config.settings,
            self._log_store,
            configuration_codec,
            random.Random(),
            now=monotonic(),
            epoch=self._epoch,
            hard_state=load_hard_state(self._stable_store),
            snapshot=snapshot,
        )
        configurations = self._core.configurations
        _log(
            logging.INFO,
            "initial configuration",
            index=configurations.latest_index,
            servers=configurations.latest.describe(),
        )
        _log(logging.INFO, "entering follower state", follower=f"Node at {self._config.local_address} [Follower]")
        self._transport.bind(self)
        self._arm_timer()
        self._spawn(self._snapshot_now_and_then())

    # -- operations -------------------------------------------------------------------------------------------------

    async def apply(self, data: bytes, extensions: bytes = b"") -> Applied:
        return await self._propose(EntryType.COMMAND, data, extensions)

    def propose(self, data: bytes, done: Callable[[Applied | RaftError], None], extensions: bytes = b"") -> None:
        operation = Operation(self._proposed, done, len(data) + len(extensions))
        self._enqueue([events.Proposal(operation, EntryType.COMMAND, data, extensions)])

    def apply_all(self, commands: Sequence[bytes]) -> Awaitable[list[Applied]]:
        batch = Batch(self._batched, len(commands), sum(map(len, commands)))
        self._enqueue([events.Proposal(batch, EntryType.COMMAND, command) for command in commands])
        return batch.future

    async def barrier(self) -> int:
        return (await self._propose(EntryType.BARRIER)).index

    async def add_voter(self, server_id: str, address: str, previous_index: int = 0) -> int:
        return await self._change(ChangeCommand.ADD_VOTER, server_id, address, previous_index)

    async def add_nonvoter(self, server_id: str, address: str, previous_index: int = 0) -> int:
        return await self._change(ChangeCommand.ADD_NONVOTER, server_id, address, previous_index)

    async def demote_voter(self, server_id: str, previous_index: int = 0) -> int:
        return await self._change(ChangeCommand.DEMOTE_VOTER, server_id, "", previous_index)

    async def remove_server(self, server_id: str, previous_index: int = 0) -> int:
        return await self._change(ChangeCommand.REMOVE_SERVER, server_id, "", previous_index)

    async def leadership_transfer(self, server_id: str = "", address: str = "") -> None:
        operation = AwaitedOperation(self._transfers)
        self._post(events.TransferLeadership(operation, server_id, address))
        await operation.future

    async def verify_leader(self) -> None:
        operation = AwaitedOperation(self._reads)
        self._post(events.ReadIndex(operation))
        await operation.future

    async def read_index(self, lease: bool = False) -> int:
        operation = AwaitedOperation(self._reads, until_applied=True)
        self._post(events.ReadIndex(operation, lease))
        return int(await operation.future)

    async def snapshot(self) -> str:
        with self._snapshot_requests:
            async with self._snapshot_lock:
                if self.state is State.SHUTDOWN:
                    raise ShutdownError
                applied, frozen = await self._fsm.freeze()
                meta = await self._snapshots.take(frozen, applied, self._core.snapshot_point)
                self._post(events.SnapshotTaken(meta))
                return meta.id

    async def restore(self, source: BinaryIO) -> None:
        """Replaces the state of the whole cluster by a snapshot of the user's, for disaster recovery.

        As in hashicorp/raft, whoever's proposals are under way gets AbortedByRestoreError, and until this returns the
        new state is on the leader alone: should it die or lose its leadership before that, it must not come back with
        its data.

        Args:
            source: What :meth:`FSMSnapshot.persist` of the same application once wrote; read on another thread.
        """
        operation = AwaitedOperation(self._restores, source=source)
        self._post(events.RestoreState(operation))
        await operation.future

    async def shutdown(self) -> None:
        self._post(events.Shutdown())
        await self.wait_stopped()

    async def wait_stopped(self) -> None:
        """Returns when the node has stopped, for whatever reason, and its threads have ended; ``failure`` then says
        what of its storage or state machine failed, "" if nothing did."""
        while self._ended is None:
            await self._stopping.wait()
        await asyncio.shield(self._ended)

    # -- what is known ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self._core.state

    @property
    def leader(self) -> Leader:
        leader = self._core.leader
        return Leader(leader.id, leader.address) if leader else Leader()

    @property
    def last_index(self) -> int:
        return self._core.log.last_index

    @property
    def applied_index(self) -> int:
        return self._fsm.applied_index

    @property
    def last_contact(self) -> float | None:
        if self.state is State.LEADER:
            return time.time()
        contact = self._core.last_contact
        return None if contact is None else self._epoch + contact

    @property
    def configuration(self) -> Configuration:
        return self._core.configurations.latest

    def stats(self) -> dict[str, str]:
        return collect_stats(self._core, monotonic(), self.applied_index, self._fsm.pending)

    def observe(self, observer: Callable[[Observation], None]) -> Callable[[], None]:
        self._observers.append(observer)
        return partial(self._observers.remove, observer)

    # -- what peers send (RpcHandler) ---------------------------------------------------------------------------------

    def handle(self, request: Request, answer: Answer) -> None:
        self._post(events.Receive(_IncomingRpc(answer), request))

    async def handle_snapshot(
        self, request: InstallSnapshotRequest, chunks: AsyncIterator[bytes]
    ) -> InstallSnapshotResponse:
        future: asyncio.Future[InstallSnapshotResponse] = self._loop.create_future()
        self._post(events.Receive(_IncomingRpc(partial(settle, future), chunks), request))
        return await future

    # -- driving the core ---------------------------------------------------------------------------------------------

    def _post(self, event: events.Event) -> None:
        """Lets the core see an event, and carries out what it wants; events that come of that wait their turn."""
        if self._stepping:
            self._inbox.append(event)
            return
        self._stepping = True
        following: events.Event | None = event
        try:
            while following is not None:
                for effect in self._core.step(following, monotonic()):
                    self._carry_out(effect)
                following = self._inbox.popleft() if self._inbox else None
        finally:
            self._stepping = False
        self._arm_timer()

    def _arm_timer(self) -> None:
        """Sees to it that a timer fires before the core's next deadline, or at most a moment after it. Most deadlines
        move on before they come, and to ask for them after every step costs more than to come back now and then."""
        soon = self._core.now + self._moment
        if self._timer_at is not None and self._timer_at <= soon:
            return
        deadline = self._core.deadline()
        if deadline is not None:
            self._set_timer(min(deadline, soon))

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = call_at(self._loop, at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = self._timer_at = None
        deadline = self._core.deadline()
        if deadline is None:
            return
        now = monotonic()
        if deadline <= now:
            self._post(events.Tick())
        else:
            # Where there was a step a moment ago there will be another, which would have the timer set so.
            is_busy = now < self._core.now + self._moment
            self._set_timer(min(deadline, now + self._moment) if is_busy else deadline)

    def _carry_out(self, effect: effects.Effect) -> None:
        match effect:
            case effects.Write():
                self._writer.submit(effect)
            case effects.Send():
                self._outbox.send(effect)
            case effects.Respond():
                _rpc(effect.rpc).answer(effect.response)
            case effects.Apply():
                # To end a write, the kernel wants the processor that began it, and a leader waits for that.
                self._fsm.commit(effect.to_index, effect.waiting, may_wait=self._writer.is_in_kernel)
            case effects.Complete():
                _operation(effect.token).resolve(effect.index)
            case effects.ReadReady():
                self._read_ready(_operation(effect.token), effect.index)
            case effects.Fail():
                _proposer(effect.token).reject(effect.error)
            case effects.RoleChanged():
                self._role_changed(effect)
            case effects.Note():
                _log(_LEVELS[effect.level], effect.message, **effect.fields)
            case effects.Refuse():
                _rpc(effect.rpc).answer(effect.error)
            case effects.CloseStream():
                self._outbox.close_stream(effect.to)
            case effects.CompactLog():
                self._writer.compact(effect.to_index)
            case effects.SendSnapshot():
                self._spawn(self._snapshots.send(effect))
            case effects.ReceiveSnapshot():
                chunks = _rpc(effect.rpc).chunks
                assert chunks is not None, "only handle_snapshot passes InstallSnapshot requests on"
                self._spawn(self._snapshots.receive(effect, chunks))
            case effects.RestoreSnapshot():
                self._fsm.restore(effect.meta)
            case effects.StoreRestore():
                source = _operation(effect.token).source
                assert source is not None, "only restore posts RestoreState"
                self._spawn(self._snapshots.store_restore(effect, source), self._lasting_tasks)
            case effects.DiscardSnapshot():
                self._spawn(self._discard_snapshot(effect.snapshot_id), self._lasting_tasks)
            case effects.Stopped():
                self._stop(effect.reason)

    def _on_written(self, seq: int) -> None:
        self._post(events.Written(seq))
        self._fsm.go_on()

    def _on_fatal(self, reason: str) -> None:
        self._post(events.Fatal(reason))

    def _read_entries(self, low: int, high: int, max_bytes: int) -> Any:
        return self._core.log.entries(low, high, max_bytes)

    def _read_ready(self, operation: Operation, index: int) -> None:
        if operation.until_applied:
            self._fsm.when_applied(index, operation)
        else:
            operation.resolve(index)

    def _role_changed(self, change: effects.RoleChanged) -> None:
        if change.state is not State.LEADER:
            self._fsm.fail_readers(LeadershipLostError())
        if self._leader_watch is not None:
            self._leader_watch.cancel()
        if change.state is State.FOLLOWER and change.leader_address:
            self._leader_watch = self._spawn(self._watch_leader(change.leader_address))
        observation = Observation(change.state, change.term, Leader(change.leader_id, change.leader_address))
        for observer in list(self._observers):
            observer(observation)

    async def _watch_leader(self, address: str) -> None:
        """Tells the core if the leader's process is gone, which a broken connection and a refused new one show (R19).
        The connection is also the one we will ask for a vote through."""
        while True:
            await self._transport.until_disconnected(address)
            for delay in GONE_PROBES:
                await asyncio.sleep(delay)
                if await self._transport.is_refused(address):
                    self._post(events.LeaderGone(address))
                    return

    # -- proposals ----------------------------------------------------------------------------------------------------

    async def _propose(self, type: EntryType, data: bytes = b"", extensions: bytes = b"") -> Applied:
        operation = AwaitedOperation(self._proposed, len(data) + len(extensions))
        self._enqueue([events.Proposal(operation, type, data, extensions)])
        applied: Applied = await operation.future
        return applied

    def _enqueue(self, proposals: Sequence[events.Proposal]) -> None:
        """Proposes with all others of this turn of the event loop: they go into one write and one message."""
        if proposals and not self._proposals:
            self._loop.call_soon(self._flush_proposals)
        self._proposals.extend(proposals)

    def _flush_proposals(self) -> None:
        proposals, self._proposals = self._proposals, []
        self._post(events.Propose(tuple(proposals)))

    async def _change(self, command: ChangeCommand, server_id: str, address: str, previous_index: int) -> int:
        operation = AwaitedOperation(self._changes)
        self._post(events.ChangeMembership(operation, Change(command, server_id, address, previous_index)))
        return int(await operation.future)

    # -- snapshots ----------------------------------------------------------------------------------------------------

    async def _load_snapshot(self) -> SnapshotMeta | None:
        """Restores the newest snapshot that can be read, as hashicorp/raft does; the log must hold what came after
        it."""
        newest = self._snapshots.list()
        for meta in newest:
            try:
                await self._fsm.load(meta)
            except StorageError as error:
                _log(logging.ERROR, "failed to restore snapshot", id=meta.id, error=str(error))
                continue
            _log(logging.INFO, "restored from snapshot", id=meta.id, last_index=meta.index, last_term=meta.term)
            return meta
        if newest:
            raise StorageError(f"none of the {len(newest)} snapshots can be restored; see the log for why")
        return None

    async def _discard_snapshot(self, snapshot_id: str) -> None:
        try:
            await self._snapshots.discard(snapshot_id)
        except StorageError as error:
            self._on_fatal(str(error))

    async def _snapshot_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._config.snapshot_interval * (1 + random.random()))
            if self.last_index - self._core.log.snapshot_index < self._config.snapshot_threshold:
                continue
            try:
                snapshot_id = await self.snapshot()
            except RaftError as error:
                _log(logging.ERROR, "failed to take snapshot", error=str(error))
            else:
                _log(logging.INFO, "snapshot complete", id=snapshot_id)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _spawn(
        self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]] | None = None
    ) -> asyncio.Task[None]:
        """Starts work that is cancelled when the node stops; or waited for, if ``tasks`` is that of the lasting ones,
        whose threads would go on and leave a stored snapshot behind."""
        tasks = self._tasks if tasks is None else tasks
        task = self._loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    def _stop(self, reason: str) -> None:
        self.failure = reason
        if reason:
            _log(logging.ERROR, "node stops", error=reason)
        if self._timer is not None:
            self._timer.cancel()
        self._ended = self._loop.create_task(self._end())
        self._stopping.set()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        while tasks := self._tasks | self._lasting_tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
        self._outbox.close()
        await self._transport.close()
        await self._writer.close()
        await self._fsm.close(ShutdownError())


def _operation(token: events.Token) -> Operation:
    assert isinstance(token, Operation)
    return token


def _proposer(token: events.Token) -> Operation | Batch:
    assert isinstance(token, Operation | Batch)
    return token


def _rpc(token: events.Token) -> _IncomingRpc:
    assert isinstance(token, _IncomingRpc)
    return token


def _log(level: int, message: str, **fields: object) -> None:
    if logger.isEnabledFor(level):
        shown = {name.replace("_", "-"): value for name, value in fields.items()}
        logger.log(level, message, extra={"fields": shown})
