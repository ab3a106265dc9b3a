"""A user's snapshot takes the place of the cluster's state."""

import dataclasses

import pytest
from driver import Node, elect, follower, leader, members, new_leader, peer, server

from pyraft_lite.core.configuration import Change, ChangeCommand
from pyraft_lite.core.effects import Apply, DiscardSnapshot, Fail, RestoreSnapshot, SendSnapshot, StoreRestore
from pyraft_lite.core.entry import EntryType
from pyraft_lite.core.errors import (
    AbortedByRestoreError,
    LeadershipLostError,
    NotLeaderError,
    TransferInProgressError,
)
from pyraft_lite.core.events import (
    ChangeMembership,
    RestoreFailed,
    RestoreState,
    RestoreStored,
    SnapshotTaken,
    TransferLeadership,
)
from pyraft_lite.core.messages import AppendEntriesRequest, AppendEntriesResponse
from pyraft_lite.core.snapshot import SnapshotMeta


def restoring() -> tuple[Node, SnapshotMeta]:
    """A leader with an uncommitted entry 3, asked to restore; and the snapshot that will be stored."""
    node = leader()
    node.propose("x")
    node.step(RestoreState("restore"))
    (store,) = node.of(StoreRestore)
    return node, SnapshotMeta("users", store.index, store.term, store.configuration, store.configuration_index, 7)


def test_the_users_snapshot_gets_the_place_after_all_that_is_in_the_log():
    node, _ = restoring()
    assert node.of(StoreRestore) == [StoreRestore("restore", 4, 2, members("ABC"), 1)]


def test_what_is_under_way_is_aborted_and_nothing_new_is_taken_in():
    node, _ = restoring()
    node.propose("y")
    node.step(ChangeMembership("z", Change(ChangeCommand.REMOVE_SERVER, "C")))
    node.step(RestoreState("again"))
    assert {token: type(end.error) for token, end in node.outcomes.items()} == dict.fromkeys(
        ["x", "y", "z", "again"], AbortedByRestoreError
    )


def test_a_stored_snapshot_replaces_the_state_and_the_log_and_a_barrier_follows():
    node, meta = restoring()
    node.durable()
    node.step(RestoreStored("restore", meta))
    assert node.of(RestoreSnapshot) == [RestoreSnapshot(meta)]
    assert (node.core.commit_index, node.core.log.first_index, node.core.log.last_index) == (4, 5, 5)
    (write,) = node.unwritten
    assert [(entry.index, entry.type) for entry in write.entries] == [(5, EntryType.BARRIER)]
    node.durable()
    assert sorted(node.store.log) == [5]


def test_the_others_are_sent_the_snapshot_and_then_the_restore_is_done():
    node, meta = restoring()
    node.step(RestoreStored("restore", meta))
    node.durable()
    for to in "BC":
        send, request = node.appends(to)[-1]
        assert (request.prev_index, request.prev_term) == (4, 2)
        node.answer(send, AppendEntriesResponse(2, 3, False, no_retry_backoff=True))
    sent = [send for send in node.unanswered.values() if isinstance(send, SendSnapshot)]
    assert {(send.to.id, send.snapshot_id) for send in sent} == {("B", "users"), ("C", "users")}
    assert "restore" not in node.outcomes
    node.answer(sent[0])
    node.answer_all(sent[0].to.id)
    assert node.outcomes["restore"] == 5
    node.propose("y")
    node.settle()
    assert node.outcomes["y"] == 6


def test_a_snapshot_that_cannot_be_stored_leaves_everything_as_it_was():
    node, _ = restoring()
    node.step(RestoreFailed("restore", "disk full"))
    assert node.error("restore") == "disk full"
    node.propose("y")
    node.settle()
    assert node.outcomes["y"] == 4


def test_no_restore_while_a_configuration_is_not_committed():
    node = leader()
    node.step(ChangeMembership("change", Change(ChangeCommand.ADD_NONVOTER, "D", "d:1")))
    node.step(RestoreState("restore"))
    assert node.error("restore") == "cannot restore a snapshot while a configuration change is under way"


def test_no_restore_while_a_new_voter_is_caught_up():
    node = leader()
    node.step(ChangeMembership("change", Change(ChangeCommand.ADD_VOTER, "D", "d:1")))
    node.step(RestoreState("restore"))
    assert node.error("restore") == "cannot restore a snapshot while a configuration change is under way"


def test_no_restore_while_a_configuration_change_waits_for_the_terms_first_commit():
    node = new_leader()
    node.step(ChangeMembership("change", Change(ChangeCommand.ADD_NONVOTER, "D", "d:1")))
    node.step(RestoreState("restore"))
    assert node.error("restore") == "cannot restore a snapshot while a configuration change is under way"


def test_no_restore_during_a_transfer():
    node = leader()
    node.step(TransferLeadership("transfer", "B"))
    node.step(RestoreState("restore"))
    assert isinstance(node.outcomes["restore"].error, TransferInProgressError)


def test_who_does_not_lead_restores_nothing():
    node = follower()
    node.step(RestoreState("restore"))
    assert isinstance(node.outcomes["restore"].error, NotLeaderError)


@pytest.mark.parametrize("late", ["stored", "failed"])
@pytest.mark.parametrize("back_in_office", [False, True])
def test_a_restore_whose_leadership_is_lost_fails_once_whenever_storing_ends(late, back_in_office):
    node, meta = restoring()
    node.durable()
    node.receive(AppendEntriesRequest(5, peer("B")))
    assert isinstance(node.outcomes["restore"].error, LeadershipLostError)
    if back_in_office:
        elect(node)
    node.step(RestoreStored("restore", meta) if late == "stored" else RestoreFailed("restore", "disk full"))
    assert node.of(Fail) == node.of(RestoreSnapshot) == []
    assert node.core.snapshot is None
    assert node.of(DiscardSnapshot) == ([DiscardSnapshot(meta.id)] if late == "stored" else [])


def test_a_follower_takes_no_notice_of_an_older_snapshot():
    node, meta = restoring()
    node.step(RestoreStored("restore", meta))
    node.step(SnapshotTaken(dataclasses.replace(meta, id="late", index=2)))
    assert node.core.snapshot == meta


def test_entries_before_the_restore_are_applied_no_more():
    node, meta = restoring()
    node.step(RestoreStored("restore", meta))
    node.durable()
    node.answer_all("B")
    assert node.of(Apply) == [Apply(5, ((5, "restore"),))]
    assert server("B").id in node.core.role.replication.peers
