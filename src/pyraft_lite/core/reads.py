"""Linearizable reads without a log entry (R16, dissertation 6.4)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pyraft_lite.core.effects import Fail, ReadReady
from pyraft_lite.core.errors import RaftError
from pyraft_lite.core.events import Token
from pyraft_lite.core.quorum import majority_reached

if TYPE_CHECKING:
    from pyraft_lite.core.leader import Leader


class Reads:
    """Reads that wait for a quorum to confirm, by answering a request sent after the read came, that we still lead."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._waiting: deque[tuple[int, Token, int]] = deque()  # (confirmed by rpcs from this id on, token, index)

    def add(self, token: Token, *, lease: bool) -> None:
        """Answers at once if the lease may be trusted or we are the only voter, else asks the others."""
        leader = self._leader
        # Before our no-op is committed, the commit index may lag behind what an earlier leader acknowledged.
        index = max(leader.core.commit_index, leader.noop_index)
        if lease and leader.lease_holds():
            leader.core.emit(ReadReady(token, index))
            return
        self._waiting.append((leader.core.next_rpc_id(), token, index))
        self.check()

    def check(self) -> None:
        """Releases what is confirmed; asks on for what is not."""
        if not self._waiting:
            return
        leader = self._leader
        newest = self._waiting[-1][0]
        confirmed = majority_reached(
            newest if voter.id == leader.core.me.id else leader.replication.peers[voter.id].confirmed
            for voter in leader.core.configurations.latest.voters
        )
        while self._waiting and self._waiting[0][0] <= confirmed:
            _, token, index = self._waiting.popleft()
            leader.core.emit(ReadReady(token, index))
        if self._waiting:
            leader.replication.confirm(newest)

    def fail(self, error: RaftError) -> None:
        while self._waiting:
            self._leader.core.emit(Fail(self._waiting.popleft()[1], error))
