"""What is done to stores while no node runs on them."""

from pathlib import Path

import pytest
from raft_cluster import Journal, Member, cluster

from pyraft_lite.core import HardState
from pyraft_lite.core.configuration import Configuration, Server, Suffrage
from pyraft_lite.core.entry import ZERO_TIME, EntryType
from pyraft_lite.core.errors import CantBootstrapError, ConfigurationError, RaftError, StorageError
from pyraft_lite.runtime import bootstrap_cluster, read_peers_json, recover_cluster
from pyraft_lite.runtime.hard_state import CURRENT_TERM, LAST_VOTE_TERM, hard_state_values, load_hard_state
from pyraft_lite.storage import FileSnapshotStore, LmdbStore
from raftexample.local_cluster import free_ports

NODE_A = Configuration((Server("nodeA", "localhost:50051"),))


def test_the_first_entry_is_the_one_the_original_writes(tmp_path: Path) -> None:
    store, snapshots = LmdbStore(tmp_path), FileSnapshotStore(tmp_path)
    bootstrap_cluster(store, store, snapshots, NODE_A)
    (entry,) = store.entries(1, 1, 1)
    assert (entry.index, entry.term, entry.type, entry.appended_at) == (1, 1, EntryType.CONFIGURATION, ZERO_TIME)
    assert entry.data.hex() == (
        "81a7536572766572739183a741646472657373af6c6f63616c686f73743a3530303531a24944a56e6f646541a8537566667261676500"
    )
    assert load_hard_state(store) == HardState(1)


def test_a_node_is_bootstrapped_once(tmp_path: Path) -> None:
    store, snapshots = LmdbStore(tmp_path), FileSnapshotStore(tmp_path)
    bootstrap_cluster(store, store, snapshots, NODE_A)
    with pytest.raises(CantBootstrapError, match=r"^bootstrap only works on new clusters$"):
        bootstrap_cluster(store, store, snapshots, NODE_A)
    assert store.last_index() == 1


def test_a_cluster_without_voters_is_refused_and_nothing_written(tmp_path: Path) -> None:
    store, snapshots = LmdbStore(tmp_path), FileSnapshotStore(tmp_path)
    with pytest.raises(ConfigurationError, match="at least one voter"):
        bootstrap_cluster(store, store, snapshots, Configuration((Server("x", "y:1", Suffrage.NONVOTER),)))
    assert store.last_index() == 0


async def test_one_node_of_a_lost_cluster_goes_on_alone_with_all_it_had(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        leader = await members.leader()
        await leader.raft.apply(b"one")
        await leader.raft.snapshot()
        await leader.raft.apply(b"two")
        for member in members.values():
            await member.stop()
        leader.open()
        alone = Configuration((Server(leader.id, leader.address),))
        recover_cluster(Journal(), leader.store, leader.store, leader.snapshots, alone)
        assert leader.store.last_index() == 0
        leader.store.close()
        await leader.start()
        await leader.until(lambda now: now.leader.id == leader.id)
        await leader.raft.apply(b"three")
        assert leader.journal.commands == [b"one", b"two", b"three"]
        assert leader.raft.configuration == alone


def test_there_is_nothing_to_recover_on_a_new_node(tmp_path: Path) -> None:
    store, snapshots = LmdbStore(tmp_path), FileSnapshotStore(tmp_path)
    with pytest.raises(RaftError, match="no initial state"):
        recover_cluster(Journal(), store, store, snapshots, NODE_A)


def test_peers_json_is_hashicorps(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    path.write_text('[{"id": "a", "address": "h:1"}, {"id": "b", "address": "h:2", "non_voter": true}]')
    expected = Configuration((Server("a", "h:1"), Server("b", "h:2", Suffrage.NONVOTER)))
    assert read_peers_json(path) == expected


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '["a"]', '[{"id": "a"}]', '[{"id": "", "address": "h:1"}]', '[{"id": 1, "address": "h:1"}]', "[1"],
)
def test_a_peers_json_that_makes_no_sense_is_named_with_what_it_should_hold(tmp_path: Path, text: str) -> None:
    path = tmp_path / "peers.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"peers\.json.*should be a list like"):
        read_peers_json(path)


def test_hard_state_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    assert load_hard_state(store) == HardState()
    for state in (HardState(3, "h:1"), HardState(4), HardState(4, "h:2"), HardState(9)):
        store.set(hard_state_values(state))
        assert load_hard_state(store) == state, "a vote counts for its own term only"


def test_a_damaged_hard_state_is_refused(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    store.set({CURRENT_TERM: b"123"})
    with pytest.raises(StorageError, match="CurrentTerm has 3 bytes, should have 8"):
        load_hard_state(store)
    store.set({CURRENT_TERM: bytes(8), LAST_VOTE_TERM: bytes(8), b"LastVoteCand": b"\xff"})
    with pytest.raises(StorageError, match="LastVoteCand"):
        load_hard_state(store)


async def test_a_node_refuses_a_log_that_begins_after_a_snapshot_that_is_not_there(tmp_path: Path) -> None:
    async with cluster(tmp_path / "c", 1) as members:
        node = members["node1"]
        for number in range(5):
            await node.raft.apply(b"%d" % number)
        await node.stop()
        node.open()
        node.store.compact(3, 10)
        node.store.close()
        broken = Member("node1", f"127.0.0.1:{free_ports(1)[0]}", node.directory)
        with pytest.raises(StorageError, match="the log begins at 4 and the latest snapshot ends at 0"):
            await broken.start()
        broken.store.close()
