"""R10, R11, R12: how a leader changes who is in the cluster."""

import pytest
from driver import Node, follower, leader, members, new_leader, peer, server

from pyraft_lite.core import Settings, State
from pyraft_lite.core.configuration import Change, ChangeCommand, Configuration, Server, Suffrage
from pyraft_lite.core.effects import CloseStream, Complete, Send, SendSnapshot, Stopped
from pyraft_lite.core.entry import EntryType
from pyraft_lite.core.errors import CatchUpError, LeadershipLostError, NotLeaderError, ShutdownError
from pyraft_lite.core.events import ChangeMembership, SnapshotTaken
from pyraft_lite.core.messages import AppendEntriesRequest, AppendEntriesResponse, RequestVoteRequest, TimeoutNowRequest

ADD_VOTER, ADD_NONVOTER = ChangeCommand.ADD_VOTER, ChangeCommand.ADD_NONVOTER
DEMOTE, REMOVE = ChangeCommand.DEMOTE_VOTER, ChangeCommand.REMOVE_SERVER


def change(node: Node, command: ChangeCommand, who: str, token: str = "change", *, address="", previous=0) -> None:
    address = address or peer(who).address
    node.step(ChangeMembership(token, Change(command, who, address, previous)))


def latest(node: Node) -> Configuration:
    return node.core.configurations.latest


def pass_time(node: Node, seconds: float, *alive: str) -> None:
    """Lets time pass, tick by tick, while these servers answer everything and what is sent to others is lost."""
    end = node.now + seconds
    while (deadline := node.core.deadline()) is not None and deadline <= end:
        node.tick_at_deadline()
        node.durable()
        node.answer_all(*alive)
        for send in list(node.unanswered.values()):
            node.fail(send)
    node.tick(after=end - node.now)


# -- changes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "who", "result"),
    [
        (ADD_NONVOTER, "E", members("ABC", "DE")),
        (ADD_NONVOTER, "B", members("ABC", "D")),
        (ADD_VOTER, "B", members("ABC", "D")),
        (DEMOTE, "C", Configuration((*members("AB"), server("C", Suffrage.NONVOTER), *members("", "D")))),
        (REMOVE, "B", members("AC", "D")),
        (REMOVE, "D", members("ABC")),
    ],
)
def test_a_change_takes_effect_when_appended_and_is_done_when_committed(command, who, result):
    node = leader("ABC", nonvoters="D")
    change(node, command, who)
    assert latest(node) == result
    assert node.outcomes == {}
    assert [entry.type for entry in node.unwritten[0].entries] == [EntryType.CONFIGURATION]
    node.settle()
    assert node.outcomes == {"change": Complete("change", 3)}


def test_a_voters_address_changes_and_it_is_sent_to_there():
    node = leader()
    change(node, ADD_VOTER, "B", address="new:1")
    assert latest(node).get("B") == Server("B", "new:1")
    assert CloseStream(server("B")) in node.effects
    assert {send.to.address for send in node.unanswered.values()} == {"new:1", "c:1"}


def test_an_address_change_keeps_the_lease_as_short_as_it_was():
    node = leader(settings=Settings(lease_reads=True))
    node.tick(after=0.4)
    end = node.core.role._lease_end()
    change(node, ADD_VOTER, "B", address="new:1")
    assert node.core.role._lease_end() == end


@pytest.mark.parametrize("command", [DEMOTE, REMOVE])
def test_a_change_of_a_server_that_is_not_there_is_done_at_once(command):
    node = leader()
    change(node, command, "X")
    assert node.outcomes == {"change": Complete("change", 1)}


@pytest.mark.parametrize(
    ("command", "who", "address", "error"),
    [
        (DEMOTE, "A", "", "need at least one voter"),
        (REMOVE, "A", "", "need at least one voter"),
        (ADD_NONVOTER, "C", "b:1", "found duplicate address in configuration: b:1"),
        (ADD_VOTER, "C", "b:1", "found duplicate address in configuration: b:1"),
    ],
)
def test_a_change_to_an_impossible_configuration_fails(command, who, address, error):
    node = leader("A", nonvoters="B")
    change(node, command, who, address=address)
    assert error in node.error("change")
    assert latest(node) == members("A", "B")


