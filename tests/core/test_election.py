"""R1: how a node stands for election."""

import pytest
from driver import DIE, Node, candidate, configuration_entry, follower, log_of, members, peer

from pyraft_lite.core import HardState, State
from pyraft_lite.core.effects import Note
from pyraft_lite.core.events import RpcResponse
from pyraft_lite.core.messages import (
    AppendEntriesRequest,
    Peer,
    RequestPreVoteRequest,
    RequestPreVoteResponse,
    RequestVoteRequest,
    RequestVoteResponse,
    TimeoutNowRequest,
    TimeoutNowResponse,
)


def standing(voters: str = "ABC") -> Node:
    """A candidate whose pre-vote succeeded, and whose own vote is not durable yet."""
    node = candidate(voters)
    for send, _ in node.sent(RequestPreVoteRequest):
        node.answer(send)
    return node


def test_the_heartbeat_timeout_is_random_between_once_and_twice_the_setting():
    node = follower()
    assert node.core.deadline() == node.now + 1 + DIE


def test_a_follower_does_nothing_before_its_timeout():
    node = follower()
    assert node.tick(after=1 + DIE - 0.01) == []


def test_a_follower_that_hears_nothing_asks_the_other_voters_for_pre_votes():
    node = candidate("ABC", nonvoters="D", terms=[3])
    assert [(send.to.id, request) for send, request in node.sent(RequestPreVoteRequest)] == [
        ("B", RequestPreVoteRequest(4, peer("A"), 2, 3)),
        ("C", RequestPreVoteRequest(4, peer("A"), 2, 3)),
    ]


def test_a_pre_vote_changes_neither_term_nor_vote():
    node = candidate()
    assert node.core.term == 1
    assert node.unwritten == []


def test_a_nonvoter_never_stands():
    node = follower("BC", nonvoters="A")
    node.tick_at_deadline()
    assert node.core.state is State.FOLLOWER
    assert node.unanswered == {}
    assert [note.message for note in node.of(Note)] == ["not a voter in the latest configuration, aborting election"]


def removed_by_the_last_entry(commit: int) -> Node:
    """A was a voter until the entry at index 2, and knows that what is up to ``commit`` is committed."""
    node = Node(log=(*log_of(members("AB")), configuration_entry(2, 1, members("B"))))
    node.receive(AppendEntriesRequest(1, peer("B"), prev_index=2, prev_term=1, leader_commit=commit))
    node.tick_at_deadline()
    return node


def test_who_is_removed_stands_while_others_may_need_its_log():
    node = removed_by_the_last_entry(commit=1)
    assert [send.to.id for send, _ in node.sent(RequestPreVoteRequest)] == ["B"]
    for kind in (RequestPreVoteRequest, RequestVoteRequest):
        ((send, _),) = node.sent(kind)
        node.answer(send)
        node.durable()
    assert node.core.state is State.LEADER
    node.settle()
    assert node.stopped, "its removal is committed"


def test_who_is_removed_for_good_never_stands():
    node = removed_by_the_last_entry(commit=2)
    assert node.core.state is State.FOLLOWER
    assert node.unanswered == {}


def test_a_node_without_a_configuration_never_stands_and_says_so_once():
    node = Node(term=0)
    node.tick_at_deadline()
    assert [note.message for note in node.of(Note)] == ["no known peers, aborting election"]
    node.tick_at_deadline()
    assert node.of(Note) == []
    assert node.core.state is State.FOLLOWER


def test_a_majority_of_pre_votes_leads_to_an_election_in_the_next_term():
    node = candidate("ABCDE")
    (first, _), (second, _), *_ = node.sent(RequestPreVoteRequest)
    node.answer(first)
    assert node.sent(RequestVoteRequest) == []
    node.answer(second)
    assert {request for _, request in node.sent(RequestVoteRequest)} == {RequestVoteRequest(2, peer("A"), 1, 1)}
    assert [write.hard_state for write in node.unwritten] == [HardState(2, "a:1")]


