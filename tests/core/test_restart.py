"""How a node starts from what is durable."""

import pytest
from driver import Dice, DictStore, Node, commands, configuration_entry, follower, log_of, members, peer, snapshot_of

from pyraft_lite.core import Core, HardState, Settings, State
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.core.messages import AppendEntriesRequest
from pyraft_lite.storage import configuration_codec


def test_a_brand_new_node_is_a_follower_of_nobody_in_term_0():
    node = Node(term=0)
    assert (node.core.state, node.core.term, node.core.leader, node.core.commit_index) == (State.FOLLOWER, 0, None, 0)
    assert not node.core.configurations.latest
    assert node.unwritten == []


def test_term_and_vote_are_as_before():
    node = follower(term=7, voted_for="b:1")
    assert (node.core.term, node.core.voted_for) == (7, "b:1")


def test_a_node_that_has_only_a_snapshot_does_not_go_back_to_earlier_terms_than_the_snapshots():
    node = Node(term=0, snapshot=snapshot_of(5, 3, members("A")))
    assert node.core.term == 3


def test_a_vote_of_an_earlier_term_than_the_logs_is_forgotten():
    node = follower(terms=(2,), term=1, voted_for="b:1")
    assert (node.core.term, node.core.voted_for) == (2, "")


def test_the_latest_configuration_in_the_log_is_in_force_committed_or_not():
    log = (*log_of(members("ABC"), 1), configuration_entry(3, 1, members("ABCD")), *commands(4, 1))
    node = Node(log=log)
    assert (node.core.configurations.latest, node.core.configurations.latest_index) == (members("ABCD"), 3)
    assert node.core.commit_index == 0


def test_an_uncommitted_configuration_from_before_the_restart_can_be_rolled_back():
    log = (*log_of(members("ABC"), 1), configuration_entry(3, 1, members("ABCD")))
    node = Node(log=log)
    node.ask(AppendEntriesRequest(2, peer("B"), 2, 1, commands(3, 2)))
    assert node.core.configurations.latest == members("ABC")


def test_the_snapshots_configuration_is_in_force_if_the_log_has_no_later_one():
    node = Node(snapshot=snapshot_of(5, 1, members("ABC"), 3), log=commands(6, 1))
    assert (node.core.configurations.latest, node.core.configurations.latest_index) == (members("ABC"), 3)
    assert node.core.commit_index == 5
    assert node.terms() == [1]


def test_a_log_that_overlaps_the_snapshot_is_kept():
    log = (*log_of(members("ABC"), 1, 1, 1), configuration_entry(5, 1, members("ABCD")))
    node = Node(log=log, snapshot=snapshot_of(3, 1, members("ABC")))
    assert node.terms() == [1] * 5
    assert node.core.configurations.latest == members("ABCD")


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(log_of(members("AB"), 1, 1), id="the log ends before the snapshot"),
        pytest.param(log_of(members("AB"), 1, 1, 1, 1, 1), id="another term at the snapshot's index"),
    ],
)
def test_a_log_that_a_crash_kept_from_being_dropped_is_dropped(log):
    node = Node(log=log, term=2, snapshot=snapshot_of(5, 2, members("ABC"), 4))
    assert (node.core.log.first_index, node.core.log.last_index, node.core.log.last_term) == (6, 5, 2)
    assert node.core.configurations.latest == members("ABC")
    node.tick()
    node.durable()
    assert node.store.log == {}


def test_entries_that_follow_a_dropped_log_are_written_with_the_drop():
    node = Node(log=log_of(members("AB"), 1, 1), term=2, snapshot=snapshot_of(5, 2, members("ABC"), 4))
    node.ask(AppendEntriesRequest(2, peer("B"), 5, 2, commands(6, 2)))
    assert sorted(node.store.log) == [6]


def test_entries_missing_between_snapshot_and_log_are_an_error():
    with pytest.raises(StorageError, match=r"the log begins at 7 and the latest snapshot ends at 5"):
        Node(log=commands(7, 1), snapshot=snapshot_of(5, 1, members("ABC")))


def test_a_log_that_does_not_begin_at_1_without_a_snapshot_is_an_error():
    with pytest.raises(StorageError, match=r"the log begins at 2 and the latest snapshot ends at 0"):
        Node(log=commands(2, 1))


def test_a_configuration_that_cannot_be_read_is_an_error():
    with pytest.raises(StorageError, match="entry 1 holds no readable configuration: "):
        Node(log=[Entry(1, 1, EntryType.CONFIGURATION, b"\xc1")])


def test_a_configuration_that_is_missing_is_an_error(monkeypatch):
    store = DictStore(log_of(members("ABC"), 1, 1, 1))
    monkeypatch.setattr(store, "configurations", lambda: [1, 3])
    del store.log[3]
    with pytest.raises(StorageError, match="no entry 3"):
        Core(peer("A"), Settings(), store, configuration_codec, Dice(), hard_state=HardState(1))


def test_another_entry_in_the_place_of_a_configuration_is_an_error(monkeypatch):
    store = DictStore(log_of(members("ABC"), 1, 1, 1))
    monkeypatch.setattr(store, "configurations", lambda: [1, 3])
    with pytest.raises(StorageError, match="entry 3 should be a configuration and is a COMMAND"):
        Core(peer("A"), Settings(), store, configuration_codec, Dice(), hard_state=HardState(1))


def test_of_a_long_log_only_the_configurations_and_the_last_term_are_read(monkeypatch):
    log = (*log_of(members("A")), *commands(2, *[1] * 1000), configuration_entry(1002, 1, members("AB")))
    store = DictStore((*log, *commands(1003, *[1] * 1000)))
    read = []
    entries, term = store.entries, store.term
    monkeypatch.setattr(store, "entries", lambda low, high, size: read.append((low, high)) or entries(low, high, size))
    monkeypatch.setattr(store, "term", lambda index: read.append((index, index)) or term(index))
    core = Core(peer("A"), Settings(), store, configuration_codec, Dice(), hard_state=HardState(1))
    assert core.configurations.latest == members("AB")
    assert set(read) == {(1, 1), (1002, 1002), (2002, 2002)}


def test_the_log_is_committed_again_by_the_leaders_word():
    node = follower(terms=[1, 1])
    node.ask(AppendEntriesRequest(1, peer("B"), 3, 1, leader_commit=2))
    assert node.core.commit_index == 2


def test_no_snapshot_point_beyond_the_log():
    with pytest.raises(StorageError, match="no entry 9 in the log to take a snapshot at"):
        follower().core.snapshot_point(9)
