"""Bugs of reads."""

from typing import Any

import pytest

from mutants.mutant import mutant
from pyraft_lite.core import voting
from pyraft_lite.core.effects import ReadReady
from pyraft_lite.core.leader import Leader
from pyraft_lite.core.reads import Reads
from pyraft_lite.core.transfer import Transfer


@mutant("R16", budget=100, profile="reads")
def a_read_without_the_round(patch: pytest.MonkeyPatch) -> None:
    """A leader answers reads without asking whether it still leads."""

    def add(reads: Reads, token: Any, *, lease: bool) -> None:
        leader = reads._leader
        leader.core.emit(ReadReady(token, max(leader.core.commit_index, leader.noop_index)))

    patch.setattr(Reads, "add", add)


@mutant("R16")
def a_read_before_the_no_op_commits(patch: pytest.MonkeyPatch) -> None:
    """A new leader's commit index is taken as it is, though it may lag behind what was acknowledged."""

    def add(reads: Reads, token: Any, *, lease: bool) -> None:
        leader = reads._leader
        if lease and leader.lease_holds():
            leader.core.emit(ReadReady(token, leader.core.commit_index))
            return
        reads._waiting.append((leader.core.next_rpc_id(), token, leader.core.commit_index))
        reads.check()

    patch.setattr(Reads, "add", add)


@mutant("R16", budget=100, profile="reads")
def earlier_answers_confirm_a_read(patch: pytest.MonkeyPatch) -> None:
    """Answers to what was sent before the read count for its round."""

    def add(reads: Reads, token: Any, *, lease: bool) -> None:
        leader = reads._leader
        reads._waiting.append((0, token, max(leader.core.commit_index, leader.noop_index)))
        reads.check()

    patch.setattr(Reads, "add", add)


@mutant("R16", "R14", budget=200, profile="leases")
def the_lease_goes_on_through_a_transfer(patch: pytest.MonkeyPatch) -> None:
    """Reads trust the lease though TimeoutNow was sent, whose election disregards it."""
    patch.setattr(Transfer, "voids_lease", property(lambda transfer: False))


@mutant("R16", "R13", profile="reads")
def the_lease_never_ends(patch: pytest.MonkeyPatch) -> None:
    """Lease reads do not look at when the quorum was last heard from."""
    patch.setattr(Leader, "lease_holds", lambda leader: not leader.transfer.voids_lease)


@mutant("R16", budget=1500, profile="leases")
def the_lease_survives_a_restart_of_its_voters(patch: pytest.MonkeyPatch) -> None:
    """A voter that restarts forgets that it has just promised a leader not to vote."""
    original = voting._knows_live_leader_besides

    def knows(core: Any, candidate: Any) -> bool:
        core.silent_until = 0.0
        return original(core, candidate)

    patch.setattr(voting, "_knows_live_leader_besides", knows)