def test_refused_pre_votes_do_not_count():
    node = candidate()
    for send, _ in node.sent(RequestPreVoteRequest):
        node.answer(send, RequestPreVoteResponse(1, False))
    assert node.sent(RequestVoteRequest) == []


def test_a_pre_vote_granted_in_the_term_asked_for_counts():
    """R1: hashicorp/raft answers with the term it was asked about, though it is not in it."""
    node = candidate()
    (send, request), *_ = node.sent(RequestPreVoteRequest)
    node.answer(send, RequestPreVoteResponse(request.term, True))
    assert (node.core.state, node.core.term, node.core.voted_for) == (State.CANDIDATE, 2, "a:1")
    assert len(node.sent(RequestVoteRequest)) == 2


def test_a_refused_pre_vote_of_a_newer_term_is_followed_into_that_term():
    """R5: else who lags a term behind voters that have voted in it would ask in vain for ever."""
    node = candidate()
    (send, request), *_ = node.sent(RequestPreVoteRequest)
    node.answer(send, RequestPreVoteResponse(request.term, False))
    assert (node.core.state, node.core.term, node.core.voted_for) == (State.FOLLOWER, 2, "")


def test_a_late_pre_vote_is_no_vote():
    node = candidate("ABCDE")
    sends = [send for send, _ in node.sent(RequestPreVoteRequest)]
    for send in sends[:2]:
        node.answer(send)
    node.durable()
    for send in sends[2:]:
        node.answer(send)
    assert node.core.state is State.CANDIDATE


def test_a_peer_that_does_not_know_pre_votes_counts_as_granting_one():
    node = candidate()
    (send, _), *_ = node.sent(RequestPreVoteRequest)
    node.fail(send, "unimplemented", unsupported=True)
    assert len(node.sent(RequestVoteRequest)) == 2


def test_a_peer_that_does_not_know_votes_does_not_count():
    node = standing()
    node.durable()
    for send, _ in node.sent(RequestVoteRequest):
        node.fail(send, "unimplemented", unsupported=True)
    assert node.core.state is State.CANDIDATE


def test_an_unreachable_peer_does_not_count():
    node = candidate()
    for send, _ in node.sent(RequestPreVoteRequest):
        node.fail(send)
    assert node.core.term == 1


def test_the_own_vote_counts_only_when_it_is_durable():
    node = standing()
    node.answer(node.sent(RequestVoteRequest, "B")[0][0])
    assert node.core.state is State.CANDIDATE
    node.durable()
    assert node.core.state is State.LEADER


def test_nobody_wins_without_their_own_durable_vote_even_with_a_majority_of_others():
    node = standing("ABC")
    for send, _ in node.sent(RequestVoteRequest):
        node.answer(send)
    assert node.core.state is State.CANDIDATE
    node.durable()
    assert node.core.state is State.LEADER


def test_half_of_the_votes_are_no_majority():
    node = standing("ABCD")
    node.durable()
    (first, _), (second, _), _ = node.sent(RequestVoteRequest)
    node.answer(first)
    assert node.core.state is State.CANDIDATE
    node.answer(second)
    assert node.core.state is State.LEADER


def test_refused_votes_do_not_count():
    node = standing()
    node.durable()
    for send, _ in node.sent(RequestVoteRequest):
        node.answer(send, RequestVoteResponse(2, False))
    assert node.core.state is State.CANDIDATE


def test_an_only_voter_elects_itself_when_its_vote_is_durable():
    node = candidate("A")
    assert node.core.state is State.CANDIDATE
    node.durable(1)
    assert node.core.state is State.LEADER


def test_a_candidate_starts_over_with_a_pre_vote_when_the_election_timeout_passes():
    node = standing()
    assert node.core.deadline() == node.now + 1 + DIE
    old = [send for send, _ in node.sent(RequestVoteRequest)]
    node.tick_at_deadline()
    assert {request.term for _, request in node.sent(RequestPreVoteRequest)} == {3}
    node.durable()
    for send in old:
        node.answer(send)
    assert node.core.state is State.CANDIDATE, "votes of an election that is over"


def test_a_candidate_does_nothing_before_its_timeout():
    node = candidate()
    assert node.tick(after=1) == []


