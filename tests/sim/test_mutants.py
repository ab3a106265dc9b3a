"""The simulator finds known bugs. All of them, several times over: scripts/simulate --mutants."""

from functools import partial
from random import Random

import pytest
from mutants import MUTANTS, Mutant, election

from pyraft_lite.sim import PROFILES, Simulation, Violation

QUICK = [
    "vote_leaves_before_it_is_durable",
    "own_write_counts_before_it_is_durable",
    "a_follower_believes_the_commit_index",
    "duplicates_truncate",
    "changes_do_not_wait_for_each_other",
    "a_read_before_the_no_op_commits",
    "compaction_beyond_the_snapshot",
    "a_transfer_blocks_the_next_leadership",
]
"""Some of each kind that take few seeds."""


ONCE_IN_THE_CORE = [("a_late_timeout_now_counts", 900428)]
"""Bugs that the simulator found in the core itself, each with a seed that shows it."""


def test_there_are_enough_and_each_says_what_is_wrong() -> None:
    assert len(MUTANTS) >= 25
    for mutant in MUTANTS.values():
        assert mutant.what
        assert mutant.rules


@pytest.mark.parametrize("mutant", [MUTANTS[name] for name in QUICK], ids=lambda mutant: mutant.name)
def test_a_known_bug_is_found(mutant: Mutant) -> None:
    with mutant.put_back():
        assert any(mutant.is_shown_by(partial(run, mutant, seed)) for seed in range(mutant.budget))


def test_a_mistake_in_a_mutant_is_no_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(election, "HardState", "no class")
    mutant = MUTANTS["vote_is_not_stored"]
    with mutant.put_back(), pytest.raises(TypeError):
        mutant.is_shown_by(partial(run, mutant, 0))


@pytest.mark.parametrize(("name", "seed"), ONCE_IN_THE_CORE)
def test_a_bug_that_was_in_the_core_is_gone(name: str, seed: int) -> None:
    run(MUTANTS[name], seed)
    with MUTANTS[name].put_back(), pytest.raises(Violation):
        run(MUTANTS[name], seed)


def run(mutant: Mutant, seed: int) -> None:
    Simulation(seed, PROFILES[mutant.profile](Random(seed)) if mutant.profile else None).run()
