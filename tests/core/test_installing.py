"""R15: how a node takes in a snapshot."""

import dataclasses

import pytest
from driver import Node, candidate, commands, elect, follower, leader, members, peer, server, snapshot_of

from pyraft_lite.core import Settings, State
from pyraft_lite.core.configuration import Change, ChangeCommand, Configuration
from pyraft_lite.core.effects import Apply, CompactLog, ReceiveSnapshot, RestoreSnapshot
from pyraft_lite.core.events import ChangeMembership, Shutdown, SnapshotReceived, SnapshotReceiveFailed, SnapshotTaken
from pyraft_lite.core.messages import (
    AppendEntriesRequest,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
)

NEW_MEMBERS = members("ABCD")
META = snapshot_of(5, 3, NEW_MEMBERS, 4)


def install(term: int = 4, meta=META, who: str = "B") -> InstallSnapshotRequest:
    return InstallSnapshotRequest(
        term, peer(who), meta.index, meta.term, meta.configuration, meta.configuration_index, meta.size
    )


def installed(node: Node, meta=META, request=None) -> InstallSnapshotResponse:
    """Lets a snapshot come in whole."""
    rpc = node.receive(request or install(meta=meta))
    assert node.of(ReceiveSnapshot) != []
    assert rpc not in node.answers
    node.step(SnapshotReceived(rpc, meta))
    node.durable()
    return node.answers[rpc].response


def test_a_snapshot_takes_the_place_of_a_shorter_log():
    node = follower(terms=[2])
    assert installed(node) == InstallSnapshotResponse(4, True)
    assert (node.core.log.first_index, node.core.log.last_index, node.core.log.last_term) == (6, 5, 3)
    assert (node.core.commit_index, node.core.snapshot) == (5, META)
    assert (node.core.configurations.latest, node.core.configurations.latest_index) == (NEW_MEMBERS, 4)
    assert node.store.log == {}


def test_the_state_machine_is_restored_from_it():
    node = follower()
    rpc = node.receive(install())
    node.step(SnapshotReceived(rpc, META))
    assert node.of(RestoreSnapshot) == [RestoreSnapshot(META)]


def test_it_is_answered_when_the_log_is_dropped_durably():
    node = follower(term=4)
    rpc = node.receive(install())
    node.step(SnapshotReceived(rpc, META))
    assert rpc not in node.answers
    node.durable()
    assert rpc in node.answers


def test_a_log_with_another_term_there_is_dropped_though_it_is_longer():
    node = follower(terms=[2] * 9)
    installed(node)
    assert (node.core.log.first_index, node.core.log.last_index) == (6, 5)
    assert node.store.log == {}


def test_a_log_with_the_same_entry_there_keeps_what_follows():
    node = follower(terms=[3] * 9, settings=Settings(trailing_logs=0))
    installed(node)
    assert (node.core.log.first_index, node.core.log.last_index) == (6, 10)
    assert sorted(node.store.log) == [6, 7, 8, 9, 10]
    assert node.core.log.term(5) == 3


def test_entries_follow_an_installed_snapshot():
    node = follower()
    installed(node)
    assert node.ask(AppendEntriesRequest(4, peer("B"), 5, 3, commands(6, 4), 6)).success
    assert node.core.commit_index == 6
    assert sorted(node.store.log) == [6]


def test_entries_may_follow_before_the_drop_is_durable():
    node = follower(terms=[2] * 9)
    rpc = node.receive(install())
    node.step(SnapshotReceived(rpc, META))
    node.receive(AppendEntriesRequest(4, peer("B"), 5, 3, commands(6, 4, 4), 6))
    assert [entry.index for entry in node.core.log.entries(6, 7, 10**6)] == [6, 7]
    node.durable()
    assert sorted(node.store.log) == [6, 7]
    assert node.core.log.durable_index == 7


def test_a_snapshot_of_what_is_committed_already_is_not_received():
    node = follower(terms=[3] * 9)
    node.ask(AppendEntriesRequest(4, peer("B"), 10, 3, leader_commit=5))
    assert node.ask(install()) == InstallSnapshotResponse(4, True)
    assert node.of(ReceiveSnapshot) == []


def test_a_snapshot_of_what_is_committed_already_is_answered_when_that_is_durable():
    node = follower(term=4)
    node.receive(AppendEntriesRequest(4, peer("B"), 1, 1, commands(2, 4, 4, 4, 4), leader_commit=5))
    rpc = node.receive(install(meta=snapshot_of(5, 4, NEW_MEMBERS, 4)))
    assert rpc not in node.answers
    node.durable()
    assert node.answers[rpc].response == InstallSnapshotResponse(4, True)


def test_a_snapshot_that_was_overtaken_while_it_came_in_changes_nothing():
    node = follower(terms=[3] * 9)
    rpc = node.receive(install())
    node.ask(AppendEntriesRequest(4, peer("B"), 10, 3, leader_commit=10))
    node.step(SnapshotReceived(rpc, META))
    assert node.of(RestoreSnapshot) == []
    assert node.core.snapshot is None
    assert node.answers[rpc].response == InstallSnapshotResponse(4, True)


def test_of_two_that_come_in_at_once_the_second_changes_nothing():
    node = follower()
    first, second = node.receive(install()), node.receive(install())
    node.step(SnapshotReceived(first, META))
    node.step(SnapshotReceived(second, META))
    assert node.of(RestoreSnapshot) == []
    node.durable()
    assert node.answers[first].response == node.answers[second].response == InstallSnapshotResponse(4, True)


