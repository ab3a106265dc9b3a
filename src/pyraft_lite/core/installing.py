"""How a node takes in a snapshot (dissertation 5, R15)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core.appending import follow
from pyraft_lite.core.effects import Level, ReceiveSnapshot, RestoreSnapshot
from pyraft_lite.core.errors import ConfigurationError, RaftError, ShutdownError
from pyraft_lite.core.events import SnapshotReceived, SnapshotReceiveFailed, Token
from pyraft_lite.core.follower import Follower
from pyraft_lite.core.messages import InstallSnapshotRequest, InstallSnapshotResponse
from pyraft_lite.core.state import State

if TYPE_CHECKING:
    from pyraft_lite.core.node import Core


def handle_install_snapshot(core: Core, rpc: Token, request: InstallSnapshotRequest) -> None:
    """Lets the snapshot be received, unless it is of an old leader or brings nothing new."""
    if request.term < core.term:
        core.respond(rpc, InstallSnapshotResponse(core.term, False), after_log=False)
        return
    fault = _fault(core, request)
    if fault:
        core.note(Level.ERROR, "refusing installSnapshot", leader=request.sender.address, error=fault)
        core.refuse(rpc, RaftError(fault))
        return
    follow(core, request)
    if request.last_index <= core.commit_index:
        core.respond(rpc, InstallSnapshotResponse(core.term, True))
    else:
        core.emit(ReceiveSnapshot(rpc, request))


def snapshot_received(core: Core, event: SnapshotReceived) -> None:
    """Puts a received snapshot in the place of the log up to its index; what follows it in our log is kept only if the
    log has the same entry there."""
    meta = event.meta
    if core.state is State.SHUTDOWN:
        core.refuse(event.rpc, ShutdownError())
        return
    if core.state is State.LEADER:  # elected while it came in: then our log holds all of it
        core.respond(event.rpc, InstallSnapshotResponse(core.term, False))
        return
    if meta.index > core.commit_index:
        core.become_follower(core.term)  # a candidate stood with a log that it no longer has
        core.snapshot = meta
        if meta.index <= core.log.last_index and core.log.term(meta.index) == meta.term:
            core.log.set_snapshot(meta.index, meta.term)
            core.compact()
        else:
            core.drop_log(meta)
        core.commit_index = meta.index
        core.emit(RestoreSnapshot(meta))
        core.note(Level.INFO, "installed remote snapshot", id=meta.id, index=meta.index, term=meta.term)
    if isinstance(core.role, Follower):
        core.role.put_off_election()
    core.respond(event.rpc, InstallSnapshotResponse(core.term, True))


def snapshot_receive_failed(core: Core, event: SnapshotReceiveFailed) -> None:
    """Nothing of it is here; the leader will send it again."""
    core.note(Level.ERROR, "failed to receive snapshot", error=event.reason)
    core.refuse(event.rpc, RaftError(event.reason))


def _fault(core: Core, request: InstallSnapshotRequest) -> str:
    """What no correct leader would send, "" if there is nothing of the kind."""
    if core.state is State.LEADER and request.term == core.term:
        return f"{request.sender.address} claims to lead term {request.term}, which we lead"
    if not (0 < request.last_term <= request.term and request.configuration_index <= request.last_index):
        return (
            f"snapshot of {request.last_term}-{request.last_index} with the configuration of index "
            f"{request.configuration_index} in a request of term {request.term}"
        )
    try:
        request.configuration.check()
    except ConfigurationError as error:
        return str(error)
    return ""
