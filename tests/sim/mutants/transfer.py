"""Bugs of leadership transfer."""

import pytest

from mutants.mutant import mutant
from pyraft_lite.core.leader import Leader
from pyraft_lite.core.transfer import Transfer


@mutant("R14")
def a_transfer_never_ends(patch: pytest.MonkeyPatch) -> None:
    """A transfer whose target does not take over keeps the leader from all work for ever."""
    patch.setattr(Transfer, "tick", lambda transfer: None)
    patch.setattr(Transfer, "deadline", lambda transfer: None)
    patch.setattr(Transfer, "failed", lambda transfer, rpc_id, reason: None)


@mutant("R14")
def a_transfer_is_forgotten_at_step_down(patch: pytest.MonkeyPatch) -> None:
    """Whoever asked for a transfer hears nothing if leadership is lost meanwhile."""
    patch.setattr(Transfer, "leave", lambda transfer: None)


@mutant("R13")
def operations_are_forgotten_at_step_down(patch: pytest.MonkeyPatch) -> None:
    """Whoever waits for an entry hears nothing when leadership is lost."""
    original = Leader.leave

    def leave(leader: Leader) -> None:
        leader._waiting.clear()
        original(leader)

    patch.setattr(Leader, "leave", leave)
