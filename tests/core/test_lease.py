"""R13, R18: when a leader can't know that it still leads, or its storage fails."""

import pytest
from driver import candidate, commands, follower, leader, new_leader, peer

from pyraft_lite.core import Settings, State
from pyraft_lite.core.effects import Fail, Note, Respond, RoleChanged, Stopped
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import LeadershipLostError, ShutdownError
from pyraft_lite.core.events import (
    Fatal,
    LeaderGone,
    Propose,
    ReadIndex,
    RestoreState,
    RpcResponse,
    Shutdown,
    SnapshotTaken,
    TransferLeadership,
)
from pyraft_lite.core.messages import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    RequestVoteRequest,
    TimeoutNowRequest,
)


def live(node, seconds: float, *alive: str) -> None:
    """Lets time pass while these servers answer all."""
    end = node.now + seconds
    while node.core.state is State.LEADER and (deadline := node.core.deadline()) is not None and deadline <= end:
        node.tick_at_deadline()
        node.answer_all(*alive)


def test_a_leader_that_hears_from_no_quorum_steps_down_when_the_lease_ends():
    node = leader()
    node.propose("x")
    node.step(ReadIndex("read"))
    node.durable()
    began = node.now
    while node.core.state is State.LEADER:
        node.tick_at_deadline()
    assert node.now == began + 0.5
    assert node.core.leader is None
    for token in ("x", "read"):
        assert isinstance(node.outcomes[token].error, LeadershipLostError)


def test_one_answering_voter_of_three_is_enough():
    node = leader()
    live(node, 5, "B")
    assert node.core.state is State.LEADER


def test_one_answering_voter_of_five_is_not_enough():
    node = leader("ABCDE")
    live(node, 5, "B")
    assert node.core.state is State.FOLLOWER


def test_nonvoters_do_not_keep_a_leader_in_office():
    node = leader("AB", nonvoters="CD")
    live(node, 5, "C", "D")
    assert node.core.state is State.FOLLOWER


def test_an_only_voter_needs_nobody():
    node = leader("A", nonvoters="B")
    live(node, 5)
    assert node.core.state is State.LEADER


def test_an_answer_counts_from_when_its_request_was_sent():
    node = leader()
    node.tick(after=0.2)
    (send,) = node.heartbeats("B")
    sent_at = node.now
    node.now += 0.25
    node.answer(send)
    while node.core.state is State.LEADER:
        node.tick_at_deadline()
    assert node.now == sent_at + 0.5


def test_even_a_rejection_shows_that_the_lease_holds():
    node = new_leader()
    node.durable()
    for _ in range(20):
        node.tick(after=0.1)
        for send, _ in node.sent(AppendEntriesRequest, "B"):
            node.answer(send, AppendEntriesResponse(2, 0, False, no_retry_backoff=True))
            break
    assert node.core.state is State.LEADER


def test_a_leader_whose_storage_stalls_for_an_election_timeout_steps_down():
    node = leader()
    began = node.now
    node.propose("x")
    while node.core.state is State.LEADER:
        node.answer_all()
        node.tick_at_deadline()
    assert node.now == began + 1
    assert node.of(Note)[0].message == "storage has not finished a write for an election timeout, stepping down"


def test_the_oldest_write_that_is_not_finished_counts():
    node = leader()
    node.propose("x")
    live(node, 0.6, "B", "C")
    began = node.now
    node.propose("y")
    node.durable(1)
    while node.core.state is State.LEADER:
        node.answer_all()
        node.tick_at_deadline()
    assert node.now == began + 1


def test_a_follower_waits_for_slow_storage():
    node = follower()
    node.receive(AppendEntriesRequest(1, peer("B"), 1, 1, commands(2, 1)))
    node.tick(after=1.2)
    assert node.core.state is State.FOLLOWER


