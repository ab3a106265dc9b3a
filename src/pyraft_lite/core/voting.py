"""How a node answers those who stand for election (R2, R3, R4), and who would have it stand (R14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core.configuration import Server
from pyraft_lite.core.effects import Level
from pyraft_lite.core.errors import RaftError
from pyraft_lite.core.events import Token
from pyraft_lite.core.follower import Follower
from pyraft_lite.core.messages import (
    Peer,
    RequestPreVoteRequest,
    RequestPreVoteResponse,
    RequestVoteRequest,
    RequestVoteResponse,
    TimeoutNowRequest,
    TimeoutNowResponse,
)
from pyraft_lite.core.state import State

if TYPE_CHECKING:
    from pyraft_lite.core.node import Core


def handle_vote(core: Core, rpc: Token, request: RequestVoteRequest) -> None:
    """Grants or refuses a vote; the answer leaves when term and vote are durable (R3)."""
    granted = _grants_vote(core, request)
    if granted:
        core.set_hard_state(core.term, request.sender.address)
        if isinstance(core.role, Follower):
            core.role.put_off_election()
    core.respond(rpc, RequestVoteResponse(core.term, granted), after_log=False)


def _grants_vote(core: Core, request: RequestVoteRequest) -> bool:
    candidate = request.sender
    stale = _may_be_stale(core, request)
    refusal = _term_refusal(core, request.term, candidate) or _refusal(
        core, candidate, stale=stale, handover=request.leadership_transfer
    )
    if not refusal:
        if request.term > core.term:
            core.note(Level.DEBUG, "received a requestVote with a newer term", term=request.term)
            core.become_follower(request.term)
        refusal = _suffrage_refusal(core, candidate, stale=stale) or _log_refusal(core, request)
    if refusal:
        _note_refusal(core, "vote", candidate, refusal)
    return not refusal


def handle_pre_vote(core: Core, rpc: Token, request: RequestPreVoteRequest) -> None:
    """Says whether a vote would be granted; nothing changes by it: no term, no vote, no timer (R2)."""
    candidate = request.sender
    stale = _may_be_stale(core, request)
    refusal = (
        _term_refusal(core, request.term, candidate)
        or _refusal(core, candidate, stale=stale, handover=False)
        or _suffrage_refusal(core, candidate, stale=stale)
        or _log_refusal(core, request)
    )
    if refusal:
        _note_refusal(core, "pre-vote", candidate, refusal)
    core.respond(rpc, RequestPreVoteResponse(core.term, not refusal), after_log=False)


def handle_timeout_now(core: Core, rpc: Token, request: TimeoutNowRequest) -> None:
    """Stands at once if the leader of our term says so (R14). An earlier leader's request that comes late is refused:
    an election that disregards leases would break into that of the present one (R16)."""
    nobody_named = Peer("", "")
    if request.term != core.term if request.term else request.sender not in (core.leader, nobody_named):
        core.note(Level.WARNING, "refusing timeoutNow", sender=request.sender.address, term=request.term)
        core.refuse(rpc, RaftError(f"{request.sender.address} does not lead our term {core.term}"))
        return
    if isinstance(core.role, Follower):
        core.role.timeout_now()
    core.respond(rpc, TimeoutNowResponse())


def _term_refusal(core: Core, term: int, candidate: Peer) -> str:
    """Why there is no vote in ``term``."""
    if term < core.term:
        return f"its term {term} is older than {core.term}"
    if term == core.term and core.voted_for not in ("", candidate.address):
        return f"already voted for {core.voted_for} in this term"
    return ""


def _may_be_stale(core: Core, request: RequestVoteRequest | RequestPreVoteRequest) -> bool:
    """True if the candidate's log goes on after ours: it may hold a configuration that gave it its vote, and that needs
    our vote to be committed. So ours says nothing about the candidate then (dissertation 4.1)."""
    return (request.last_term, request.last_index) > (core.log.last_term, core.log.last_index)


def _refusal(core: Core, candidate: Peer, *, stale: bool, handover: bool) -> str:
    """Why not even the candidate's term is taken over, "" if nothing speaks against it."""
    if not stale and core.configurations.latest and _member(core, candidate) is None:
        return "candidate is not in the configuration"
    if not handover and _knows_live_leader_besides(core, candidate):
        return f"we have a leader at {core.leader.address if core.leader else 'an unknown address'}"
    return ""


def _knows_live_leader_besides(core: Core, candidate: Peer) -> bool:
    """A leader is live for the shortest time in which a follower that heard it would not stand itself (dissertation
    4.2.3)."""
    if core.state is State.LEADER:
        return True
    if core.now < core.silent_until:
        return True
    if core.leader is None or core.leader.address == candidate.address or core.last_contact is None:
        return False
    return core.now < core.last_contact + core.settings.heartbeat_timeout


def _suffrage_refusal(core: Core, candidate: Peer, *, stale: bool) -> str:
    member = _member(core, candidate)
    return "candidate is not a voter" if not stale and member is not None and not member.is_voter else ""


def _log_refusal(core: Core, request: RequestVoteRequest | RequestPreVoteRequest) -> str:
    if core.log.is_up_to_date(request.last_index, request.last_term):
        return ""
    ours, theirs = f"{core.log.last_term}-{core.log.last_index}", f"{request.last_term}-{request.last_index}"
    return f"our log is more up to date: {ours} against {theirs}"


def _member(core: Core, candidate: Peer) -> Server | None:
    """The candidate in our configuration; a peer that does not say its id is found by its address."""
    configuration = core.configurations.latest
    return configuration.get(candidate.id) if candidate.id else configuration.at_address(candidate.address)


def _note_refusal(core: Core, what: str, candidate: Peer, why: str) -> None:
    core.note(Level.INFO, f"rejecting {what} request", candidate=candidate.address, reason=why)
