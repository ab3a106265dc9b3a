"""Bugs of membership changes."""

import pytest

from mutants.mutant import mutant
from pyraft_lite.core.configuration import next_configuration
from pyraft_lite.core.configurations import Configurations
from pyraft_lite.core.events import ChangeMembership
from pyraft_lite.core.membership import Membership


@mutant("R10")
def changes_do_not_wait_for_each_other(patch: pytest.MonkeyPatch) -> None:
    """The next change begins while the last one is not committed: majorities need not overlap."""
    patch.setattr(Membership, "_is_stable", lambda membership: True)


@mutant("R10")
def a_change_before_the_first_commit_of_the_term(patch: pytest.MonkeyPatch) -> None:
    """The single-server bug of 2015: a new leader changes the membership before its no-op is committed."""

    def is_stable(membership: Membership) -> bool:
        core = membership._core
        return core.configurations.latest_index <= max(core.commit_index, core.log.durable_index)

    patch.setattr(Membership, "_is_stable", is_stable)


@mutant("R7")
def a_truncation_leaves_the_configuration(patch: pytest.MonkeyPatch) -> None:
    """A configuration in the part of the log that is cut off stays in force."""
    patch.setattr(Configurations, "truncate", lambda configurations, from_index: False)


@mutant("R11")
def a_voter_is_not_caught_up_first(patch: pytest.MonkeyPatch) -> None:
    """A new voter goes into the configuration at once: one that can't be reached takes the quorum away."""

    def catch_up(membership: Membership, event: ChangeMembership) -> None:
        change = event.change
        following = next_configuration(membership._core.configurations.latest, change)
        membership._append(event.token, change, following)

    patch.setattr(Membership, "_catch_up", catch_up)


@mutant("R11")
def a_learner_that_is_gone_is_waited_for(patch: pytest.MonkeyPatch) -> None:
    """Nobody gives up a learner that can't be reached: all changes wait behind it for ever."""
    patch.setattr(Membership, "_give_up", lambda membership, learner, why: None)
    patch.setattr(Membership, "deadline", lambda membership: None)
    patch.setattr(Membership, "_promote", lambda membership, learner: None)
