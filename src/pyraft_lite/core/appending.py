"""How a node takes in entries (dissertation 3.5, R5-R8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core.effects import Level
from pyraft_lite.core.entry import EntryType
from pyraft_lite.core.errors import ConfigurationError, RaftError
from pyraft_lite.core.events import Token
from pyraft_lite.core.follower import Follower
from pyraft_lite.core.messages import AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest
from pyraft_lite.core.state import State

if TYPE_CHECKING:
    from pyraft_lite.core.node import Core


def handle_append_entries(core: Core, rpc: Token, request: AppendEntriesRequest) -> None:
    """Appends what is new of the request; success leaves when all of it is durable here."""
    if request.term < core.term:
        core.respond(rpc, AppendEntriesResponse(core.term, core.log.last_index, False), after_log=False)
        return
    fault = _fault(core, request)
    if fault:
        core.note(Level.ERROR, "refusing appendEntries", leader=request.sender.address, error=fault)
        core.refuse(rpc, RaftError(fault))
        return
    follow(core, request)
    if request.is_heartbeat:
        core.respond(rpc, AppendEntriesResponse(core.term, core.log.last_index, True), after_log=False)
    elif not _matches(core, request):
        response = AppendEntriesResponse(core.term, core.log.last_index, False, no_retry_backoff=True)
        core.respond(rpc, response, after_log=False)
    else:
        _append_new(core, request)
        verified = request.prev_index + len(request.entries)
        commit = min(request.leader_commit, verified)  # R6: beyond it our log may differ from the leader's
        if commit > core.commit_index:
            core.commit_to(commit)
        core.respond(rpc, AppendEntriesResponse(core.term, core.log.last_index, True))


def follow(core: Core, request: AppendEntriesRequest | InstallSnapshotRequest) -> None:
    """Accepts the sender of a request of at least our term as leader."""
    if core.leader != request.sender or request.term > core.term:
        core.note(
            Level.INFO, "entering follower state", leader_address=request.sender.address, leader_id=request.sender.id
        )
        core.become_follower(request.term, request.sender)
    if isinstance(core.role, Follower):
        core.role.heard_from_leader()


def _fault(core: Core, request: AppendEntriesRequest) -> str:
    """What no correct leader would send, "" if there is nothing of the kind. Checked before anything is changed."""
    if core.role.state is State.LEADER and request.term == core.term:
        return f"{request.sender.address} claims to lead term {request.term}, which we lead"
    index, term = request.prev_index, request.prev_term
    for entry in request.entries:
        index += 1
        if entry.index != index:
            return f"entry {entry.index} where {index} should be"
        if not term <= entry.term <= request.term:
            return f"entry {index} of term {entry.term} after one of term {term} in a request of term {request.term}"
        term = entry.term
        if entry.type is EntryType.CONFIGURATION:
            try:
                core.codec.decode(entry.data).check()
            except ValueError as error:
                return f"entry {index} holds no readable configuration: {error}"
            except ConfigurationError as error:
                return f"entry {index} holds no valid configuration: {error}"
        if index <= core.commit_index and core.log.term(index) not in (entry.term, None):
            return f"entry {index} of term {entry.term} contradicts the committed one of term {core.log.term(index)}"
    return ""


def _matches(core: Core, request: AppendEntriesRequest) -> bool:
    """True if our log has the entry the new ones follow. What is compacted was committed, so the leader has it too."""
    if request.prev_index > core.log.last_index:
        return False
    ours = core.log.term(request.prev_index)
    return ours is None or ours == request.prev_term


def _append_new(core: Core, request: AppendEntriesRequest) -> None:
    """Skips what we have, so that a late duplicate never truncates; cuts only from an entry that conflicts (R7)."""
    for at, entry in enumerate(request.entries):
        if entry.index <= core.log.last_index:
            ours = core.log.term(entry.index)
            if ours is None or ours == entry.term:
                continue
            core.note(Level.WARNING, "clearing log suffix", **{"from": entry.index, "to": core.log.last_index})
            core.truncate(entry.index)
        core.append(request.entries[at:])
        return