def test_a_change_on_the_condition_of_another_configuration_fails():
    node = leader()
    change(node, REMOVE, "B", "stale", previous=7)
    assert node.error("stale") == "configuration changed since 7 (latest is 1)"
    change(node, REMOVE, "B", "good", previous=1)
    node.settle()
    assert node.outcomes["good"] == Complete("good", 3)


def test_changes_are_made_one_after_the_other():
    node = leader()
    change(node, ADD_NONVOTER, "D", "first")
    change(node, ADD_NONVOTER, "E", "second", previous=1)
    change(node, ADD_NONVOTER, "F", "third", previous=3)
    assert latest(node) == members("ABC", "D")
    node.durable()
    node.answer_all("B")
    assert node.outcomes["first"] == Complete("first", 3)
    assert node.error("second") == "configuration changed since 1 (latest is 3)"
    assert latest(node) == members("ABC", "DF")


def test_no_change_before_the_leader_has_committed_in_its_term():
    node = new_leader()
    change(node, REMOVE, "C")
    assert latest(node) == members("ABC")
    node.settle()
    assert latest(node) == members("AB")
    assert node.outcomes["change"] == Complete("change", 3)


def test_a_quorum_is_of_the_new_configuration():
    node = leader("AB")
    change(node, REMOVE, "B")
    node.durable()
    assert node.outcomes["change"] == Complete("change", 3)


@pytest.mark.parametrize("command", [ADD_VOTER, REMOVE])
def test_who_does_not_lead_changes_nothing(command):
    node = follower()
    change(node, command, "D")
    assert isinstance(node.outcomes["change"].error, NotLeaderError)


def test_changes_under_way_and_waiting_fail_when_leadership_is_lost():
    node = leader()
    change(node, ADD_NONVOTER, "D", "under way")
    change(node, REMOVE, "D", "waiting")
    node.receive(AppendEntriesRequest(9, peer("B")))
    assert isinstance(node.outcomes["under way"].error, LeadershipLostError)
    assert isinstance(node.outcomes["waiting"].error, LeadershipLostError)
    change(node, REMOVE, "D", "late")
    assert isinstance(node.outcomes["late"].error, NotLeaderError)


def test_a_stopped_node_changes_nothing():
    node = leader("AB")
    change(node, REMOVE, "A", "mine")
    node.settle()
    change(node, REMOVE, "B", "late")
    assert isinstance(node.outcomes["late"].error, ShutdownError)


# -- learners --------------------------------------------------------------------------------------------------------


def test_a_new_voter_is_caught_up_before_it_is_in_the_configuration():
    node = leader(terms=[1] * 5)
    change(node, ADD_VOTER, "D")
    assert latest(node) == members("ABC")
    send = node.appends("D")[0][0]
    node.answer(send, AppendEntriesResponse(2, 0, False, no_retry_backoff=True))
    node.answer_all("D")
    assert latest(node) == members("ABCD")
    node.settle()
    assert node.outcomes["change"] == Complete("change", 8)


def test_a_nonvoter_that_is_up_to_date_becomes_a_voter_at_once():
    node = leader("ABC", nonvoters="D")
    change(node, ADD_VOTER, "D")
    assert latest(node) == members("ABCD")


def test_a_learner_does_not_count():
    node = leader("AB")
    change(node, ADD_VOTER, "C")
    node.propose("x")
    node.durable()
    assert node.core.commit_index == 2
    node.answer_all("B")
    assert node.core.commit_index == 3


def test_a_learner_that_needs_longer_than_an_election_timeout_has_another_round():
    node = leader()
    change(node, ADD_VOTER, "D")
    pass_the_round(node)
    assert latest(node) == members("ABC"), "there is more by now"
    node.answer_all("D")
    assert latest(node) == members("ABCD"), "the second round was short"


def pass_the_round(node: Node) -> None:
    """Has D answer after more than an election timeout, while more is proposed."""
    pending = [send for send, _ in node.appends("D")]
    for _ in range(11):
        for send in node.heartbeats("D"):
            node.answer(send)
        node.durable()
        node.answer_all("B", "C")
        node.tick(after=0.1)
    node.propose(f"at {node.now}")
    for send in pending:
        node.answer(send)


