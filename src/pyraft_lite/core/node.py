"""One Raft node: what it knows in every role, how events reach it, and when what it says may leave."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence

from pyraft_lite.core import events
from pyraft_lite.core.appending import handle_append_entries
from pyraft_lite.core.configuration import Configuration, ConfigurationCodec, Server
from pyraft_lite.core.configurations import Configurations
from pyraft_lite.core.effects import (
    Apply,
    Channel,
    CompactLog,
    Effect,
    Level,
    Note,
    Refuse,
    Respond,
    RoleChanged,
    Send,
    Stopped,
    Write,
)
from pyraft_lite.core.election import Candidate
from pyraft_lite.core.entry import NANOSECONDS, Entry, EntryType
from pyraft_lite.core.errors import RaftError, ShutdownError, StorageError
from pyraft_lite.core.follower import Follower
from pyraft_lite.core.installing import handle_install_snapshot, snapshot_receive_failed, snapshot_received
from pyraft_lite.core.leader import Leader
from pyraft_lite.core.log import Log, LogReader
from pyraft_lite.core.messages import (
    AppendEntriesRequest,
    InstallSnapshotRequest,
    Peer,
    RequestPreVoteRequest,
    RequestPreVoteResponse,
    RequestVoteRequest,
    Response,
    TimeoutNowRequest,
    TimeoutNowResponse,
)
from pyraft_lite.core.role import Role
from pyraft_lite.core.settings import Settings
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.core.state import HardState, State
from pyraft_lite.core.stopped import StoppedRole
from pyraft_lite.core.voting import handle_pre_vote, handle_timeout_now, handle_vote

SHORT_DELAY = 0.1
"""The longest short delay, as part of the election timeout: enough that nodes seldom stand at once, and little to
wait."""


class Core:
    """The protocol of one node, without any I/O. See the package's docstring for the contract.

    Attributes that only this package changes, and others may read between steps:
        me: This node's id and address.
        term, voted_for: The hard state (R3).
        log, configurations, snapshot: What is in the log, who is in the cluster, the latest snapshot if any.
        commit_index: Entries up to here are committed.
        leader: Whom this node believes to lead, or None.
        last_contact: When a leader was last heard from.
        silent_until: No votes before then: a leader may hold a lease from before a restart (R16).
        now: The time of the current step, in seconds.
    """

    def __init__(
        self,
        me: Peer,
        settings: Settings,
        store: LogReader,
        codec: ConfigurationCodec,
        rng: random.Random,
        *,
        now: float = 0.0,
        epoch: float = 0.0,
        hard_state: HardState | None = None,
        snapshot: SnapshotMeta | None = None,
    ) -> None:
        """Starts a follower from what is durable.

        Args:
            me: The id and address this node is known by.
            settings: Timeouts and limits.
            store: The durable log; read whenever an entry is no longer in memory.
            codec: How configurations are encoded in entries.
            rng: Where random timeouts come from.
            now: The time, in seconds of any steady clock.
            epoch: The Unix time at which that clock was 0, for the entries' informative ``appended_at``.
            hard_state: What was last written of it.
            snapshot: The latest stored snapshot.

        Raises:
            StorageError: the log can't be read, or does not fit the snapshot.
        """
        self.me = me
        self.settings = settings
        self.codec = codec
        self.rng = rng
        self.now = now
        self._epoch = epoch
        hard_state = hard_state or HardState()
        self.term = hard_state.term
        self.voted_for = hard_state.voted_for
        self.snapshot = snapshot
        self.leader: Peer | None = None
        self.commit_index = snapshot.index if snapshot else 0
        self.last_contact: float | None = None
        self.silent_until = now + settings.heartbeat_timeout if settings.lease_reads and hard_state.term else now

        self._sends: list[Effect] = []
        self._effects: list[Effect] = []
        self._seq = 0
        self._durable_seq = 0
        self._hard_state_seq = 0
        self._draft: Write | None = None
        self._unfinished: deque[tuple[int, float]] = deque()  # (seq, when it began) of writes under way
        self._deferred: list[tuple[int, Respond]] = []
        self._rpc_id = 0

        self.log = self._open_log(store)
        if self.log.last_term > self.term:
            # The hard state is older than the log: it was lost, as when a node is started from another's snapshots.
            self.term, self.voted_for = self.log.last_term, ""
        self.configurations = self._read_configurations(store)
        self.role: Role = Follower(self)
        self._announced: tuple[State, int, Peer | None] = (self.role.state, self.term, None)

    # -- the interface to the runtime ------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self.role.state

    def deadline(self) -> float | None:
        """When the next Tick is due, in seconds of the same clock as ``now``; None: not before something else
        happens."""
        return self.role.deadline()

    def step(self, event: events.Event, now: float) -> list[Effect]:
        """Lets the node see one event.

        Args:
            event: What happened.
            now: When, in seconds of a clock that never goes back.

        Returns:
            What is to be done, in this order.
        """
        self.now = now
        try:
            self._dispatch(event)
        except StorageError as error:
            if isinstance(event, events.Receive | events.SnapshotReceived):
                self.refuse(event.rpc, ShutdownError())  # answering is the last thing that a handler does
            self.stop(str(error))
        return self._flush()

    def snapshot_point(self, index: int) -> SnapshotMeta:
        """What describes a snapshot of the state after ``index``, an applied entry not before the latest snapshot; its
        ``id`` and ``size`` are still open."""
        term = self.log.term(index)
        if term is None:
            raise StorageError(f"no entry {index} in the log to take a snapshot at")
        configuration_index, configuration = self.configurations.at(index)
        return SnapshotMeta("", index, term, configuration, configuration_index, 0)

    # -- what roles and handlers use -------------------------------------------------------------------------------

    def emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def note(self, level: Level, message: str, **fields: object) -> None:
        """Leaves a line for the log; ``_`` in the names of fields becomes ``-``."""
        self.emit(Note(level, message, {name.replace("_", "-"): value for name, value in fields.items()}))

    def random_timeout(self, least: float) -> float:
        """Uniform in [least, 2·least) (R1)."""
        return least * (1 + self.rng.random())

    def short_random_delay(self) -> float:
        """How long to wait before an election that need not wait for a timeout (R19)."""
        return SHORT_DELAY * self.settings.election_timeout * self.rng.random()

    def next_rpc_id(self) -> int:
        """Ids grow: a greater id was sent later."""
        self._rpc_id += 1
        return self._rpc_id

    def send(
        self,
        to: Server,
        request: AppendEntriesRequest | RequestVoteRequest | RequestPreVoteRequest | TimeoutNowRequest,
        channel: Channel = Channel.UNARY,
    ) -> int:
        """Sends a request; returns its rpc id."""
        rpc_id = self.next_rpc_id()
        self._sends.append(Send(rpc_id, to, request, channel))
        return rpc_id

    def respond(self, rpc: events.Token, response: Response, *, after_log: bool = True) -> None:
        """Answers a peer as soon as what the answer promises is durable: the hard state in any case, what was appended
        until now only if ``after_log``."""
        needs = self._seq if after_log else self._hard_state_seq
        effect = Respond(rpc, response)
        if needs > self._durable_seq:
            self._deferred.append((needs, effect))
        else:
            self.emit(effect)

    def refuse(self, rpc: events.Token, error: RaftError) -> None:
        self.emit(Refuse(rpc, error))

    def set_hard_state(self, term: int, voted_for: str = "") -> int:
        """Changes term and vote together (R3); returns the seq of the write that makes them durable."""
        self.term, self.voted_for = term, voted_for
        draft = self._open_draft()
        draft.hard_state = HardState(term, voted_for)
        self._hard_state_seq = draft.seq
        return draft.seq

    def append(self, entries: Sequence[Entry]) -> None:
        """Appends entries that continue the log; configurations among them take effect at once (R10)."""
        draft = self._open_draft()
        draft.entries = (*draft.entries, *entries)
        self.log.append(entries, draft.seq)
        for entry in entries:
            if entry.type is EntryType.CONFIGURATION:
                self.configurations.append(entry.index, self._decode(entry))

    def truncate(self, from_index: int) -> None:
        """Cuts the log, and takes back the configurations in the cut part (R7)."""
        if from_index <= self.commit_index:
            raise StorageError(f"committed entry {from_index} would be truncated (commit index {self.commit_index})")
        draft = self._open_draft()
        if draft.truncate_from is None or from_index < draft.truncate_from:
            draft.truncate_from = from_index
        draft.entries = ()
        self.log.truncate(from_index)
        if self.configurations.truncate(from_index):
            self.note(Level.INFO, "configuration rolled back", index=self.configurations.latest_index)

    def drop_log(self, snapshot: SnapshotMeta) -> None:
        """Begins a new, empty log after ``snapshot`` (R15)."""
        draft = self._open_draft()
        # From 1 on, since the store may hold entries that the log has compacted and the runtime not deleted yet.
        draft.truncate_from = 1
        draft.entries = ()
        self.log.drop(snapshot.index, snapshot.term)
        self.configurations.reset(snapshot.configuration, snapshot.configuration_index)

    def make_entry(self, index: int, type: EntryType, data: bytes = b"", extensions: bytes = b"") -> Entry:
        """An entry of the current term."""
        return Entry(index, self.term, type, data, extensions, self.wall_clock())

    def wall_clock(self) -> int:
        """The time of the current step in nanoseconds since the Unix epoch; informative only."""
        return int((self._epoch + self.now) * NANOSECONDS)

    def commit_to(self, index: int, waiting: tuple[tuple[int, events.Token], ...] = ()) -> None:
        """Moves the commit index forward and has the entries applied."""
        self.commit_index = index
        self.emit(Apply(index, waiting))

    def compact(self) -> None:
        """Lets go of the log before the snapshot, but for the trailing entries."""
        to_index = min(self.log.snapshot_index, self.log.last_index - self.settings.trailing_logs)
        self.configurations.compact(self.log.snapshot_index)
        if to_index >= self.log.first_index:
            self.note(Level.INFO, "compacting logs", **{"from": self.log.first_index, "to": to_index})
            self.log.compact(to_index)
            self.emit(CompactLog(to_index))

    def oldest_unfinished_write(self) -> float | None:
        """When the oldest write still under way began."""
        return self._unfinished[0][1] if self._unfinished else None

    def is_durable(self, seq: int) -> bool:
        """True if write ``seq`` is durable."""
        return seq <= self._durable_seq

    # -- changes of role -------------------------------------------------------------------------------------------

    def become_follower(self, term: int, leader: Peer | None = None) -> None:
        """Follows ``leader`` (None: not known yet) in ``term``, which is not less than the current one."""
        if term > self.term:
            self.set_hard_state(term)
            self.leader = None
        if not isinstance(self.role, Follower):
            self.leader = None
            self._change_role(Follower(self))
        self.leader = leader or self.leader

    def campaign(self, *, transfer: bool = False) -> None:
        """Stands for election; after TimeoutNow (``transfer``) at once, else with a pre-vote first (R1)."""
        self.leader = None
        role = Candidate(self, transfer=transfer)
        self._change_role(role)
        role.begin()

    def lead(self) -> None:
        """Takes the lead of the current term."""
        self.leader = self.me
        leader = Leader(self)
        self._change_role(leader)
        leader.begin()

    def stop(self, reason: str = "") -> None:
        """Ends in state SHUTDOWN; with a reason, because storage failed (R18)."""
        if isinstance(self.role, StoppedRole):
            return
        self.leader = None
        self._change_role(StoppedRole(self))
        for _, effect in self._deferred:
            self.refuse(effect.rpc, ShutdownError())
        self._deferred.clear()
        self._draft = None
        self._announce()
        self.emit(Stopped(reason))

    def _change_role(self, role: Role) -> None:
        self.role.leave()
        self.role = role

    # -- the inside ------------------------------------------------------------------------------------------------

    def _dispatch(self, event: events.Event) -> None:
        role = self.role
        match event:
            case events.RpcResponse():
                term = _term_of(event.response)
                if term > self.term and not isinstance(role, StoppedRole):
                    self.note(Level.INFO, "peer has newer term", term=term)
                    self.become_follower(term)
                else:
                    role.rpc_response(event)
            case events.Written():
                self._written(event.seq)
            case events.Propose():
                role.propose(event)
            case events.Receive():
                self._receive(event)
            case events.Tick():
                role.tick()
            case events.RpcFailed():
                role.rpc_failed(event)
            case events.ReadIndex():
                role.read_index(event)
            case events.ChangeMembership():
                role.change_membership(event)
            case events.TransferLeadership():
                role.transfer_leadership(event)
            case events.SnapshotTaken():
                self._snapshot_taken(event.meta)
            case events.SnapshotReceived():
                snapshot_received(self, event)
            case events.SnapshotReceiveFailed():
                snapshot_receive_failed(self, event)
            case events.LeaderGone():
                if isinstance(role, Follower):
                    role.leader_gone(event.address)
            case events.RestoreState():
                role.restore_state(event)
            case events.RestoreStored():
                role.restore_stored(event)
            case events.RestoreFailed():
                role.restore_failed(event)
            case events.Fatal():
                self.stop(event.reason)
            case events.Shutdown():
                self.stop()

    def _receive(self, event: events.Receive) -> None:
        if isinstance(self.role, StoppedRole):
            self.refuse(event.rpc, ShutdownError())
            return
        match event.request:
            case AppendEntriesRequest():
                handle_append_entries(self, event.rpc, event.request)
            case RequestVoteRequest():
                handle_vote(self, event.rpc, event.request)
            case RequestPreVoteRequest():
                handle_pre_vote(self, event.rpc, event.request)
            case TimeoutNowRequest():
                handle_timeout_now(self, event.rpc, event.request)
            case InstallSnapshotRequest():
                handle_install_snapshot(self, event.rpc, event.request)

    def _written(self, seq: int) -> None:
        self._durable_seq = max(self._durable_seq, seq)
        while self._unfinished and self._unfinished[0][0] <= seq:
            self._unfinished.popleft()
        self.log.written(seq)
        waiting = self._deferred
        self._deferred = []
        for needs, effect in waiting:
            if needs <= self._durable_seq:
                self.emit(effect)
            else:
                self._deferred.append((needs, effect))
        self.role.written()

    def _snapshot_taken(self, meta: SnapshotMeta) -> None:
        if isinstance(self.role, StoppedRole) or meta.index < self.log.snapshot_index:
            return
        self.snapshot = meta
        self.log.set_snapshot(meta.index, meta.term)
        self.compact()

    def _open_draft(self) -> Write:
        """The write of this step: all that one step writes becomes durable together."""
        if self._draft is None:
            self._seq += 1
            self._draft = Write(self._seq)
            self._unfinished.append((self._seq, self.now))
        return self._draft

    def _announce(self) -> None:
        """Says that role, term or leader have changed."""
        self._announced = self.role.state, self.term, self.leader
        leader = self.leader or Peer("", "")
        self.emit(RoleChanged(self.role.state, self.term, leader.id, leader.address))

    def _flush(self) -> list[Effect]:
        if (self.role.state, self.term, self.leader) != self._announced:
            self._announce()
        effects, self._sends = self._sends, []
        if self._draft is not None:
            effects.append(self._draft)
            self._draft = None
        if self._effects:
            effects += self._effects
            self._effects.clear()
        return effects

    def _open_log(self, store: LogReader) -> Log:
        snapshot_index = self.snapshot.index if self.snapshot else 0
        if store.first_index() > snapshot_index + 1:
            raise StorageError(
                f"the log begins at {store.first_index()} and the latest snapshot ends at {snapshot_index}: "
                "what lies between them is missing"
            )
        return Log(store, snapshot_index, self.snapshot.term if self.snapshot else 0)

    def _read_configurations(self, store: LogReader) -> Configurations:
        """Finds the configurations in the log, after dropping a log that a crash kept from being dropped (R15)."""
        if self.snapshot is None:
            found = Configurations(Configuration(), 0)
        else:
            found = Configurations(self.snapshot.configuration, self.snapshot.configuration_index)
            if 0 < store.first_index() <= self.snapshot.index and store.term(self.snapshot.index) != self.snapshot.term:
                self.configurations = found
                self.drop_log(self.snapshot)
        for index in store.configurations():
            if self.log.snapshot_index < index <= self.log.last_index:
                found.append(index, self._decode(self.log.entries(index, index, 0)[0]))
        return found

    def _decode(self, entry: Entry) -> Configuration:
        if entry.type is not EntryType.CONFIGURATION:
            raise StorageError(f"entry {entry.index} should be a configuration and is a {entry.type.name}")
        try:
            return self.codec.decode(entry.data)
        except ValueError as error:
            raise StorageError(f"entry {entry.index} holds no readable configuration: {error}") from error


def _term_of(response: Response) -> int:
    """The term its sender is in, 0 if it does not say: hashicorp/raft grants a pre-vote with the term it was asked
    about, which neither side is in yet."""
    match response:
        case TimeoutNowResponse() | RequestPreVoteResponse(granted=True):
            return 0
    return response.term
