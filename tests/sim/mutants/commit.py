"""Bugs of the commit index."""

from typing import Any

import pytest

from mutants.mutant import mutant
from pyraft_lite.core import Core, appending, leader
from pyraft_lite.core.configuration import Server
from pyraft_lite.core.leader import Leader
from pyraft_lite.core.quorum import majority_reached


@mutant("R9")
def entries_of_old_terms_are_committed_by_counting(patch: pytest.MonkeyPatch) -> None:
    """What a majority holds is committed, of whatever term (dissertation, figure 3.7)."""
    original = Leader._commit

    def commit(leader: Leader) -> None:
        noop, leader.noop_index = leader.noop_index, 0
        original(leader)
        leader.noop_index = noop

    patch.setattr(Leader, "_commit", commit)


@mutant("R6", budget=400)
def a_follower_commits_up_to_its_own_end(patch: pytest.MonkeyPatch) -> None:
    """min(leader_commit, own last index), though the own log may differ beyond what was verified."""
    original = appending._append_new

    def append_new(core: Core, request: Any) -> None:
        original(core, request)
        commit = min(request.leader_commit, core.log.last_index)
        if commit > core.commit_index:
            core.commit_to(commit)

    patch.setattr(appending, "_append_new", append_new)


@mutant("R6")
def a_follower_believes_the_commit_index(patch: pytest.MonkeyPatch) -> None:
    """A rejected append moves the commit index as well."""
    original = appending._matches

    def matches(core: Core, request: Any) -> bool:
        commit = min(request.leader_commit, core.log.last_index)
        if commit > core.commit_index:
            core.commit_to(commit)
        return original(core, request)

    patch.setattr(appending, "_matches", matches)


@mutant("R9")
def half_is_a_majority(patch: pytest.MonkeyPatch) -> None:
    """Two of four are taken for a majority."""

    def reached(values: Any) -> Any:
        ordered = sorted(values, reverse=True)
        return ordered[(len(ordered) - 1) // 2]

    patch.setattr(leader, "majority_reached", reached)


@mutant("R9", "R11")
def nonvoters_count(patch: pytest.MonkeyPatch) -> None:
    """Everybody who is sent entries counts for a majority."""

    def commit(leader: Leader) -> None:
        core = leader.core
        peers = leader.replication.peers
        index = majority_reached([core.log.durable_index, *(peer.match for peer in peers.values())])
        if core.commit_index < index >= leader.noop_index:
            core.commit_to(index, tuple(leader._pop_waiting(core.commit_index + 1, index)))
            leader.replication.committed()
            leader.membership.proceed()

    patch.setattr(Leader, "_commit", commit)


@mutant("R12", "R9", budget=200)
def a_removed_leader_counts_itself(patch: pytest.MonkeyPatch) -> None:
    """A leader that is no voter any more counts its own log still."""

    class Counting:
        def __init__(self, configuration: Any, me: Server) -> None:
            self._configuration, self._me = configuration, me

        def __getattr__(self, name: str) -> Any:
            return getattr(self._configuration, name)

        @property
        def voters(self) -> tuple[Server, ...]:
            voters: tuple[Server, ...] = self._configuration.voters
            return voters if any(voter.id == self._me.id for voter in voters) else (*voters, self._me)

        def is_voter(self, server_id: str) -> bool:
            return bool(self._configuration.is_voter(server_id))

    original = Leader._commit

    def commit(leader: Leader) -> None:
        configurations, me = leader.core.configurations, leader.core.me
        latest = configurations.latest
        counting: Any = Counting(latest, Server(me.id, me.address))
        configurations.latest = counting
        original(leader)
        if configurations.latest is counting:
            configurations.latest = latest

    patch.setattr(Leader, "_commit", commit)