def test_an_interrupted_transfer_leaves_nothing_half_done():
    node = follower(terms=[2])
    rpc = node.receive(install())
    node.step(SnapshotReceiveFailed(rpc, "checksum mismatch"))
    assert str(node.answers[rpc].error) == "checksum mismatch"
    assert (node.terms(), node.core.snapshot, node.core.commit_index) == ([1, 2], None, 0)


def test_a_snapshot_of_an_old_leader_is_refused():
    node = follower(term=9)
    assert node.ask(install(term=8)) == InstallSnapshotResponse(9, False)
    assert node.core.leader is None


def test_its_sender_is_the_leader():
    node = follower()
    node.tick(after=1)
    node.receive(install())
    assert (node.core.leader, node.core.term) == (peer("B"), 4)
    assert node.core.deadline() == node.now + 1.5


def test_a_received_snapshot_puts_off_the_own_election():
    node = follower()
    rpc = node.receive(install())
    node.now += 1
    node.step(SnapshotReceived(rpc, META))
    assert node.core.deadline() == node.now + 1.5


def test_who_stood_for_election_meanwhile_follows_with_the_new_log():
    node = follower()
    rpc = node.receive(install())
    node.tick_at_deadline()
    assert node.core.state is State.CANDIDATE
    node.step(SnapshotReceived(rpc, META))
    assert node.core.state is State.FOLLOWER
    node.durable()
    assert node.answers[rpc].response == InstallSnapshotResponse(4, True)


def test_who_was_elected_meanwhile_has_all_of_it():
    node = follower(terms=[3] * 9)
    rpc = node.receive(install())
    elect(node)
    node.step(SnapshotReceived(rpc, META))
    node.durable()
    assert node.answers[rpc].response == InstallSnapshotResponse(5, False)
    assert node.core.state is State.LEADER


def test_who_was_stopped_meanwhile_takes_nothing_in():
    node = follower()
    rpc = node.receive(install())
    node.step(Shutdown())
    node.step(SnapshotReceived(rpc, META))
    assert str(node.answers[rpc].error) == "raft is already shutdown"


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (dataclasses.replace(META, term=5), "snapshot of 5-5 with the configuration of index 4 in a request of term 4"),
        (dataclasses.replace(META, term=0), "snapshot of 0-5"),
        (dataclasses.replace(META, configuration_index=6), "with the configuration of index 6"),
        (dataclasses.replace(META, configuration=Configuration()), "need at least one voter"),
        (dataclasses.replace(META, configuration=Configuration((server("A"), server("A")))), "found duplicate ID"),
    ],
)
def test_what_no_correct_leader_sends_is_refused_without_a_change(bad, error):
    node = follower()
    assert error in node.refusal(install(meta=bad))
    assert (node.core.term, node.core.leader) == (1, None)


def test_a_leader_refuses_a_snapshot_of_another_leader_of_its_term():
    node = leader()
    request = install(term=2, meta=snapshot_of(5, 2, members("ABC")))
    assert "claims to lead term 2, which we lead" in node.refusal(request)


def test_a_leader_takes_in_a_snapshot_of_a_newer_term_as_a_follower():
    node = leader()
    installed(node)
    assert node.core.state is State.FOLLOWER


def test_a_candidate_takes_a_snapshot_in():
    assert installed(candidate()) == InstallSnapshotResponse(4, True)


# -- own snapshots ---------------------------------------------------------------------------------------------------


def test_an_own_snapshot_lets_go_of_the_log_but_for_the_trailing_entries():
    node = follower(terms=[1] * 19, settings=Settings(trailing_logs=5))
    node.ask(AppendEntriesRequest(1, peer("B"), 20, 1, leader_commit=18))
    assert node.core.commit_index == 18
    node.step(SnapshotTaken(node.core.snapshot_point(18)))
    assert node.of(CompactLog) == [CompactLog(15)]
    assert node.core.log.first_index == 16
    assert (node.core.log.snapshot_index, node.core.log.snapshot_term) == (18, 1)


def test_of_a_log_shorter_than_the_trailing_entries_nothing_goes():
    node = leader()
    node.step(SnapshotTaken(node.core.snapshot_point(2)))
    assert node.of(CompactLog) == []


def test_a_dropped_log_takes_with_it_what_is_compacted_and_not_deleted_yet():
    node = follower(terms=[1] * 9, settings=Settings(trailing_logs=0))
    node.ask(AppendEntriesRequest(1, peer("B"), 10, 1, leader_commit=5))
    node.step(SnapshotTaken(node.core.snapshot_point(5)))
    node.store.log.update(dict.fromkeys(range(1, 6)))  # CompactLog is carried out when convenient
    installed(node, snapshot_of(20, 3, NEW_MEMBERS, 4))
    assert node.store.log == {}
    node.ask(AppendEntriesRequest(4, peer("B"), 20, 3, commands(21, 4)))
    assert list(node.store.log) == [21]


def test_a_snapshot_has_the_configuration_in_force_at_its_index():
    node = leader()
    node.step(ChangeMembership("change", Change(ChangeCommand.ADD_NONVOTER, "D", "d:1")))
    node.settle()
    for index, expected, at in ((2, members("ABC"), 1), (3, members("ABC", "D"), 3)):
        point = node.core.snapshot_point(index)
        assert (point.configuration, point.configuration_index, point.term) == (expected, at, 2)


def test_an_older_snapshot_is_not_the_latest():
    node = follower()
    installed(node)
    node.step(SnapshotTaken(snapshot_of(3, 2, members("ABC"))))
    assert node.core.snapshot == META
    assert node.of(Apply) == []
