"""Bugs of leadership transfer."""

from typing import Any

import pytest

from mutants.mutant import mutant
from pyraft_lite.core import Core, node
from pyraft_lite.core.errors import RaftError, TransferInProgressError
from pyraft_lite.core.follower import Follower
from pyraft_lite.core.leader import Leader
from pyraft_lite.core.messages import TimeoutNowResponse
from pyraft_lite.core.transfer import Transfer


@mutant("R14", "R16", budget=1500, profile="leases")
def a_late_timeout_now_counts(patch: pytest.MonkeyPatch) -> None:
    """TimeoutNow of a leader that was replaced since has its receiver stand."""

    def handle(core: Core, rpc: Any, request: Any) -> None:
        if isinstance(core.role, Follower):
            core.role.timeout_now()
        core.respond(rpc, TimeoutNowResponse())

    patch.setattr(node, "handle_timeout_now", handle)


@mutant("R14", budget=200, profile="transfers")
def a_transfer_never_ends(patch: pytest.MonkeyPatch) -> None:
    """A transfer whose target does not take over keeps the leader from all work for ever."""
    patch.setattr(Transfer, "tick", lambda transfer: None)
    patch.setattr(Transfer, "deadline", lambda transfer: None)
    patch.setattr(Transfer, "failed", lambda transfer, rpc_id, reason: None)


@mutant("R14")
def a_transfer_is_forgotten_at_step_down(patch: pytest.MonkeyPatch) -> None:
    """Whoever asked for a transfer hears nothing if leadership is lost meanwhile."""
    patch.setattr(Transfer, "leave", lambda transfer: None)


@mutant("R14")
def a_transfer_blocks_the_next_leadership(patch: pytest.MonkeyPatch) -> None:
    """Whoever handed leadership over takes no operations when it leads again."""
    leave, unavailable = Transfer.leave, Leader._unavailable
    handed_over: set[Core] = set()

    def leave_the_flag(transfer: Transfer) -> None:
        if transfer.active:
            handed_over.add(transfer._leader.core)
        leave(transfer)

    def still_unavailable(leader: Leader) -> RaftError | None:
        return TransferInProgressError() if leader.core in handed_over else unavailable(leader)

    patch.setattr(Transfer, "leave", leave_the_flag)
    patch.setattr(Leader, "_unavailable", still_unavailable)


@mutant("R13")
def operations_are_forgotten_at_step_down(patch: pytest.MonkeyPatch) -> None:
    """Whoever waits for an entry hears nothing when leadership is lost."""
    original = Leader.leave

    def leave(leader: Leader) -> None:
        leader._waiting.clear()
        original(leader)

    patch.setattr(Leader, "leave", leave)
