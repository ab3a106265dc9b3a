"""R2, R3, R4: whom a node gives its vote."""

import pytest
from driver import Node, candidate, follower, leader, peer

from pyraft_lite.core import HardState, Settings, State
from pyraft_lite.core.effects import Note
from pyraft_lite.core.messages import (
    AppendEntriesRequest,
    Peer,
    RequestPreVoteRequest,
    RequestPreVoteResponse,
    RequestVoteRequest,
    RequestVoteResponse,
)

VOTES = (RequestVoteRequest, RequestPreVoteRequest)


def vote(term: int = 4, who: str = "B", last_index: int = 3, last_term: int = 3) -> RequestVoteRequest:
    return RequestVoteRequest(term, peer(who), last_index, last_term)


def voter(**more: object) -> Node:
    """A follower in term 3, whose log ends with entry 3 of term 3."""
    return follower("ABC", nonvoters="D", terms=[2, 3], **more)


def with_leader(leader_id: str = "C") -> Node:
    """The same, and it has just heard from its leader."""
    node = voter()
    node.receive(AppendEntriesRequest(3, peer(leader_id)))
    return node


@pytest.mark.parametrize("kind", VOTES)
@pytest.mark.parametrize(
    ("why", "term", "who", "last_index", "last_term"),
    [
        ("older term", 2, "B", 3, 3),
        ("not in the configuration", 4, "X", 3, 3),
        ("nonvoter", 4, "D", 3, 3),
        ("older last term", 4, "B", 9, 2),
        ("shorter log of the same last term", 4, "B", 2, 3),
    ],
)
def test_no_vote(kind, why, term, who, last_index, last_term):
    assert not voter().ask(kind(term, peer(who), last_index, last_term)).granted


@pytest.mark.parametrize("kind", VOTES)
@pytest.mark.parametrize(
    ("term", "last_index", "last_term"),
    [(4, 3, 3), (4, 4, 3), (4, 1, 4), (9, 3, 3), (3, 3, 3)],
)
def test_a_vote_for_a_log_at_least_as_up_to_date(kind, term, last_index, last_term):
    assert voter().ask(kind(term, peer("B"), last_index, last_term)).granted


def test_the_reason_of_a_refusal_is_noted():
    node = voter()
    node.receive(vote(last_index=2))
    assert "our log is more up to date: 3-3 against 3-2" in [note.fields.get("reason") for note in node.of(Note)]


def test_one_vote_in_a_term():
    node = voter()
    assert node.ask(vote(who="B")).granted
    assert not node.ask(vote(who="C")).granted
    assert node.ask(vote(who="B")).granted, "the same candidate asks again"
    assert node.ask(vote(5, "C")).granted, "a newer term"


def test_a_vote_from_before_a_restart_counts():
    node = voter(voted_for="c:1", term=4)
    assert not node.ask(vote(4, "B")).granted
    assert node.ask(vote(4, "C")).granted


@pytest.mark.parametrize("kind", VOTES)
def test_no_vote_while_a_leader_is_live(kind):
    node = with_leader()
    assert not node.ask(kind(4, peer("B"), 3, 3)).granted
    assert node.core.term == 3, "not even its term is taken over"


@pytest.mark.parametrize("kind", VOTES)
def test_the_leader_itself_may_stand_again(kind):
    assert with_leader("C").ask(kind(4, peer("C"), 3, 3)).granted


@pytest.mark.parametrize("kind", VOTES)
def test_a_leader_is_live_for_the_least_heartbeat_timeout(kind):
    node = with_leader()
    node.tick(after=0.99)
    assert not node.ask(kind(4, peer("B"), 3, 3)).granted
    node.tick(after=0.01)
    assert node.ask(kind(4, peer("B"), 3, 3)).granted


def test_a_transfer_overrides_a_live_leader():
    request = RequestVoteRequest(4, peer("B"), 3, 3, leadership_transfer=True)
    assert with_leader().ask(request).granted


def test_a_transfer_overrides_nothing_else():
    for who, last_index in (("D", 3), ("X", 3), ("B", 2)):
        request = RequestVoteRequest(4, peer(who), last_index, 3, leadership_transfer=True)
        assert not with_leader().ask(request).granted


@pytest.mark.parametrize("kind", VOTES)
def test_a_leader_gives_no_vote_and_stays(kind):
    node = leader()
    assert not node.ask(kind(9, peer("B"), 99, 8)).granted
    assert (node.core.state, node.core.term) == (State.LEADER, 2)


def test_a_leader_gives_way_to_a_transfer():
    node = leader()
    assert node.ask(RequestVoteRequest(9, peer("B"), 99, 8, leadership_transfer=True)).granted
    assert node.core.state is State.FOLLOWER