def test_a_candidate_that_hears_of_a_newer_term_follows():
    node = candidate()
    node.answer(node.sent(RequestPreVoteRequest, "B")[0][0], RequestPreVoteResponse(7, False))
    assert (node.core.state, node.core.term) == (State.FOLLOWER, 7)
    assert [write.hard_state for write in node.unwritten] == [HardState(7)]


def test_a_candidate_follows_the_leader_of_its_own_term():
    node = standing()
    node.ask(AppendEntriesRequest(2, peer("B")))
    assert (node.core.state, node.core.leader) == (State.FOLLOWER, peer("B"))
    assert node.core.voted_for == "a:1", "the vote of the term stays"


def test_timeout_now_skips_the_pre_vote_and_tells_the_voters_so():
    node = follower()
    assert node.ask(TimeoutNowRequest(peer("B"), 1)) == TimeoutNowResponse()
    assert {request for _, request in node.sent(RequestVoteRequest)} == {
        RequestVoteRequest(2, peer("A"), 1, 1, leadership_transfer=True)
    }


def test_after_a_transfer_that_came_to_nothing_the_next_election_has_a_pre_vote():
    node = follower()
    node.receive(TimeoutNowRequest(peer("B"), 1))
    node.tick_at_deadline()
    assert len(node.sent(RequestPreVoteRequest)) == 2


def test_timeout_now_moves_no_nonvoter_and_no_candidate():
    nonvoter = follower("BC", nonvoters="A")
    nonvoter.ask(TimeoutNowRequest(peer("B"), 1))
    assert nonvoter.core.state is State.FOLLOWER
    node = candidate()
    node.ask(TimeoutNowRequest(peer("B"), 1))
    assert node.sent(RequestVoteRequest) == []


@pytest.mark.parametrize("request_", [TimeoutNowRequest(peer("B"), 2), TimeoutNowRequest(peer("C"))])
def test_timeout_now_of_an_earlier_leader_is_refused(request_):
    """Its transfer is long over, and the leader of now may have a lease."""
    node = follower()
    node.receive(AppendEntriesRequest(3, peer("B")))
    rpc = node.receive(request_)
    assert node.answers[rpc].error is not None
    assert (node.core.state, node.sent(RequestVoteRequest)) == (State.FOLLOWER, [])


@pytest.mark.parametrize("request_", [TimeoutNowRequest(peer("B")), TimeoutNowRequest(Peer("", ""))])
def test_timeout_now_of_a_leader_that_does_not_say_its_term_or_its_name_counts(request_):
    """As hashicorp/raft's, of its versions 1.7 and 1.1."""
    node = follower()
    node.receive(AppendEntriesRequest(3, peer("B")))
    assert node.ask(request_) == TimeoutNowResponse()
    assert node.core.state is State.CANDIDATE


def test_answers_that_nobody_waits_for_are_ignored():
    node = standing()
    node.durable()
    for rpc_id in (1, 999):
        node.step(RpcResponse(rpc_id, RequestVoteResponse(2, True)))
    assert node.core.state is State.CANDIDATE


def test_a_candidate_that_lost_a_split_vote_tries_again_soon_with_a_pre_vote():
    node = standing()
    node.durable()
    election_timeout = node.core.deadline()
    (first, _), (second, _) = node.sent(RequestVoteRequest)
    node.answer(first, RequestVoteResponse(2, False))
    assert node.core.deadline() == election_timeout, "the other vote may still come"
    node.answer(second, RequestVoteResponse(2, False))
    assert node.core.deadline() == node.now + 0.1 * DIE
    node.tick_at_deadline()
    assert len(node.sent(RequestPreVoteRequest)) == 2
    assert node.core.term == 2


def test_a_candidate_whose_pre_vote_is_refused_waits_for_the_election_timeout():
    node = candidate()
    election_timeout = node.core.deadline()
    for send, _ in node.sent(RequestPreVoteRequest):
        node.answer(send, RequestPreVoteResponse(1, False))
    assert node.core.deadline() == election_timeout
