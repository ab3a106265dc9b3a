"""The leader: takes operations in, commits what a quorum holds, and gives up when it can't know that it still leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pyraft_lite.core import events
from pyraft_lite.core.effects import Complete, Fail, Level, RestoreSnapshot, StoreRestore
from pyraft_lite.core.entry import Entry, EntryType, check_size
from pyraft_lite.core.errors import (
    AbortedByRestoreError,
    CommandTooLargeError,
    LeadershipLostError,
    RaftError,
    TransferInProgressError,
)
from pyraft_lite.core.membership import Membership
from pyraft_lite.core.messages import TimeoutNowRequest
from pyraft_lite.core.quorum import majority_reached
from pyraft_lite.core.reads import Reads
from pyraft_lite.core.replication import Replication
from pyraft_lite.core.role import Role
from pyraft_lite.core.state import State
from pyraft_lite.core.transfer import Transfer

if TYPE_CHECKING:
    from pyraft_lite.core.node import Core


class Leader(Role):
    """Leads one term.

    Attributes:
        noop_index: Where the term begins: nothing before it is committed by counting (R9).
    """

    state: ClassVar[State] = State.LEADER

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self.replication = Replication(core)
        self.noop_index = core.log.last_index + 1
        self.transfer = Transfer(self)
        self.membership = Membership(self)
        self.reads = Reads(self)
        self._waiting: dict[int, events.Token] = {}
        self._restore: events.Token | None = None

    def begin(self) -> None:
        """Opens the term with a no-op (R9)."""
        core = self.core
        core.note(Level.INFO, "entering leader state", leader=core.me.address, term=core.term)
        self.sync_peers()
        core.append([core.make_entry(self.noop_index, EntryType.NOOP)])
        self.replication.advance_all()
        self.replication.tick()

    # -- time -----------------------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        times = (
            self.replication.deadline(),
            self.transfer.deadline(),
            self.membership.deadline(),
            self._lease_end(),
            self._storage_deadline(),
        )
        return min((time for time in times if time is not None), default=None)

    def tick(self) -> None:
        now = self.core.now
        lease_end, storage_deadline = self._lease_end(), self._storage_deadline()
        if lease_end is not None and now >= lease_end:
            self._step_down("failed to contact quorum of nodes, stepping down")
        elif storage_deadline is not None and now >= storage_deadline:
            self._step_down("storage has not finished a write for an election timeout, stepping down")
        else:
            self.transfer.tick()
            self.membership.check_learner()
            self.replication.tick()

    def _lease_end(self) -> float | None:
        """When we must step down unless more answers come (R13); None if no other voter is needed for a quorum."""
        contact = self._quorum_contact()
        return None if contact is None else contact + self.core.settings.leader_lease_timeout

    def _quorum_contact(self) -> float | None:
        """A quorum of voters took us for the leader no earlier than that."""
        me, peers = self.core.me.id, self.replication.peers
        voters = self.core.configurations.latest.voters
        if [voter.id for voter in voters] == [me]:
            return None
        return majority_reached([self.core.now if voter.id == me else peers[voter.id].contact for voter in voters])

    def lease_holds(self) -> bool:
        """True if no other node can have become leader yet, given the bound on clock drift (R16)."""
        settings = self.core.settings
        if not settings.lease_reads or self.transfer.voids_lease:
            return False
        if self.core.commit_index < self.noop_index:  # a vote for us promises nobody to refuse the next
            return False
        contact = self._quorum_contact()
        return contact is None or self.core.now < contact + settings.leader_lease_timeout * (1 - settings.clock_drift)

    def _storage_deadline(self) -> float | None:
        began = self.core.oldest_unfinished_write()
        return None if began is None else began + self.core.settings.election_timeout

    def _step_down(self, why: str) -> None:
        self.core.note(Level.WARNING, why)
        self.core.become_follower(self.core.term)

    def leave(self) -> None:
        error = LeadershipLostError()
        for token in self._waiting.values():
            self.core.emit(Fail(token, error))
        self._waiting.clear()
        self._fail_restore(error)
        self.reads.fail(error)
        self.membership.fail(error)
        self.transfer.leave()
        for server_id in list(self.replication.peers):
            self.replication.exclude(server_id)

    # -- operations -----------------------------------------------------------------------------------------------

    def _unavailable(self) -> RaftError | None:
        """Why no operation is taken in for now."""
        if self.transfer.active:
            return TransferInProgressError()
        if self._restore is not None:
            return AbortedByRestoreError()
        return None

    def propose(self, event: events.Propose) -> None:
        core = self.core
        unavailable = self._unavailable()
        if unavailable is not None:
            for proposal in event.proposals:
                core.emit(Fail(proposal.token, unavailable))
            return
        entries: list[Entry] = []
        index, term, appended_at = core.log.last_index, core.term, core.wall_clock()
        for token, type, data, extensions in event.proposals:
            entry = Entry(index + 1, term, type, data, extensions, appended_at)
            try:
                check_size(entry.size)
            except CommandTooLargeError as error:
                core.emit(Fail(token, error))
                continue
            index += 1
            entries.append(entry)
            self._waiting[index] = token
        if entries:
            core.append(entries)
            self.replication.advance_all()  # while the own write is still under way (dissertation 10.2.1)

    def append(self, token: events.Token, type: EntryType, data: bytes) -> None:
        """Appends one entry; ``token`` completes when it is committed."""
        index = self.core.log.last_index + 1
        self._waiting[index] = token
        self.core.append([self.core.make_entry(index, type, data)])
        if type is EntryType.CONFIGURATION:
            self.sync_peers()
        self.replication.advance_all()

    def change_membership(self, event: events.ChangeMembership) -> None:
        unavailable = self._unavailable()
        if unavailable is not None:
            self.core.emit(Fail(event.token, unavailable))
        else:
            self.membership.submit(event)

    def transfer_leadership(self, event: events.TransferLeadership) -> None:
        self.transfer.start(event)

    def read_index(self, event: events.ReadIndex) -> None:
        self.reads.add(event.token, lease=event.lease)

    def sync_peers(self) -> None:
        """Sends to whom the latest configuration names."""
        configurations = self.core.configurations
        self.replication.sync(configurations.latest, configurations.latest_index)

    # -- progress -------------------------------------------------------------------------------------------------

    def rpc_response(self, event: events.RpcResponse) -> None:
        if self.replication.answered(event.rpc_id, event.response) is None:
            return
        self._commit()
        if self.core.role is self:
            self.reads.check()
            self.transfer.proceed()
            self.membership.check_learner()

    def rpc_failed(self, event: events.RpcFailed) -> None:
        self.replication.failed(event.rpc_id, event.reason)
        self.transfer.failed(event.rpc_id, event.reason)

    def written(self) -> None:
        self._commit()

    def _commit(self) -> None:
        """Commits what a quorum of voters has durably, ourselves counted only if we vote (R9)."""
        core = self.core
        if core.commit_index == core.log.last_index:  # So it is for answers beyond those of a quorum.
            return
        peers = self.replication.peers
        index = majority_reached(
            [
                core.log.durable_index if voter.id == core.me.id else peers[voter.id].match
                for voter in core.configurations.latest.voters
            ]
        )
        if index <= core.commit_index or index < self.noop_index:
            return
        first, configuration_index = core.commit_index + 1, core.configurations.latest_index
        change = self._waiting.pop(configuration_index, None) if first <= configuration_index <= index else None
        core.commit_to(index, tuple(self._pop_waiting(first, index)))
        if change is not None:
            core.emit(Complete(change, configuration_index))
        if first <= configuration_index <= index and not core.configurations.latest.is_voter(core.me.id):
            self._depart()
            return
        self.replication.committed()
        self.membership.proceed()

    def _pop_waiting(self, first: int, last: int) -> list[tuple[int, events.Token]]:
        """Who waits for any of these indexes. Nobody waits here for what others proposed in earlier terms."""
        waiting, begin = self._waiting, max(first, self.noop_index)
        return [(index, waiting.pop(index)) for index in range(begin, last + 1) if index in waiting]

    def _depart(self) -> None:
        """The change that took our vote is committed: somebody else leads from here (R12)."""
        core = self.core
        heir = self.transfer.best_target()
        if heir is not None:
            core.send(heir, TimeoutNowRequest(core.me, core.term))
        removed = core.configurations.latest.get(core.me.id) is None
        if removed and core.settings.shutdown_on_remove:
            core.note(Level.INFO, "removed ourself, shutting down")
            core.stop()
        else:
            core.note(Level.INFO, "removed ourself, transitioning to follower")
            core.become_follower(core.term)

    # -- restoring a user's snapshot --------------------------------------------------------------------------------

    def restore_state(self, event: events.RestoreState) -> None:
        """Makes room for the user's snapshot behind all that is in the log; what was not committed yet is aborted."""
        core = self.core
        error = self._unavailable()
        if error is None and (self.membership.busy or core.configurations.latest_index > core.commit_index):
            error = RaftError("cannot restore a snapshot while a configuration change is under way")
        if error is not None:
            core.emit(Fail(event.token, error))
            return
        for token in self._waiting.values():
            core.emit(Fail(token, AbortedByRestoreError()))
        self._waiting.clear()
        self._restore = event.token
        configurations = core.configurations
        core.emit(
            StoreRestore(
                event.token, core.log.last_index + 1, core.term, configurations.latest, configurations.latest_index
            )
        )

    def restore_stored(self, event: events.RestoreStored) -> None:
        """Begins anew after the user's snapshot. Others lack its last entry, so they will be sent the snapshot."""
        core = self.core
        if event.token != self._restore:  # asked for in an earlier term
            super().restore_stored(event)
            return
        self._restore = None
        core.drop_log(event.meta)
        core.snapshot = event.meta
        core.commit_index = event.meta.index
        core.emit(RestoreSnapshot(event.meta))
        self.noop_index = core.log.last_index + 1
        for server_id in list(self.replication.peers):
            self.replication.exclude(server_id)
        self.sync_peers()
        self.append(event.token, EntryType.BARRIER, b"")

    def restore_failed(self, event: events.RestoreFailed) -> None:
        if event.token == self._restore:
            self._fail_restore(RaftError(event.reason))

    def _fail_restore(self, error: RaftError) -> None:
        if self._restore is not None:
            self.core.emit(Fail(self._restore, error))
            self._restore = None
