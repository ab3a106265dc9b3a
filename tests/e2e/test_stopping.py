"""Nodes are told to stop, or their process ends: leadership moves on without waiting for a timeout."""

import signal
from pathlib import Path

import pytest

from e2e.harness import (
    ENGINE,
    FLAGS,
    HAMMER_LINE,
    HAMMER_WORDS,
    SLOWLY,
    add_word,
    assert_nothing_lost,
    finish,
    progress,
    term,
)
from pyraft_lite.core.state import State
from raftexample.local_cluster import PATIENCE, LocalCluster

pytestmark = pytest.mark.timeout(180)

PATIENT = ("--heartbeat_timeout", "10s", "--election_timeout", "10s", "--leader_lease_timeout", "10s")
"""Flags of a follower that takes longer to miss its leader than anything here takes that works."""


def form_with_patient_followers(cluster: LocalCluster) -> None:
    """nodeA leads, and the others would wait for long if nothing but silence told them of its end."""
    cluster.start("nodeA", "--raft_bootstrap")
    cluster.leader()
    for name in ("nodeB", "nodeC"):
        cluster.start(name, *PATIENT)
        cluster.check_raftadmin("--leader", cluster.target, "add_voter", name, cluster.nodes[name].address, "0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_leader_that_is_told_to_stop_hands_over_in_the_next_term(tmp_path: Path, number: signal.Signals) -> None:
    """R20."""
    with LocalCluster(tmp_path, flags=ENGINE) as cluster:
        form_with_patient_followers(cluster)
        before = term(cluster, "nodeA")
        process = cluster.nodes["nodeA"].process
        assert process is not None
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
        successor = cluster.leader()
        assert successor in ("nodeB", "nodeC")
        assert term(cluster, successor) == before + 1
        assert "heartbeat timeout reached" not in cluster.nodes[successor].log.read_text()
        add_word(cluster, successor, "afterwards")


def test_a_leader_whose_process_is_gone_is_replaced_before_any_timeout(tmp_path: Path) -> None:
    """R19."""
    with LocalCluster(tmp_path, flags=ENGINE) as cluster:
        form_with_patient_followers(cluster)
        cluster.kill("nodeA")
        successor = cluster.leader()
        add_word(cluster, successor, "afterwards")
        assert "leader is gone, not waiting for the heartbeat timeout" in cluster.nodes[successor].log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_follower_that_is_told_to_stop_leaves_leader_and_term_alone(tmp_path: Path, number: signal.Signals) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        leader = cluster.leader()
        before = term(cluster, leader)
        follower = next(name for name in cluster.nodes if name != leader)
        process = cluster.nodes[follower].process
        assert process is not None
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
        add_word(cluster, leader, "still here")
        assert (cluster.state(leader), term(cluster, leader)) == (State.LEADER, before)


def test_all_nodes_may_be_restarted_one_after_the_other_under_hammer(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=ENGINE) as cluster:
        cluster.form()
        hammer = cluster.start_hammer(*SLOWLY)
        for beyond, name in zip((100, 500, 900), cluster.nodes, strict=True):
            progress(cluster, beyond)
            assert cluster.stop(name) == 0
            assert hammer.poll() is None, "hammer was done too soon for this test to show anything"
            cluster.start(name)
        assert HAMMER_LINE.fullmatch(finish(hammer))
        assert_nothing_lost(cluster, HAMMER_WORDS)