@pytest.mark.parametrize("make", [follower, candidate, leader])
def test_storage_that_fails_stops_the_node(make):
    node = make()
    node.step(Fatal("disk on fire"))
    assert node.effects[-1] == Stopped("disk on fire")
    assert node.of(RoleChanged) == [RoleChanged(State.SHUTDOWN, node.core.term, "", "")]
    assert node.core.deadline() is None


def test_a_log_that_cannot_be_read_stops_the_node():
    node = leader(terms=[1] * 5)
    del node.store.log[3]
    node.propose("x")
    node.durable()
    send = node.appends("B")[0][0]
    node.answer(send, AppendEntriesResponse(2, 2, False, no_retry_backoff=True))
    assert node.of(Stopped) == [Stopped("no entry 3")]
    assert isinstance(node.outcomes["x"].error, LeadershipLostError)


@pytest.mark.parametrize("request_", [RequestVoteRequest(7, peer("B"), 9, 9), TimeoutNowRequest(peer("B"), 1)])
def test_who_asks_when_the_log_turns_out_to_be_unreadable_is_answered_once(request_):
    node = follower(terms=[1] * 5)
    del node.store.log[6]
    rpc = node.receive(request_)
    assert node.effects[-1] == node.of(Stopped)[0]
    assert isinstance(node.answers[rpc].error, ShutdownError)
    assert node.waiting_rpcs == set()


def test_a_follower_that_lost_an_entry_stops_and_never_takes_it_for_compacted():
    node = follower(terms=[1] * 5)
    del node.store.log[3]
    rpc = node.receive(AppendEntriesRequest(7, peer("B"), 3, 6))
    assert node.of(Stopped) == [Stopped("entry 3 is missing in the log, which holds 1..6")]
    assert isinstance(node.answers[rpc].error, ShutdownError)


def test_a_leader_that_lost_an_entry_stops_and_sends_no_snapshot_in_its_place():
    node = new_leader(terms=[1] * 5)
    del node.store.log[3]
    node.answer(node.appends("B")[0][0], AppendEntriesResponse(2, 3, False, no_retry_backoff=True))
    assert node.of(Stopped) == [Stopped("entry 3 is missing in the log, which holds 1..7")]


def test_a_configuration_in_the_log_that_cannot_be_read_stops_nothing_but_is_refused():
    node = follower()
    bad = Entry(2, 1, EntryType.CONFIGURATION, b"")
    assert "no readable configuration" in node.refusal(AppendEntriesRequest(1, peer("B"), 1, 1, (bad,)))
    assert not node.stopped


def test_a_stopped_node_refuses_requests_and_fails_operations():
    node = leader()
    node.step(Shutdown())
    assert node.effects[-1] == Stopped()
    assert node.refusal(RequestVoteRequest(9, peer("B"), 9, 9)) == "raft is already shutdown"
    node.propose("x")
    for event in (ReadIndex("read"), TransferLeadership("transfer"), RestoreState("restore")):
        node.step(event)
    assert {type(node.outcomes[token].error) for token in ("x", "read", "transfer", "restore")} == {ShutdownError}


def test_a_stopped_node_takes_no_notice_of_anything_else():
    node = leader(settings=Settings(trailing_logs=0))
    node.propose("x")
    snapshot = node.core.snapshot_point(2)
    (send, _), *_ = node.appends("B")
    node.step(Shutdown())
    node.durable()
    for event in (
        RpcResponse(send.rpc_id, AppendEntriesResponse(99, 3, True)),
        LeaderGone("b:1"),
        Shutdown(),
        Fatal("again"),
        SnapshotTaken(snapshot),
        Propose(()),
    ):
        assert node.step(event) == []
    assert node.tick() == []
    assert node.core.term == 2


def test_nothing_is_promised_by_a_node_that_stopped_before_the_write_was_durable():
    node = follower()
    rpc = node.receive(RequestVoteRequest(5, peer("B"), 9, 9))
    node.step(Shutdown())
    node.durable()
    assert not isinstance(node.answers[rpc], Respond)
    assert node.of(Fail) == []
