"""R14: how a leader hands over."""

import pytest
from driver import Node, candidate, follower, leader, peer

from pyraft_lite.core import Settings, State
from pyraft_lite.core.configuration import Change, ChangeCommand
from pyraft_lite.core.effects import Complete
from pyraft_lite.core.errors import LeadershipLostError, NotLeaderError, TransferError, TransferInProgressError
from pyraft_lite.core.events import ChangeMembership, ReadIndex, TransferLeadership
from pyraft_lite.core.messages import AppendEntriesRequest, AppendEntriesResponse, RequestVoteRequest, TimeoutNowRequest


def transfer(node: Node, to: str = "", token: str = "transfer", *, address: str = "") -> None:
    node.step(TransferLeadership(token, to, address))


def asked(node: Node) -> list[str]:
    """Who was sent TimeoutNow and has not answered."""
    return [send.to.id for send, _ in node.sent(TimeoutNowRequest)]


def behind() -> Node:
    """A leader with an entry that nobody else has yet."""
    node = leader()
    node.propose("x")
    node.durable()
    return node


def test_a_target_that_has_all_is_sent_timeout_now_at_once():
    node = leader()
    transfer(node, "B")
    assert asked(node) == ["B"]
    assert node.outcomes == {}


def test_a_target_that_lacks_something_is_brought_up_to_date_first():
    node = behind()
    transfer(node, "B")
    assert asked(node) == []
    node.answer(node.appends("B")[0][0])
    assert asked(node) == ["B"]
    assert node.outcomes == {"x": 3}, "what was proposed before goes on"


def test_timeout_now_is_sent_once():
    node = leader()
    transfer(node, "B")
    node.tick(after=0.2)
    for send in node.heartbeats("B"):
        node.answer(send)
    assert asked(node) == ["B"]


def test_without_a_target_the_voter_with_most_of_the_log_is_chosen():
    node = behind()
    node.answer(node.appends("C")[0][0])
    transfer(node)
    assert asked(node) == ["C"]


def test_among_equals_the_one_that_answered_last_is_chosen():
    node = leader("ABC", nonvoters="D")
    node.tick(after=0.3)
    for to in "CD":
        node.answer(node.heartbeats(to)[0])
    transfer(node)
    assert asked(node) == ["C"]


def test_without_a_target_there_must_be_a_voter_that_answers():
    node = leader("A", nonvoters="B")
    transfer(node)
    assert node.error("transfer") == "cannot find a voter to transfer leadership to: no other voter answers"
    node = leader()
    node.now += 0.6
    transfer(node)
    assert isinstance(node.outcomes["transfer"].error, TransferError)


@pytest.mark.parametrize(
    ("to", "address", "error"),
    [
        ("A", "", "cannot transfer leadership to itself"),
        ("X", "", "cannot transfer leadership to X: not in the configuration"),
        ("D", "", "cannot transfer leadership to D: not a voter"),
        ("B", "c:1", "cannot transfer leadership to B at c:1: its address is b:1"),
    ],
)
def test_an_impossible_target_is_refused(to, address, error):
    node = leader("ABC", nonvoters="D")
    transfer(node, to, address=address)
    assert node.error("transfer") == error
    node.propose("x")
    node.settle()
    assert node.outcomes["x"] == 3


def test_a_target_may_be_named_with_its_address():
    node = leader()
    transfer(node, "B", address="b:1")
    assert asked(node) == ["B"]


def test_no_new_operations_while_a_transfer_is_under_way():
    node = leader()
    transfer(node, "B")
    node.propose("command")
    node.step(ChangeMembership("change", Change(ChangeCommand.REMOVE_SERVER, "C")))
    transfer(node, "C", "another")
    for token in ("command", "change", "another"):
        assert isinstance(node.outcomes[token].error, TransferInProgressError)


def test_a_transfer_voids_the_lease_for_good_once_timeout_now_was_sent():
    node = leader(settings=Settings(lease_reads=True))
    transfer(node, "B")
    node.step(ReadIndex("during", lease=True))
    assert "during" not in node.outcomes
    node.fail(node.sent(TimeoutNowRequest)[0][0])
    node.step(ReadIndex("after", lease=True))
    assert "after" not in node.outcomes, "the request may have arrived, or still arrive"
    node.settle()
    assert {"during", "after"} <= node.outcomes.keys()


def test_a_transfer_that_came_to_no_timeout_now_leaves_the_lease_as_it_was():
    node = leader(settings=Settings(lease_reads=True))
    node.propose("x")
    node.durable()
    transfer(node, "B")
    while "transfer" not in node.outcomes:
        node.answer_all("C")
        node.tick_at_deadline()
    node.step(ReadIndex("after", lease=True))
    assert "after" in node.outcomes


