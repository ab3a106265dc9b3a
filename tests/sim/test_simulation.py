"""The simulator finds nothing in the core as it is, and finds known bugs that are put back."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pyraft_lite.core import Core, Settings, appending, voting
from pyraft_lite.core.effects import Write
from pyraft_lite.core.leader import Leader
from pyraft_lite.core.log import Log
from pyraft_lite.core.membership import Membership
from pyraft_lite.core.progress import Progress
from pyraft_lite.core.replication import Replication
from pyraft_lite.sim import Profile, Simulation, Violation

BUDGET = 40
"""So many seeds may pass before a bug is found."""


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_found_in_the_core(seed: int) -> None:
    report = Simulation(seed).run()
    assert report.acknowledged, "clients got something done"
    assert report.faults


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    first, again, other = (Simulation(seed).run() for seed in (7, 7, 8))
    assert first == again
    assert first.trace_hash != other.trace_hash


def test_an_observer_sees_every_step() -> None:
    seen: list[str] = []
    simulation = Simulation(3, observer=lambda time, node, event, outcome: seen.append(node))
    assert simulation.run().steps == len(seen)


def test_a_profile_is_what_happens() -> None:
    quiet = Profile(voters=3, spares=0, settings=Settings(), duration=5, settle=5, faults=1e-9)
    report = Simulation(1, quiet).run()
    assert sum(report.faults.values()) <= 1
    assert report.simulated == 30


# -- known bugs, put back -------------------------------------------------------------------------------------------


def own_write_counts_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Log, "durable_index", property(lambda log: log.last_index, lambda log, value: None), raising=False)


def answers_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    original = Core.respond

    def respond(core: Core, rpc: Any, response: Any, *, after_log: bool = True) -> None:
        durable, core._durable_seq = core._durable_seq, 1 << 60
        original(core, rpc, response, after_log=after_log)
        core._durable_seq = durable

    patch.setattr(Core, "respond", respond)


def vote_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    original = Core.set_hard_state
    patch.setattr(Core, "set_hard_state", lambda core, term, voted_for="": original(core, term))


def vote_without_the_log_check(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(voting, "_log_refusal", lambda core, request: "")


def entries_of_old_terms_are_committed_by_counting(patch: pytest.MonkeyPatch) -> None:
    original = Leader.begin

    def begin(leader: Leader) -> None:
        original(leader)
        leader.noop_index = 0

    patch.setattr(Leader, "begin", begin)


def follower_commits_to_its_own_end(patch: pytest.MonkeyPatch) -> None:
    original = appending._append_new

    def append_new(core: Core, request: Any) -> None:
        original(core, request)
        commit = min(request.leader_commit, core.log.last_index)
        if commit > core.commit_index:
            core.commit_to(commit)

    patch.setattr(appending, "_append_new", append_new)


def duplicates_truncate(patch: pytest.MonkeyPatch) -> None:
    def append_new(core: Core, request: Any) -> None:
        new = [entry for entry in request.entries if entry.index > core.commit_index]
        if new:
            if new[0].index <= core.log.last_index:
                core.truncate(new[0].index)
            core.append(new)

    patch.setattr(appending, "_append_new", append_new)


def changes_do_not_wait_for_each_other(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Membership, "_is_stable", lambda membership: True)


def dropped_log_leaves_what_was_compacted(patch: pytest.MonkeyPatch) -> None:
    original = Core.drop_log

    def drop_log(core: Core, snapshot: Any) -> None:
        first = core.log.first_index
        original(core, snapshot)
        assert isinstance(core._draft, Write)
        core._draft = replace(core._draft, truncate_from=first)

    patch.setattr(Core, "drop_log", drop_log)


def stale_configuration_refuses_the_only_possible_leader(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(voting, "_may_be_stale", lambda core, request: False)


def match_index_believes_rejections(patch: pytest.MonkeyPatch) -> None:
    original = Replication._rejected

    def rejected(replication: Replication, peer: Progress, sent: Any, response: Any) -> None:
        original(replication, peer, sent, response)
        peer.match = max(peer.match, response.last_log)

    patch.setattr(Replication, "_rejected", rejected)


BUGS: list[Callable[[pytest.MonkeyPatch], None]] = [
    own_write_counts_before_it_is_durable,
    answers_before_it_is_durable,
    vote_is_forgotten,
    vote_without_the_log_check,
    entries_of_old_terms_are_committed_by_counting,
    follower_commits_to_its_own_end,
    duplicates_truncate,
    changes_do_not_wait_for_each_other,
    dropped_log_leaves_what_was_compacted,
    stale_configuration_refuses_the_only_possible_leader,
    match_index_believes_rejections,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_known_bug_is_found(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    for seed in range(BUDGET):
        try:
            Simulation(seed).run()
        except Violation:
            return
    pytest.fail(f"not found within {BUDGET} seeds")
