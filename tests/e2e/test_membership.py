"""Members come and go: what the recorded sessions of test_golden.py don't show."""

import re
from pathlib import Path

import pytest

from e2e.harness import FLAGS, add_word, members, stats, term
from pyraft_lite.core.state import State
from raftexample.local_cluster import PATIENCE, LocalCluster

pytestmark = pytest.mark.timeout(180)

NOWHERE = "127.0.0.1:1"


def add_voter(cluster: LocalCluster, name: str) -> None:
    cluster.check_raftadmin("--leader", cluster.target, "add_voter", name, cluster.nodes[name].address, "0")


def remove(cluster: LocalCluster, name: str) -> None:
    cluster.check_raftadmin("--leader", cluster.target, "remove_server", name, "0")


def test_a_dead_voter_is_not_added_and_the_cluster_goes_on(tmp_path: Path) -> None:
    """R11."""
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        leader = cluster.leader()
        before = members(cluster, leader), stats(cluster, leader)["latest_configuration_index"]
        result = cluster.raftadmin(cluster.nodes[leader].address, "add_voter", "nodeD", NOWHERE, "0")
        assert result.returncode == 1
        assert f'error: "cannot add voter nodeD at {NOWHERE}: cannot be reached:' in result.stderr
        assert (members(cluster, leader), stats(cluster, leader)["latest_configuration_index"]) == before
        add_word(cluster, leader, "still a quorum")


def test_a_cluster_of_one_does_not_lose_its_quorum_to_a_dead_voter(tmp_path: Path) -> None:
    """R11; a dead nonvoter may be added, since it counts for nothing."""
    with LocalCluster(tmp_path, names=["nodeA"], flags=FLAGS) as cluster:
        cluster.start("nodeA", "--raft_bootstrap")
        cluster.leader()
        address = cluster.nodes["nodeA"].address
        assert cluster.raftadmin(address, "add_voter", "nodeB", NOWHERE, "0").returncode == 1
        cluster.check_raftadmin(address, "add_nonvoter", "nodeB", NOWHERE, "0")
        assert members(cluster, "nodeA") == {"nodeA": "VOTER", "nodeB": "NONVOTER"}
        add_word(cluster, "nodeA", "still a quorum")
        assert cluster.raftadmin(address, "add_voter", "nodeB", NOWHERE, "0").returncode == 1
        add_word(cluster, "nodeA", "and still")


def test_a_removed_leader_ends_its_process_if_so_wished_and_may_come_back(tmp_path: Path) -> None:
    """R12."""
    with LocalCluster(tmp_path, flags=(*FLAGS, "--exit_on_shutdown")) as cluster:
        cluster.form()
        leader = cluster.leader()
        remove(cluster, leader)
        process = cluster.nodes[leader].process
        assert process is not None
        assert process.wait(PATIENCE) == 0
        successor = cluster.leader()
        assert leader not in members(cluster, successor)
        add_word(cluster, successor, "meanwhile")
        cluster.start(leader)
        add_voter(cluster, leader)
        cluster.wait_until_equal()
        assert members(cluster, successor).keys() == cluster.nodes.keys()
        assert cluster.words(leader)[0] == "meanwhile"


def test_a_removed_follower_disturbs_nobody_and_may_come_back(tmp_path: Path) -> None:
    """R12."""
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        leader = cluster.leader()
        before = term(cluster, leader)
        follower = next(name for name in cluster.nodes if name != leader)
        remove(cluster, follower)
        log = cluster.nodes[follower].log
        cluster.wait_for(lambda: "aborting election" in log.read_text(), f"{follower} has missed its leader")
        add_word(cluster, leader, "undisturbed")
        assert (cluster.state(leader), term(cluster, leader)) == (State.LEADER, before)
        add_voter(cluster, follower)
        cluster.wait_until_equal()
        assert cluster.words(follower)[0] == "undisturbed"


def test_a_demoted_node_gets_the_log_and_its_vote_is_not_needed(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        leader = cluster.leader()
        demoted, other = (name for name in cluster.nodes if name != leader)
        cluster.check_raftadmin("--leader", cluster.target, "demote_voter", demoted, "0")
        assert members(cluster, leader) == {leader: "VOTER", other: "VOTER", demoted: "NONVOTER"}
        add_word(cluster, leader, "to all")
        cluster.wait_until_equal()
        cluster.kill(demoted)
        add_word(cluster, leader, "without it")
        cluster.start(demoted)
        add_voter(cluster, demoted)
        assert members(cluster, leader)[demoted] == "VOTER"
        cluster.kill(other)
        add_word(cluster, cluster.leader(), "its vote counts again")


def test_a_new_voter_of_a_cluster_that_compacted_its_log_begins_with_a_snapshot(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, names=["nodeA", "nodeB"], flags=(*FLAGS, "--trailing_logs", "0")) as cluster:
        cluster.start("nodeA", "--raft_bootstrap")
        cluster.leader()
        add_word(cluster, "nodeA", "from the snapshot")
        cluster.check_raftadmin(cluster.nodes["nodeA"].address, "snapshot")
        cluster.start("nodeB")
        add_voter(cluster, "nodeB")
        cluster.wait_until_equal()
        assert "installed remote snapshot" in cluster.nodes["nodeB"].log.read_text()
        assert cluster.words("nodeB")[0] == "from the snapshot"
        cluster.kill("nodeB")
        cluster.start("nodeB")
        assert cluster.words("nodeB")[0] == "from the snapshot", "it restores what it was sent"


def test_a_cluster_is_replaced_node_by_node(tmp_path: Path) -> None:
    old, new = ("nodeA", "nodeB", "nodeC"), ("nodeD", "nodeE", "nodeF")
    with LocalCluster(tmp_path, names=[*old, *new], flags=FLAGS) as cluster:
        cluster.start("nodeA", "--raft_bootstrap")
        cluster.leader()
        for name in old[1:]:
            cluster.start(name)
            add_voter(cluster, name)
        add_word(cluster, cluster.leader(), "from the old nodes")
        for leaving, coming in zip(old, new, strict=True):
            cluster.start(coming)
            add_voter(cluster, coming)
            remove(cluster, leaving)
            assert cluster.stop(leaving) == 0
        leader = cluster.leader()
        assert members(cluster, leader) == dict.fromkeys(new, "VOTER")
        add_word(cluster, leader, "from the new nodes")
        for name in new:
            cluster.wait_for(
                lambda name=name: cluster.words(name)[:2] == ["from the new nodes", "from the old nodes"],
                f"{name} has all words",
            )


def test_a_change_that_expects_another_configuration_is_refused_with_the_index(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, names=["nodeA"], flags=FLAGS) as cluster:
        cluster.start("nodeA", "--raft_bootstrap")
        cluster.leader()
        address = cluster.nodes["nodeA"].address
        result = cluster.raftadmin(address, "add_nonvoter", "nodeB", NOWHERE, "999")
        assert result.returncode == 1
        refused = re.search(r"configuration changed since 999 \(latest is (\d+)\)", result.stderr)
        assert refused
        assert refused[1] == stats(cluster, "nodeA")["latest_configuration_index"]
        cluster.check_raftadmin(address, "add_nonvoter", "nodeB", NOWHERE, refused[1])
