"""What all roles have in common: how a node that is not the leader answers what only a leader can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pyraft_lite.core.effects import DiscardSnapshot, Fail
from pyraft_lite.core.errors import NotLeaderError, RaftError, TransferError

if TYPE_CHECKING:
    from pyraft_lite.core import events
    from pyraft_lite.core.node import Core
    from pyraft_lite.core.state import State


class Role:
    """The part of a node's behaviour that depends on its role. Overridden by Follower, Candidate, Leader and
    Stopped."""

    state: ClassVar[State]

    def __init__(self, core: Core) -> None:
        self.core = core

    def deadline(self) -> float | None:
        """When :meth:`tick` is due."""
        return None

    def tick(self) -> None: ...

    def leave(self) -> None:
        """The node is about to take another role."""

    def not_available(self) -> RaftError:
        """Why an operation that needs the leader fails here."""
        return NotLeaderError()

    def rpc_response(self, event: events.RpcResponse) -> None: ...

    def rpc_failed(self, event: events.RpcFailed) -> None: ...

    def written(self) -> None:
        """More of the log or the hard state became durable."""

    def propose(self, event: events.Propose) -> None:
        for proposal in event.proposals:
            self.core.emit(Fail(proposal.token, self.not_available()))

    def change_membership(self, event: events.ChangeMembership) -> None:
        self.core.emit(Fail(event.token, self.not_available()))

    def transfer_leadership(self, event: events.TransferLeadership) -> None:
        if event.server_id == self.core.me.id:
            self.core.emit(Fail(event.token, TransferError("cannot transfer leadership to itself")))
        else:
            self.core.emit(Fail(event.token, self.not_available()))

    def read_index(self, event: events.ReadIndex) -> None:
        self.core.emit(Fail(event.token, self.not_available()))

    def restore_state(self, event: events.RestoreState) -> None:
        self.core.emit(Fail(event.token, self.not_available()))

    def restore_stored(self, event: events.RestoreStored) -> None:
        """Too late: the restore failed when leadership was lost."""
        self.core.emit(DiscardSnapshot(event.meta.id))

    def restore_failed(self, event: events.RestoreFailed) -> None:
        """Too late, as :meth:`restore_stored`."""