def test_a_learner_that_is_never_fast_enough_is_given_up_after_ten_rounds():
    node = leader()
    change(node, ADD_VOTER, "D")
    rounds = 0
    while "change" not in node.outcomes:
        pass_the_round(node)
        rounds += 1
    assert rounds == 10
    assert "D at d:1: not caught up after 10 rounds; the configuration is unchanged" in node.error("change")
    assert latest(node) == members("ABC")
    assert "D" not in node.core.role.replication.peers


def test_a_learner_with_all_of_our_log_needs_no_further_round():
    node = leader()
    change(node, ADD_VOTER, "D")
    (send, _), *_ = node.appends("D")
    for _ in range(11):
        for heartbeat in node.heartbeats("D"):
            node.answer(heartbeat)
        node.answer_all("B", "C")
        node.tick(after=0.1)
    node.answer(send)
    assert latest(node) == members("ABCD")


def test_a_learner_that_cannot_be_reached_is_given_up_after_two_election_timeouts():
    node = leader()
    change(node, ADD_VOTER, "D")
    node.fail(node.appends("D")[0][0], "connection refused")
    pass_time(node, 1.9, "B", "C")
    assert "change" not in node.outcomes
    pass_time(node, 0.2, "B", "C")
    assert isinstance(node.outcomes["change"].error, CatchUpError)
    assert node.error("change").startswith("cannot add voter D at d:1: cannot be reached: ")
    assert latest(node) == members("ABC")
    assert "D" not in {send.to.id for send in node.unanswered.values()}


def test_a_learner_that_answers_and_gets_no_further_is_given_up_after_ten_election_timeouts():
    node = leader()
    change(node, ADD_VOTER, "D")
    began = node.now
    while "change" not in node.outcomes:
        for send in node.heartbeats("D"):
            node.answer(send)
        for send, _ in node.appends("D"):
            node.fail(send, "disk full")
        node.answer_all("B", "C")
        node.tick_at_deadline()
    assert "stopped catching up at index 0: disk full" in node.error("change")
    assert 10 <= node.now - began < 10.3


def test_a_nonvoter_that_cannot_be_promoted_stays_a_nonvoter():
    node = leader("ABC", nonvoters="D")
    node.propose("x")
    node.durable()
    node.answer_all("B", "C")
    change(node, ADD_VOTER, "D")
    pass_time(node, 2.5, "B", "C")
    assert isinstance(node.outcomes["change"].error, CatchUpError)
    assert latest(node) == members("ABC", "D")
    assert "D" in node.core.role.replication.peers


def test_the_next_change_begins_when_a_learner_is_given_up():
    node = leader()
    change(node, ADD_VOTER, "D", "first")
    change(node, REMOVE, "C", "second")
    pass_time(node, 2.5, "B", "C")
    assert isinstance(node.outcomes["first"].error, CatchUpError)
    assert latest(node) == members("AB")


def test_a_learner_that_is_sent_a_snapshot_is_given_the_time_it_needs():
    node = leader(settings=Settings(trailing_logs=0))
    node.propose("x")
    node.settle()
    node.step(SnapshotTaken(node.core.snapshot_point(3)))
    change(node, ADD_VOTER, "D")
    (send, _), *_ = node.appends("D")
    node.answer(send, AppendEntriesResponse(2, 0, False, no_retry_backoff=True))
    (snapshot,) = [send for send in node.unanswered.values() if isinstance(send, SendSnapshot)]
    for _ in range(150):
        node.answer_all("B", "C")
        node.tick(after=0.1)
    assert "change" not in node.outcomes
    node.answer(snapshot)
    node.answer_all("D")
    node.settle()
    assert latest(node) == members("ABCD")


def test_a_learner_is_forgotten_when_leadership_is_lost():
    node = leader()
    change(node, ADD_VOTER, "D")
    node.receive(AppendEntriesRequest(9, peer("B")))
    assert isinstance(node.outcomes["change"].error, LeadershipLostError)
    assert CloseStream(server("D", Suffrage.NONVOTER)) in node.effects