def test_a_candidate_votes_for_another_in_a_newer_term():
    node = candidate()
    assert node.ask(vote(9)).granted
    assert (node.core.state, node.core.term) == (State.FOLLOWER, 9)


def test_a_nonvoters_newer_term_is_taken_over_and_its_vote_refused():
    node = voter()
    assert node.ask(vote(7, "D")) == RequestVoteResponse(7, False)
    assert (node.core.term, node.core.voted_for) == (7, "")


def test_a_newer_term_with_an_older_log_is_taken_over():
    node = voter()
    assert node.ask(vote(7, last_index=2)) == RequestVoteResponse(7, False)
    assert node.core.term == 7


def test_an_unknown_candidates_term_is_not_taken_over():
    assert voter().ask(vote(7, "X")) == RequestVoteResponse(3, False)


@pytest.mark.parametrize("kind", VOTES)
@pytest.mark.parametrize("who", ["X", "D"])
@pytest.mark.parametrize(("last_index", "last_term"), [(4, 3), (1, 4)])
def test_a_log_that_goes_on_after_ours_may_hold_the_configuration_that_made_the_candidate_a_voter(
    kind, who, last_index, last_term
):
    """Else two voters could need each other, the one with the log refused by the one with the older configuration."""
    assert voter().ask(kind(4, peer(who), last_index, last_term)).granted


def test_a_node_without_a_configuration_votes_for_anybody():
    assert Node(term=0).ask(vote(1, "X", 0, 0)).granted


def test_a_candidate_that_does_not_say_its_id_is_known_by_its_address():
    assert voter().ask(RequestVoteRequest(4, Peer("", "b:1"), 3, 3)).granted
    assert not voter().ask(RequestVoteRequest(4, Peer("", "d:1"), 3, 3)).granted
    assert not voter().ask(RequestVoteRequest(4, Peer("", "x:1"), 3, 3)).granted


def test_a_candidate_that_says_its_id_is_known_by_it_wherever_it_is():
    node = voter()
    assert node.ask(RequestVoteRequest(4, Peer("B", "elsewhere:1"), 3, 3)).granted
    assert node.core.voted_for == "elsewhere:1", "R4: a vote is known by the address"


def test_term_and_vote_are_one_write_and_the_answer_leaves_when_it_is_durable():
    node = voter()
    rpc = node.receive(vote())
    assert [write.hard_state for write in node.unwritten] == [HardState(4, "b:1")]
    assert rpc not in node.answers
    node.durable()
    assert node.answers[rpc].response == RequestVoteResponse(4, True)


def test_a_refusal_with_a_new_term_waits_for_the_term_to_be_durable():
    node = voter()
    rpc = node.receive(vote(7, "D"))
    assert rpc not in node.answers
    node.durable()
    assert node.answers[rpc].response == RequestVoteResponse(7, False)


def test_a_refusal_in_a_durable_term_does_not_wait():
    node = voter()
    assert node.receive(vote(2)) in node.answers


def test_a_granted_vote_puts_off_the_own_election():
    node = voter()
    node.tick(after=1)
    before = node.core.deadline()
    node.receive(vote())
    assert node.core.deadline() == before + 1


def test_a_refused_vote_does_not_put_off_the_own_election():
    node = voter()
    node.tick(after=1)
    before = node.core.deadline()
    node.receive(vote(who="D"))
    assert node.core.deadline() == before


@pytest.mark.parametrize("who", ["B", "D", "X"])
def test_answering_a_pre_vote_changes_nothing(who):
    node = voter()
    node.tick(after=1)
    before = node.core.deadline()
    response = node.ask(RequestPreVoteRequest(9, peer(who), 3, 3))
    assert response == RequestPreVoteResponse(3, who == "B")
    assert (node.core.term, node.core.voted_for, node.core.deadline()) == (3, "", before)
    assert node.store.last_index() == 3
    assert node.unwritten == []


def test_a_pre_vote_in_a_term_with_another_vote_is_refused():
    node = voter()
    node.ask(vote(who="B"))
    assert not node.ask(RequestPreVoteRequest(4, peer("C"), 3, 3)).granted
    assert node.ask(RequestPreVoteRequest(5, peer("C"), 3, 3)).granted


def test_with_lease_reads_a_restarted_node_gives_no_vote_for_a_heartbeat_timeout():
    node = voter(settings=Settings(lease_reads=True))
    assert not node.ask(vote()).granted
    node.tick(after=1)
    assert node.ask(vote()).granted


def test_with_lease_reads_a_brand_new_node_votes_at_once():
    assert Node(term=0, settings=Settings(lease_reads=True)).ask(vote(1, "X", 0, 0)).granted
