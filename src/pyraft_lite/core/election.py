"""The candidate: first asks whether it would win, then stands for election (R1, dissertation 3.4 and 9.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pyraft_lite.core.configuration import Server
from pyraft_lite.core.effects import Level
from pyraft_lite.core.events import RpcFailed, RpcResponse
from pyraft_lite.core.messages import (
    RequestPreVoteRequest,
    RequestPreVoteResponse,
    RequestVoteRequest,
    RequestVoteResponse,
)
from pyraft_lite.core.quorum import majority_of
from pyraft_lite.core.role import Role
from pyraft_lite.core.state import State

if TYPE_CHECKING:
    from pyraft_lite.core.node import Core


class Candidate(Role):
    """Collects pre-votes, then votes, until it wins, another leader shows up, or the election timeout passes."""

    state: ClassVar[State] = State.CANDIDATE

    def __init__(self, core: Core, *, transfer: bool) -> None:
        super().__init__(core)
        self._transfer = transfer
        self._asked: dict[int, Server] = {}
        self._granted: set[str] = set()
        self._refused: set[str] = set()
        self._own_vote_seq: int | None = None  # None while it is a pre-vote
        self._timeout_at = 0.0

    def begin(self) -> None:
        """Asks for pre-votes, or after TimeoutNow at once for votes (R14)."""
        core = self.core
        self._timeout_at = core.now + core.random_timeout(core.settings.election_timeout)
        core.note(Level.INFO, "entering candidate state", node=core.me.address, term=core.term + 1)
        if self._transfer:
            self._stand()
        else:
            self._ask_for_pre_votes()

    def deadline(self) -> float:
        return self._timeout_at

    def tick(self) -> None:
        if self.core.now >= self._timeout_at:
            self.core.note(Level.WARNING, "election timeout reached, restarting election")
            self.core.campaign()

    def rpc_response(self, event: RpcResponse) -> None:
        server = self._asked.pop(event.rpc_id, None)
        response = event.response
        if server is None or not isinstance(response, RequestVoteResponse | RequestPreVoteResponse):
            return
        if response.granted:
            self._count(server.id)
        else:
            self._count_refusal(server.id)

    def rpc_failed(self, event: RpcFailed) -> None:
        server = self._asked.pop(event.rpc_id, None)
        if server is None:
            return
        if event.unsupported and self._own_vote_seq is None:
            # A peer older than pre-votes can't object to one, as in hashicorp/raft.
            self._count(server.id)
            return
        self.core.note(Level.DEBUG, "no answer to a request for a vote", peer=server.id, error=event.reason)

    def written(self) -> None:
        if self._own_vote_seq is not None and self.core.is_durable(self._own_vote_seq):
            self._count(self.core.me.id)

    def _ask_for_pre_votes(self) -> None:
        core = self.core
        request = RequestPreVoteRequest(core.term + 1, core.me, core.log.last_index, core.log.last_term)
        for server in self._other_voters():
            self._asked[core.send(server, request)] = server
        self._count(core.me.id)

    def _stand(self) -> None:
        core = self.core
        self._asked.clear()
        self._granted.clear()
        self._refused.clear()
        self._own_vote_seq = core.set_hard_state(core.term + 1, core.me.address)
        request = RequestVoteRequest(core.term, core.me, core.log.last_index, core.log.last_term, self._transfer)
        for server in self._other_voters():
            self._asked[core.send(server, request)] = server

    def _other_voters(self) -> list[Server]:
        return [server for server in self.core.configurations.latest.voters if server.id != self.core.me.id]

    def _count(self, server_id: str) -> None:
        core = self.core
        self._granted.add(server_id)
        voters = core.configurations.latest.voters
        tally = sum(voter.id in self._granted for voter in voters)
        if tally < majority_of(len(voters)):
            return
        if self._own_vote_seq is None:
            core.note(Level.INFO, "pre-vote successful, starting election", term=core.term + 1, tally=tally)
            self._stand()
        elif core.me.id in self._granted:
            core.note(Level.INFO, "election won", term=core.term, tally=tally)
            core.lead()

    def _count_refusal(self, server_id: str) -> None:
        """Those who granted a pre-vote refuse the vote if another candidate was faster: with the votes split, there is
        no use in waiting for the election timeout. A pre-vote comes before the next try, so that nobody is
        disturbed."""
        core = self.core
        self._refused.add(server_id)
        voters = core.configurations.latest.voters
        still_possible = sum(voter.id not in self._refused for voter in voters)
        if self._own_vote_seq is not None and still_possible < majority_of(len(voters)):
            self._timeout_at = min(self._timeout_at, core.now + core.short_random_delay())