# -- removal ---------------------------------------------------------------------------------------------------------


def test_a_removed_server_is_told_and_then_left_alone():
    node = leader()
    change(node, REMOVE, "C")
    node.durable()
    node.answer_all("B")
    (send, request), *_ = node.appends("C")
    assert request.entries[-1].type is EntryType.CONFIGURATION
    node.answer(send)
    assert "C" in node.core.role.replication.peers, "it does not know yet that it is removed for good"
    node.tick(after=node.core.settings.commit_timeout)
    (send, request), *_ = node.appends("C")
    assert request.leader_commit == 3
    node.answer(send)
    assert node.of(CloseStream) == [CloseStream(server("C"))]
    assert "C" not in node.core.role.replication.peers


def test_a_removed_server_that_does_not_answer_is_left_alone_once_the_removal_is_committed():
    node = leader()
    change(node, REMOVE, "C")
    node.fail(node.appends("C")[0][0])
    assert "C" in node.core.role.replication.peers
    node.durable()
    node.answer_all("B")
    assert "C" not in node.core.role.replication.peers


def test_a_server_that_is_removed_and_added_again_is_caught_up():
    node = leader()
    change(node, REMOVE, "C", "remove")
    change(node, ADD_VOTER, "C", "add")
    node.propose("x")
    node.durable()
    node.answer_all("B")
    assert node.outcomes["remove"] == Complete("remove", 3)
    node.answer(node.appends("C")[0][0])
    node.settle()
    assert latest(node) == members("ABC")
    assert isinstance(node.outcomes["add"], Complete)


def test_a_leader_that_is_removed_leads_until_that_is_committed_and_does_not_count_itself():
    node = leader()
    change(node, REMOVE, "A")
    node.propose("x")
    node.durable()
    node.answer_all("B")
    assert node.core.state is State.LEADER
    assert node.outcomes == {}


def test_a_removed_leader_hands_over_to_the_most_up_to_date_voter_and_shuts_down():
    node = leader()
    change(node, REMOVE, "A")
    node.durable()
    node.answer_all("B")
    node.answer(node.appends("C")[0][0])
    assert node.outcomes == {"change": Complete("change", 3)}
    (handover,) = [send for send in node.of(Send) if isinstance(send.request, TimeoutNowRequest)]
    assert handover.to in members("BC")
    assert node.effects[-1] == Stopped()
    assert node.stopped


def test_what_waits_behind_the_removal_of_the_leader_fails():
    node = leader()
    change(node, REMOVE, "A", "mine")
    change(node, REMOVE, "B", "next")
    node.propose("x")
    for other in "BC":
        node.answer(node.appends(other)[0][0])
    assert isinstance(node.outcomes["next"].error, LeadershipLostError)
    assert isinstance(node.outcomes["x"].error, LeadershipLostError)


def test_a_removed_leader_that_is_not_set_to_shut_down_follows_and_never_stands():
    node = leader(settings=Settings(shutdown_on_remove=False))
    change(node, REMOVE, "A")
    for other in "BC":
        node.answer(node.appends(other)[0][0])
    assert node.core.state is State.FOLLOWER
    node.durable()
    node.tick_at_deadline()
    assert node.core.state is State.FOLLOWER


def test_a_demoted_leader_follows():
    node = leader()
    change(node, DEMOTE, "A")
    node.durable()
    for other in "BC":
        node.answer(node.appends(other)[0][0])
    assert (node.core.state, node.outcomes["change"]) == (State.FOLLOWER, Complete("change", 3))


def test_a_removed_leader_without_a_live_heir_just_leaves():
    node = leader()
    change(node, REMOVE, "A")
    late = [node.appends(other)[0][0] for other in "BC"]
    node.now += 0.6  # no tick came in time to step down
    for send in late:
        node.answer(send)
    assert node.stopped


def test_a_removed_server_disturbs_nobody():
    node = leader("AB")
    request = RequestVoteRequest(9, peer("C"), 9, 9)
    assert not node.ask(request).granted
    assert (node.core.state, node.core.term) == (State.LEADER, 2)
