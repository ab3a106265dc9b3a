"""R9: what a leader commits."""

import pytest
from driver import candidate, leader, new_leader, peer

from pyraft_lite.core import State
from pyraft_lite.core.effects import Apply, Fail
from pyraft_lite.core.entry import EntryType
from pyraft_lite.core.errors import LeadershipLostError, NotLeaderError, ShutdownError
from pyraft_lite.core.events import Fatal, Proposal, Propose, Shutdown
from pyraft_lite.core.messages import AppendEntriesRequest, AppendEntriesResponse
from pyraft_lite.core.quorum import majority_of, majority_reached


@pytest.mark.parametrize(
    ("values", "reached"),
    [([5], 5), ([5, 3], 3), ([5, 3, 1], 3), ([9, 5, 3, 1], 3), ([9, 8, 5, 3, 1], 5), ([2, 2, 2, 9, 9, 9], 2)],
)
def test_what_a_majority_has_reached(values, reached):
    assert majority_reached(values) == majority_reached(reversed(values)) == reached


@pytest.mark.parametrize(("voters", "majority"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_how_many_make_a_majority(voters, majority):
    assert majority_of(voters) == majority


def test_a_new_leader_opens_its_term_with_a_no_op():
    node = new_leader()
    (write,) = node.unwritten
    assert [(entry.index, entry.term, entry.type) for entry in write.entries] == [(2, 2, EntryType.NOOP)]


def test_the_own_write_counts_when_it_is_durable():
    node = leader()
    node.propose("x")
    node.answer_all("B")
    assert node.core.commit_index == 2
    node.durable()
    assert node.of(Apply) == [Apply(3, ((3, "x"),))]


def test_the_others_are_a_quorum_without_us():
    node = leader()
    node.propose("x")
    node.answer_all("B", "C")
    assert node.core.commit_index == 3
    node.durable()
    assert node.of(Apply) == [], "committed before"


def test_nothing_is_committed_by_the_leader_alone():
    node = leader()
    node.propose("x")
    node.durable()
    assert node.core.commit_index == 2


@pytest.mark.parametrize(("voters", "others_needed"), [("AB", 1), ("ABC", 1), ("ABCD", 2), ("ABCDE", 2)])
def test_a_majority_of_voters_commits(voters, others_needed):
    node = leader(voters)
    node.propose("x")
    node.durable()
    for count, other in enumerate(voters[1:], start=1):
        node.answer(node.appends(other)[0][0])
        assert node.core.commit_index == (3 if count >= others_needed else 2)


def test_nonvoters_never_count():
    node = leader("ABC", nonvoters="DEF")
    node.propose("x")
    node.durable()
    node.answer_all("D", "E", "F")
    assert node.core.commit_index == 2
    node.answer_all("B")
    assert node.core.commit_index == 3


def test_an_only_voter_commits_what_is_durable():
    node = leader("A", nonvoters="B")
    node.propose("x")
    assert node.core.commit_index == 2
    node.durable()
    assert node.outcomes["x"] == 3


def test_entries_of_older_terms_are_not_committed_by_counting():
    # Dissertation figure 3.7: an entry of term 2 on a majority may still be overwritten.
    node = new_leader("ABCDE", terms=[2, 2, 2])
    for other in "BC":
        (send, request), *_ = node.appends(other)
        node.answer(send, AppendEntriesResponse(request.term, 2, False, no_retry_backoff=True))
        (send, request), *_ = node.appends(other)
        assert request.prev_index + len(request.entries) == 4, "without the no-op"
        node.answer(send)
    assert node.core.commit_index == 0
    node.durable()
    assert node.core.commit_index == 0
    node.answer_all("B", "C")
    assert node.core.commit_index == 5, "the no-op of the own term, and all before it"


def test_many_proposals_are_one_write_and_each_token_comes_back_with_its_index():
    node = leader()
    node.propose("x", "y", "z")
    assert len(node.unwritten) == 1
    node.settle()
    assert [node.outcomes[token] for token in "xyz"] == [3, 4, 5]


def test_a_barrier_is_an_entry_and_what_a_proposal_carries_is_in_it():
    node = leader()
    node.step(Propose((Proposal("x", EntryType.BARRIER), Proposal("y", EntryType.COMMAND, b"data", b"more"))))
    barrier, command = node.unwritten[0].entries
    assert barrier.type is EntryType.BARRIER
    assert (command.data, command.extensions, command.term) == (b"data", b"more", 2)


def test_entries_are_stamped_with_the_time_of_day():
    node = leader()
    node.propose("x")
    assert node.unwritten[0].entries[0].appended_at == round(node.now * 1_000_000_000)


@pytest.mark.parametrize("end", [Shutdown(), Fatal("disk on fire")])
def test_proposals_under_way_fail_when_the_node_stops(end):
    node = leader()
    node.propose("x", "y")
    node.step(end)
    assert [type(fail.error) for fail in node.of(Fail)] == [LeadershipLostError, LeadershipLostError]
    node.propose("z")
    assert isinstance(node.outcomes["z"].error, ShutdownError)


def test_proposals_under_way_fail_when_a_newer_term_shows_up():
    node = leader()
    node.propose("x")
    node.answer(node.appends("B")[0][0], AppendEntriesResponse(5, 2, False))
    assert (node.core.state, node.core.term) == (State.FOLLOWER, 5)
    assert isinstance(node.outcomes["x"].error, LeadershipLostError)
    node.propose("y")
    assert isinstance(node.outcomes["y"].error, NotLeaderError)


def test_a_candidate_takes_no_proposals():
    node = candidate()
    node.propose("x")
    assert isinstance(node.outcomes["x"].error, NotLeaderError)


def test_an_entry_that_is_committed_after_its_proposal_failed_is_applied_for_nobody():
    node = leader()
    node.propose("x")
    node.durable()
    node.receive(AppendEntriesRequest(5, peer("B")))
    assert isinstance(node.outcomes["x"].error, LeadershipLostError)
    node.receive(AppendEntriesRequest(5, peer("B"), 3, 2, leader_commit=3))
    assert node.of(Apply) == [Apply(3)]
