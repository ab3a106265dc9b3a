"""Bugs of elections."""

from dataclasses import replace
from typing import Any

import pytest

from mutants.mutant import mutant
from pyraft_lite.core import Core, node, voting
from pyraft_lite.core.effects import Effect, Write
from pyraft_lite.core.election import Candidate
from pyraft_lite.core.follower import Follower
from pyraft_lite.core.state import HardState


@mutant("R2")
def vote_without_the_log_check(patch: pytest.MonkeyPatch) -> None:
    """A vote is given to whoever asks first, however old its log."""
    patch.setattr(voting, "_log_refusal", lambda core, request: "")


@mutant("R2", budget=400)
def log_check_by_index_alone(patch: pytest.MonkeyPatch) -> None:
    """The longer log wins, whatever its last term."""

    def refusal(core: Core, request: Any) -> str:
        return "" if request.last_index >= core.log.last_index else "shorter"

    patch.setattr(voting, "_log_refusal", refusal)


@mutant("R2", "R3")
def two_votes_in_a_term(patch: pytest.MonkeyPatch) -> None:
    """A vote in the current term is given again to another candidate."""
    patch.setattr(voting, "_term_refusal", lambda core, term, candidate: "old" if term < core.term else "")


@mutant("R3")
def vote_is_not_stored(patch: pytest.MonkeyPatch) -> None:
    """The vote is remembered while the node runs, and not written: a restart votes again."""
    original = Core.set_hard_state

    def set_hard_state(core: Core, term: int, voted_for: str = "") -> int:
        seq = original(core, term, voted_for)
        draft = core._draft
        assert draft is not None
        draft.hard_state = HardState(term)
        return seq

    patch.setattr(Core, "set_hard_state", set_hard_state)


@mutant("R3")
def vote_leaves_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    """The answer to a request for a vote does not wait for the disk."""
    original = Core.respond

    def respond(core: Core, rpc: Any, response: Any, *, after_log: bool = True) -> None:
        if after_log:
            original(core, rpc, response)
        else:
            core.emit(node.Respond(rpc, response))

    patch.setattr(Core, "respond", respond)


@mutant("R3")
def term_and_vote_apart(patch: pytest.MonkeyPatch) -> None:
    """Term and vote are written one after the other, and the answer waits for the term alone."""
    original = Core._flush

    def flush(core: Core) -> list[Effect]:
        outcome = original(core)
        if outcome and isinstance(outcome[0], Write) and outcome[0].hard_state and outcome[0].hard_state.voted_for:
            write = outcome[0]
            core._seq += 1
            core._unfinished.append((core._seq, core.now))
            outcome[0:1] = [replace(write, hard_state=HardState(core.term)), Write(core._seq, write.hard_state)]
        return outcome

    patch.setattr(Core, "_flush", flush)


@mutant("R3")
def own_vote_counts_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    """A candidate wins with a vote for itself that a crash may take back."""
    original = Candidate._stand

    def stand(candidate: Candidate) -> None:
        original(candidate)
        candidate._granted.add(candidate.core.me.id)

    patch.setattr(Candidate, "_stand", stand)


@mutant("R1", budget=200)
def pre_votes_count_as_votes(patch: pytest.MonkeyPatch) -> None:
    """Who would vote for a candidate is taken to have done so."""
    original = Candidate._stand

    def stand(candidate: Candidate) -> None:
        granted = candidate._granted - {candidate.core.me.id}
        original(candidate)
        candidate._granted |= granted

    patch.setattr(Candidate, "_stand", stand)


@mutant("R1", "R2")
def a_pre_vote_raises_the_term(patch: pytest.MonkeyPatch) -> None:
    """Who is asked for a pre-vote takes the candidate's term over and forgets its leader, so that each try disturbs."""
    original = voting.handle_pre_vote

    def handle(core: Core, rpc: Any, request: Any) -> None:
        original(core, rpc, request)
        if request.term > core.term:
            core.become_follower(request.term)

    patch.setattr(node, "handle_pre_vote", handle)


@mutant("R1", "R2")
def a_pre_vote_puts_off_the_election(patch: pytest.MonkeyPatch) -> None:
    """Whoever is asked for a pre-vote waits another timeout, even if it says no: one that can't win keeps those who can
    from trying."""
    original = voting.handle_pre_vote

    def handle(core: Core, rpc: Any, request: Any) -> None:
        original(core, rpc, request)
        if isinstance(core.role, Follower):
            core.role.put_off_election()

    patch.setattr(node, "handle_pre_vote", handle)


@mutant("R2", "R10", budget=1500, profile="membership")
def a_stale_configuration_refuses_the_only_possible_leader(patch: pytest.MonkeyPatch) -> None:
    """A candidate that is not in our configuration is refused, though its longer log may say that it is a voter."""
    patch.setattr(voting, "_may_be_stale", lambda core, request: False)


@mutant("R12", budget=200, profile="removals")
def who_is_removed_never_stands(patch: pytest.MonkeyPatch) -> None:
    """A server does not stand once the entry that removes it is appended, though only it may be able to win."""
    patch.setattr(Follower, "_may_stand", lambda role: role.core.configurations.latest.is_voter(role.core.me.id))
