"""The leader's side of replication: what to send to whom next, and what the answers mean (R5, R8, R13, R17, R21)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyraft_lite.core.configuration import Configuration, Server
from pyraft_lite.core.effects import Channel, CloseStream, Level, SendSnapshot
from pyraft_lite.core.entry import Entry
from pyraft_lite.core.messages import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    Response,
)
from pyraft_lite.core.progress import Mode, Progress, Purpose, Sent
from pyraft_lite.core.quorum import majority_of
from pyraft_lite.core.settings import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from pyraft_lite.core.node import Core

FIRST_RETRY = 0.01
"""Seconds before the first retry after a failure; doubles with each failure up to the election timeout."""

SPARED = 0.5
"""For how many commit timeouts a server that a quorum does without gets no further entries."""

SPARED_ENTRIES = 8
"""How many it may lack at most: with more in a message, one that is made once for all costs less than one for each."""

PATIENCE = 0.1
"""After how many commit timeouts without an answer a server, or our own disk, is not relied on for a quorum."""


class Replication:
    """Keeps a Progress for every server the leader sends to: the others of the configuration, a learner, and servers
    that were removed but do not know it yet."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.peers: dict[str, Progress] = {}
        self._owner: dict[int, Progress] = {}
        self._leaving: dict[str, int] = {}  # id of a removed server -> index of the entry that removed it
        self._notice_due: float | None = None
        self._look_due: float | None = None
        self._relied_on: list[str] = []
        self._spared_for = core.settings.commit_timeout * SPARED
        self._patience = core.settings.commit_timeout * PATIENCE

    # -- who ------------------------------------------------------------------------------------------------------

    def sync(self, configuration: Configuration, index: int) -> None:
        """Follows a change of the configuration, whose entry is at ``index``."""
        self._relied_on = []
        for server in configuration:
            if server.id != self._core.me.id:
                self.include(server)
        for server_id in self.peers:
            if configuration.get(server_id) is None:
                self._leaving.setdefault(server_id, index)

    def include(self, server: Server) -> Progress:
        """Begins to send to ``server``, unless that is under way to this very address."""
        core, known = self._core, self.peers.get(server.id)
        self._leaving.pop(server.id, None)
        if known is not None and known.server.address == server.address:
            known.server = server
            return known
        if known is not None:
            self.exclude(server.id)
        core.note(Level.INFO, "added peer, starting replication", peer=server.id)
        # A new address is no answer: the lease gets no longer by it.
        contact = known.contact if known is not None else core.now
        peer = Progress(server, next=core.log.last_index + 1, contact=contact, heartbeat_due=core.now)
        self.peers[server.id] = peer
        return peer

    def exclude(self, server_id: str) -> None:
        """Sends no more to this server."""
        peer = self.peers.pop(server_id, None)
        self._leaving.pop(server_id, None)
        if peer is not None:
            self._forget_sent(peer)
            self._core.note(Level.INFO, "removed peer, stopping replication", peer=server_id)
            self._core.emit(CloseStream(peer.server))

    def _let_go_of_removed(self) -> None:
        """A removed server is told that its removal is committed, so that it does not stand for election; with one try
        if it does not answer."""
        for server_id, index in list(self._leaving.items()):
            peer = self.peers[server_id]
            if peer.knows_commit >= index or (peer.failures and self._core.commit_index >= index):
                self.exclude(server_id)

    # -- when -----------------------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """When :meth:`tick` has something to do."""
        return min(self._due_times(), default=None)

    def _due_times(self) -> Iterator[float]:
        last_index = self._core.log.last_index
        for peer in self.peers.values():
            if not peer.heartbeats:
                yield peer.heartbeat_due
            if peer.mode is Mode.PROBE and not peer.appends and peer.next <= last_index + 1:
                yield peer.retry_at
        if self._notice_due is not None:
            yield self._notice_due
        if self._look_due is not None:
            yield self._look_due

    def tick(self) -> None:
        now = self._core.now
        for peer in list(self.peers.values()):
            if now >= peer.heartbeat_due and not peer.heartbeats:
                self._heartbeat(peer)
        if self._notice_due is not None and now >= self._notice_due:
            self._notice_due = None
            for peer in self.peers.values():
                if peer.mode is not Mode.STREAM or peer.told_commit >= self._core.commit_index:
                    continue
                if peer.appends >= self._core.settings.max_in_flight:
                    self._schedule_notice()
                else:
                    self._send_append(peer)
        self._look_due = None
        self._relied_on = []
        self.advance_all()
        self._let_go_of_removed()

    def committed(self) -> None:
        """The commit index moved."""
        self._schedule_notice()
        if self._leaving:
            self._let_go_of_removed()

    def _schedule_notice(self) -> None:
        """Has idle servers told of the commit index within the commit timeout."""
        if self._notice_due is None:
            self._notice_due = self._core.now + self._core.settings.commit_timeout

    def confirm(self, since: int) -> None:
        """Asks those that have answered nothing of rpc id ``since`` or later whether we still lead (R16). One that has
        a heartbeat to answer is asked again after that, so that all reads that come meanwhile share the next round."""
        for peer in self.peers.values():
            if peer.confirmed < since and not peer.heartbeats:
                self._heartbeat(peer)

    # -- what -----------------------------------------------------------------------------------------------------

    def advance_all(self) -> None:
        """Sends what any server lacks, as far as it may be sent now."""
        for peer in self.peers.values():
            self.advance(peer)

    def advance(self, peer: Progress) -> None:
        """Sends what the server lacks, as far as it may be sent now."""
        core = self._core
        if peer.mode is Mode.SNAPSHOT or core.now < peer.retry_at:
            return
        if peer.mode is Mode.PROBE:
            if not peer.appends:
                self._send_append(peer)
            return
        while peer.next <= core.log.last_index and peer.appends < core.settings.max_in_flight:
            if self._is_spared(peer):
                if self._look_due is None:  # it may be needed before it is due
                    self._look_due = core.now + self._patience
                return
            if not self._send_append(peer):
                return

    def advance_now(self, peer: Progress) -> None:
        """As :meth:`advance`, without sparing it."""
        peer.spared_until = self._core.now
        self.advance(peer)

    def _is_spared(self, peer: Progress) -> bool:
        """True if it got entries a short while ago, lacks few since, and a quorum comes about without it (R21). With
        few writes nobody is spared: who is quickest then makes the quorum, and is relied on when there are more. To
        send to a quorum only is what EPaxos (Moraru et al., 2013) calls thrifty."""
        core = self._core
        if core.now >= peer.spared_until or core.log.last_index + 1 - peer.next >= SPARED_ENTRIES:
            return False
        if not self._relied_on:
            self._relied_on = self._rely()
        return peer.server.id not in self._relied_on

    def _rely(self) -> list[str]:
        """The voters expected to make the next quorum: of those that keep nobody waiting, those whose logs reach
        furthest; of equals ourselves, then who answered quickest. It stays with them until another has got entries, or
        a tick, which comes when they keep somebody waiting, if not before."""
        core = self._core
        patient_since = core.now - self._patience
        ranks: dict[str, tuple[bool, int, float]] = {}
        for voter in core.configurations.latest.voters:
            if voter.id == core.me.id:
                prompt, reach, answered_in = True, core.log.durable_index, 0.0
                waiting_since = core.oldest_unfinished_write()
            else:
                peer = self.peers[voter.id]
                prompt, reach, answered_in = peer.mode is Mode.STREAM, peer.match, peer.answered_in
                waiting_since = peer.waiting_since
            prompt = prompt and (waiting_since is None or waiting_since > patient_since)
            ranks[voter.id] = prompt, reach, -answered_in
        return sorted(ranks, key=ranks.__getitem__, reverse=True)[: majority_of(len(ranks))]

    def _send_append(self, peer: Progress) -> bool:
        """Sends the next message, with as many entries as fit (R17); False if it takes a snapshot instead."""
        core = self._core
        prev_index = peer.next - 1
        prev_term = core.log.term(prev_index)
        if prev_term is None:
            self._send_snapshot(peer)
            return False
        entries: tuple[Entry, ...] = ()
        if peer.next <= core.log.last_index:
            high = min(core.log.last_index, prev_index + core.settings.max_append_entries)
            entries = tuple(core.log.entries(peer.next, high, MAX_MESSAGE_BYTES))
        request = AppendEntriesRequest(core.term, core.me, prev_index, prev_term, entries, core.commit_index)
        probing = peer.mode is Mode.PROBE
        rpc_id = core.send(peer.server, request, Channel.UNARY if probing else Channel.STREAM)
        last_index = prev_index + len(entries)
        commit = min(core.commit_index, last_index)
        self._remember(peer, rpc_id, Sent(Purpose.APPEND, core.now, prev_index, last_index, commit))
        peer.told_commit = core.commit_index
        if entries:
            peer.spared_until = core.now + self._spared_for
            if peer.server.id not in self._relied_on:
                self._relied_on = []  # it may prove to be quicker
        if not probing:
            peer.next = last_index + 1
        return True

    def _heartbeat(self, peer: Progress) -> None:
        core = self._core
        rpc_id = core.send(peer.server, AppendEntriesRequest(core.term, core.me))
        self._remember(peer, rpc_id, Sent(Purpose.HEARTBEAT, core.now))
        peer.heartbeat_due = core.now + core.random_timeout(core.settings.heartbeat_timeout / 10)

    def _send_snapshot(self, peer: Progress) -> None:
        core = self._core
        meta = core.snapshot
        assert meta is not None, "entries are only ever compacted behind a snapshot"
        core.note(Level.INFO, "sending snapshot", peer=peer.server.id, id=meta.id, index=meta.index)
        rpc_id = core.next_rpc_id()
        request = InstallSnapshotRequest(
            core.term, core.me, meta.index, meta.term, meta.configuration, meta.configuration_index, meta.size
        )
        core.emit(SendSnapshot(rpc_id, peer.server, request, meta.id))
        peer.mode = Mode.SNAPSHOT
        self._forget_sent(peer, keep=Purpose.HEARTBEAT)  # an answer to an append would end the mode too early
        self._remember(peer, rpc_id, Sent(Purpose.SNAPSHOT, core.now, meta.index, meta.index, meta.index))

    # -- answers --------------------------------------------------------------------------------------------------

    def answered(self, rpc_id: int, response: Response) -> Progress | None:
        """Takes an answer of our term in; returns whose it was, None if nobody waits for it any more."""
        peer = self._owner.pop(rpc_id, None)
        if peer is None:
            return None
        sent = peer.take(rpc_id)
        if sent.at > peer.contact:
            peer.contact = sent.at
        if rpc_id > peer.confirmed:
            peer.confirmed = rpc_id
        match response, sent.purpose:
            case AppendEntriesResponse(), Purpose.HEARTBEAT:
                self._retry_soon(peer)
            case AppendEntriesResponse(), Purpose.APPEND:
                peer.answered_in = self._core.now - sent.at
                if response.success:
                    self._accepted(peer, sent)
                else:
                    self._rejected(peer, sent, response)
            case InstallSnapshotResponse(), Purpose.SNAPSHOT:
                if response.success:
                    self._accepted(peer, sent)
                else:
                    self._failed(peer, "the snapshot was refused")
        self.advance(peer)
        if self._leaving:
            self._let_go_of_removed()
        return peer

    def failed(self, rpc_id: int, reason: str) -> Progress | None:
        """A request has no answer; returns whose it was, None if nobody waits for it any more."""
        peer = self._owner.pop(rpc_id, None)
        if peer is None:
            return None
        if peer.take(rpc_id).purpose is Purpose.HEARTBEAT:
            peer.last_error = reason
        else:
            self._failed(peer, reason)
            self.advance_all()  # others may have been spared for it
        self._let_go_of_removed()
        return peer

    def _accepted(self, peer: Progress, sent: Sent) -> None:
        if sent.last_index > peer.match:
            peer.match = sent.last_index
        if sent.commit > peer.knows_commit:
            peer.knows_commit = sent.commit
        peer.failures = 0
        peer.retreat = 1
        if peer.mode is Mode.STREAM:
            return
        peer.next = sent.last_index + 1
        if sent.purpose is Purpose.SNAPSHOT:
            peer.mode = Mode.PROBE
        else:
            self._core.note(Level.INFO, "pipelining replication", peer=str(peer.server))
            peer.mode = Mode.STREAM
            peer.spared_until = self._core.now  # it is behind: what it lacks comes at once
            if peer.told_commit < self._core.commit_index:
                self._schedule_notice()

    def _rejected(self, peer: Progress, sent: Sent, response: AppendEntriesResponse) -> None:
        """Goes back to where the logs may match: at most to the follower's end, else ever larger steps before
        ``prev``."""
        self._probe(peer)
        if not response.no_retry_backoff or not sent.prev_index:  # all logs match at 0: going back further won't help
            self._back_off(peer)
        step_back = sent.prev_index + 1 - peer.retreat
        peer.retreat *= 2
        target = min(step_back, response.last_log + 1)
        log = self._core.log
        oldest = log.first_index if log.term(log.first_index - 1) is not None else log.first_index + 1
        if target < oldest <= min(sent.prev_index, response.last_log + 1):
            target = oldest  # try what is left of the log before sending a snapshot
        peer.next = max(1, target)
        self._core.note(
            Level.WARNING, "appendEntries rejected, sending older logs", peer=str(peer.server), next=peer.next
        )

    def _failed(self, peer: Progress, reason: str) -> None:
        peer.last_error = reason
        if not peer.failures:
            self._core.note(Level.ERROR, "failed to replicate to", peer=str(peer.server), error=reason)
        peer.next = peer.match + 1 if peer.match else peer.next
        self._probe(peer)
        self._back_off(peer)

    def _probe(self, peer: Progress) -> None:
        """Finds out anew where the logs match; answers to what was sent before count no more."""
        peer.mode = Mode.PROBE
        peer.told_commit = 0
        self._relied_on = []
        self._forget_sent(peer, keep=Purpose.HEARTBEAT)

    def _back_off(self, peer: Progress) -> None:
        peer.failures += 1
        longest = self._core.settings.election_timeout
        peer.retry_at = self._core.now + min(longest, FIRST_RETRY * 2 ** min(peer.failures, 16))

    def _retry_soon(self, peer: Progress) -> None:
        """It answers heartbeats: no reason to wait longer than the first retry would."""
        peer.retry_at = min(peer.retry_at, self._core.now + FIRST_RETRY)

    def _remember(self, peer: Progress, rpc_id: int, sent: Sent) -> None:
        peer.remember(rpc_id, sent)
        self._owner[rpc_id] = peer

    def _forget_sent(self, peer: Progress, keep: Purpose | None = None) -> None:
        for rpc_id in [rpc_id for rpc_id, sent in peer.sent.items() if sent.purpose is not keep]:
            peer.take(rpc_id)
            del self._owner[rpc_id]
