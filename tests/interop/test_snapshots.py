"""Snapshots of one kind of node, taken in by the other: over the network, and as directories."""

import shutil
from pathlib import Path

import pytest
from mixed_cluster import SLOW_TO_STEP_DOWN, MixedCluster, is_go
from writer import Writer

from raftexample.local_cluster import LocalNode

SNAPSHOTS_BY_HAND = (
    *SLOW_TO_STEP_DOWN,
    "--snapshot_threshold",
    "1000000",
    "--trailing_logs",
    "5",
    "--max_append_entries",
    "1",
)
"""The one snapshot in a follower's directory is then one that was installed; the leader can't help sending it; and
entries of some MiB go one by one, which hashicorp/raft does not see to by itself."""

MIB = 1024 * 1024


@pytest.mark.parametrize("names", [("go1", "go2", "py1"), ("py1", "py2", "go1")], ids="-".join)
def test_a_follower_far_behind_takes_in_a_snapshot(tmp_path: Path, names: tuple[str, ...]) -> None:
    leader, _, behind = names
    with MixedCluster(tmp_path, names, SNAPSHOTS_BY_HAND) as cluster:
        cluster.form()
        with Writer(cluster) as writer:
            writer.wait_for(50)
            cluster.kill(behind)
            writer.wait_for(300)
            cluster.operate(leader, "Snapshot")
            writer.wait_for(50)
            cluster.start(behind)
            writer.wait_for(50)
        writer.check(cluster.wait_for_words())
        assert len(cluster.snapshots(behind)) == 1
        cluster.kill(behind)  # What it has on disk is as good as what it had in memory.
        cluster.start(behind)
        writer.check(cluster.wait_for_words())


@pytest.mark.parametrize("names", [("go1", "go2", "py1"), ("py1", "py2", "go1")], ids="-".join)
@pytest.mark.timeout(240)
def test_a_new_voter_takes_in_a_large_snapshot_while_writes_go_on(tmp_path: Path, names: tuple[str, ...]) -> None:
    leader, second, joins = names
    with MixedCluster(tmp_path, (leader, second), SNAPSHOTS_BY_HAND) as cluster:
        cluster.form()
        for number in range(20):
            cluster.add_word(leader, f"{number} ".ljust(int(3.5 * MIB), "x"))
        cluster.operate(leader, "Snapshot")
        (meta,) = cluster.snapshots(leader)
        assert meta["Size"] > 64 * MIB
        with Writer(cluster) as writer:
            writer.wait_for(20)
            cluster.plan(joins)
            cluster.start(joins)
            cluster.add_voter(joins)
            writer.wait_for(20)
        words = cluster.wait_for_words()
        writer.check(words)
        assert len([word for word in words if word.startswith("sha256:")]) == 20
        (installed,) = cluster.snapshots(joins)
        assert [installed[key] for key in ("Index", "Term", "Size", "CRC")] == [
            meta[key] for key in ("Index", "Term", "Size", "CRC")
        ]


@pytest.mark.parametrize(("writes", "reads"), [("go1", "py1"), ("py1", "go1")])
@pytest.mark.parametrize("every_word", [False, True], ids=["word tracker", "every word"])
def test_a_node_starts_from_the_others_snapshot_directory(
    tmp_path: Path, writes: str, reads: str, every_word: bool
) -> None:
    with MixedCluster(tmp_path / "writer", (writes,), SNAPSHOTS_BY_HAND, every_word=every_word) as cluster:
        cluster.form()
        for word in ("één", "twee", "drie", "vijftien"):
            cluster.add_word(writes, word)
        cluster.operate(writes, "Snapshot")
        words = cluster.words(writes)
        (meta,) = cluster.snapshots(writes)
        address = cluster.nodes[writes].address
    with MixedCluster(tmp_path / "reader", (reads,), SNAPSHOTS_BY_HAND, every_word=every_word) as cluster:
        # In the other's place, since the snapshot's configuration names that: its id and its address.
        cluster.nodes = {writes: LocalNode(writes, address, tmp_path / "reader.log")}
        cluster.runs[writes] = reads
        shutil.copytree(tmp_path / "writer" / writes / "snapshots", tmp_path / "reader" / writes / "snapshots")
        cluster.start(writes)
        assert cluster.leader() == writes
        assert cluster.words(writes) == words
        assert cluster.add_word(writes, "zeventien") > meta["Index"]
        stats = cluster.stats(writes)
        assert stats["last_snapshot_index"] == str(meta["Index"])
        if not is_go(reads):  # hashicorp/raft begins at term 1 again.
            assert int(stats["term"]) > meta["Term"]