def test_a_transfer_is_done_when_the_target_takes_over():
    node = leader()
    transfer(node, "B")
    node.answer(node.sent(TimeoutNowRequest)[0][0])
    assert node.outcomes == {}
    assert node.ask(RequestVoteRequest(3, peer("B"), 2, 2, leadership_transfer=True)).granted
    assert node.outcomes == {"transfer": Complete("transfer")}
    assert node.core.state is State.FOLLOWER


def test_a_transfer_whose_target_cannot_be_asked_is_given_up_and_leaves_no_trace():
    node = leader()
    transfer(node, "B")
    node.fail(node.sent(TimeoutNowRequest)[0][0], "connection refused")
    assert node.error("transfer") == "failed to make TimeoutNow RPC to B: connection refused"
    goes_on(node)


def goes_on(node: Node) -> None:
    """Operations are taken in again, and so is another transfer."""
    node.propose("y")
    node.settle()
    assert isinstance(node.outcomes["y"], int)
    transfer(node, "C", "next")
    assert asked(node)[-1] == "C"


def test_a_transfer_is_given_up_when_the_target_does_not_catch_up_within_an_election_timeout():
    node = behind()
    transfer(node, "B")
    began = node.now
    while "transfer" not in node.outcomes:
        node.answer_all("C")
        node.tick_at_deadline()
    assert node.now == began + 1
    assert node.error("transfer") == "leadership transfer timeout: B at b:1 has not caught up within 1 s"
    goes_on(node)


def test_a_transfer_is_given_up_when_the_target_does_not_take_over_within_an_election_timeout():
    node = leader()
    transfer(node, "B")
    node.answer(node.sent(TimeoutNowRequest)[0][0])
    while "transfer" not in node.outcomes:
        node.answer_all("C")
        node.tick_at_deadline()
    assert node.error("transfer") == "leadership transfer timeout: B at b:1 has not taken over within 1 s"
    goes_on(node)


def test_a_late_failure_of_an_earlier_transfer_does_not_end_the_next():
    node = leader()
    transfer(node, "B", "first")
    (first, _), *_ = node.sent(TimeoutNowRequest)
    while "first" not in node.outcomes:
        node.answer_all("C")
        node.tick_at_deadline()
    transfer(node, "C", "second")
    node.fail(first)
    assert "second" not in node.outcomes


def test_a_target_that_is_no_longer_a_voter_is_given_up():
    node = leader()
    node.step(ChangeMembership("change", Change(ChangeCommand.REMOVE_SERVER, "B")))
    transfer(node, "B")
    assert node.error("transfer") == "cannot transfer leadership to B: not in the configuration"


def test_a_change_that_waited_takes_the_target_out_during_the_transfer():
    node = leader()
    node.step(ChangeMembership("first", Change(ChangeCommand.ADD_NONVOTER, "D", "d:1")))
    node.step(ChangeMembership("second", Change(ChangeCommand.DEMOTE_VOTER, "B")))
    transfer(node, "B")
    node.durable()
    node.answer(node.appends("C")[0][0])
    node.answer(node.appends("C")[0][0])
    assert node.error("transfer") == "B is no longer a voter"


def test_a_transfer_whose_leadership_is_lost_before_timeout_now_fails():
    node = behind()
    transfer(node, "B")
    node.answer(node.appends("C")[0][0], AppendEntriesResponse(9, 2, False))
    assert isinstance(node.outcomes["transfer"].error, LeadershipLostError)


def test_a_leader_that_loses_its_quorum_during_a_transfer_ends_it_once():
    node = behind()
    transfer(node, "B")
    while node.core.state is State.LEADER:
        node.tick_at_deadline()
    assert isinstance(node.outcomes["transfer"].error, LeadershipLostError)


@pytest.mark.parametrize("make", [follower, candidate])
def test_who_does_not_lead_hands_nothing_over(make):
    node = make()
    transfer(node, "B")
    assert isinstance(node.outcomes["transfer"].error, NotLeaderError)
    transfer(node, "A", "to itself")
    assert node.error("to itself") == "cannot transfer leadership to itself"


def test_a_former_leader_is_a_follower_like_any_other():
    node = leader()
    transfer(node, "B")
    node.ask(RequestVoteRequest(3, peer("B"), 2, 2, leadership_transfer=True))
    node.ask(AppendEntriesRequest(3, peer("B")))
    assert node.core.leader == peer("B")
