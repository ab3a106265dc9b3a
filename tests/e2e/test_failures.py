"""Nodes die, come back, and are handed over while hammer runs: no acknowledged write is lost."""

import contextlib
import resource
import signal
from pathlib import Path

import grpc
import pytest

from e2e.harness import (
    ENGINE,
    FLAGS,
    HAMMER_LINE,
    HAMMER_WORDS,
    SLOWLY,
    Writers,
    add_word,
    assert_nothing_lost,
    finish,
    get_words,
    logged_words,
    paused,
    progress,
)
from pyraft_lite.core.state import State
from raftexample.local_cluster import LocalCluster

pytestmark = pytest.mark.timeout(180)


def test_hammer_goes_through_three_transfers_and_two_leader_kills(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=ENGINE) as cluster:
        cluster.form()
        hammer = cluster.start_hammer(*SLOWLY)
        for beyond in (100, 300, 500):
            progress(cluster, beyond)
            with paused(hammer):
                cluster.check_raftadmin("--leader", cluster.target, "leadership_transfer")
        for beyond in (800, 1200):
            progress(cluster, beyond)
            with paused(hammer):
                victim = cluster.leader()
                cluster.kill(victim)
            assert hammer.poll() is None, "hammer was done too soon for this test to show anything"
            cluster.leader()
            cluster.start(victim)
        assert HAMMER_LINE.fullmatch(finish(hammer))
        assert_nothing_lost(cluster, HAMMER_WORDS)


@pytest.mark.parametrize("moment", [5, 400, 1500])
@pytest.mark.parametrize("role", ["leader", "follower"])
def test_any_node_may_be_killed_at_any_moment_of_hammer(tmp_path: Path, role: str, moment: int) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        hammer = cluster.start_hammer(*SLOWLY)
        progress(cluster, moment)
        with paused(hammer):
            leader = cluster.leader()
            victim = leader if role == "leader" else next(name for name in cluster.nodes if name != leader)
            cluster.kill(victim)
        assert hammer.poll() is None, "hammer was done too soon for this test to show anything"
        assert HAMMER_LINE.fullmatch(finish(hammer))
        cluster.start(victim)
        assert_nothing_lost(cluster, HAMMER_WORDS)


def test_acknowledged_words_survive_the_death_of_one_node_after_another(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        with Writers(cluster) as writers:
            for role in ("leader", "follower", "leader", "follower"):
                writers.wait_for_more(50)
                leader = cluster.leader()
                victim = leader if role == "leader" else next(name for name in cluster.nodes if name != leader)
                cluster.kill(victim)
                writers.wait_for_more(50)
                cluster.start(victim)
        assert_nothing_lost(cluster, writers.acknowledged)


def test_acknowledged_words_survive_the_death_of_all_nodes_at_once(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        with Writers(cluster) as writers:
            writers.wait_for_more(100)
            for name in cluster.nodes:
                cluster.kill(name)
            for name in cluster.nodes:
                cluster.start(name)
            writers.wait_for_more(100)
        assert_nothing_lost(cluster, writers.acknowledged)


def test_a_leader_that_hangs_is_replaced_and_rejoins_when_it_wakes(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        hammer = cluster.start_hammer(*SLOWLY)
        progress(cluster, 300)
        leader = cluster.leader()
        hung = cluster.nodes[leader].process
        assert hung is not None
        hung.send_signal(signal.SIGSTOP)
        others = [name for name in cluster.nodes if name != leader]
        cluster.wait_for(lambda: any(cluster.state(name) is State.LEADER for name in others), "another leads")
        hung.send_signal(signal.SIGCONT)
        assert HAMMER_LINE.fullmatch(finish(hammer))
        assert_nothing_lost(cluster, HAMMER_WORDS)


def fill_the_disk(cluster: LocalCluster) -> list[str]:
    """Adds words to nodeA until that fails; returns those that were acknowledged."""
    acknowledged: list[str] = []
    with contextlib.suppress(grpc.RpcError):
        while True:
            word = f"{len(acknowledged):03}" * 3000
            add_word(cluster, "nodeA", word)
            acknowledged.append(word)
    return acknowledged


def test_a_full_disk_stops_the_node_with_one_line_and_loses_nothing(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, names=["nodeA"], flags=(*FLAGS, "--log_level", "error")) as cluster:
        cluster.start("nodeA", "--raft_bootstrap")
        cluster.leader()
        process = cluster.nodes["nodeA"].process
        assert process is not None
        database = tmp_path / "nodeA" / "data.mdb"
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (database.stat().st_size + 300_000,) * 2)
        acknowledged = fill_the_disk(cluster)
        assert acknowledged, "some fit"
        assert process.wait(20) == 1
        *_, last = cluster.nodes["nodeA"].log.read_text().splitlines()
        assert last.startswith("raft-example: cannot write to the database in")
        assert "Traceback" not in cluster.nodes["nodeA"].log.read_text()
        cluster.start("nodeA")
        cluster.leader()
        cluster.check_raftadmin(cluster.nodes["nodeA"].address, "barrier")
        cluster.stop("nodeA")
        assert not set(acknowledged) - set(logged_words(cluster, "nodeA"))


def test_all_nodes_may_die_at_once_and_come_back_with_their_data(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        leader = cluster.leader()
        for word in ("one", "three", "seventeen"):
            add_word(cluster, leader, word)
        for name in cluster.nodes:
            cluster.kill(name)
        for name in cluster.nodes:
            cluster.start(name)
        leader = cluster.leader()
        cluster.check_raftadmin("--leader", cluster.target, "barrier")
        assert list(get_words(cluster, leader).best_words) == ["seventeen", "three", "one"]
        assert_nothing_lost(cluster, ["one", "three", "seventeen"])


def test_all_nodes_stop_cleanly_and_come_back_with_their_data(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        add_word(cluster, cluster.leader(), "kept")
        assert [cluster.stop(name) for name in cluster.nodes] == [0, 0, 0]
        for name in cluster.nodes:
            cluster.start(name)
        add_word(cluster, cluster.leader(), "afterwards")
        cluster.wait_until_equal()
        assert {tuple(cluster.words(name)) for name in cluster.nodes} == {("afterwards", "kept", "")}


def test_a_node_that_was_away_longer_than_the_log_reaches_gets_a_snapshot(tmp_path: Path) -> None:
    flags = ("--trailing_logs", "10", "--snapshot_threshold", "50", "--snapshot_interval", "100ms")
    with LocalCluster(tmp_path, flags=(*FLAGS, *flags)) as cluster:
        cluster.form()
        leader = cluster.leader()
        away = next(name for name in cluster.nodes if name != leader)
        cluster.kill(away)
        with Writers(cluster) as writers:
            writers.wait_for_more(200)
        leader = cluster.leader()
        cluster.wait_for(
            lambda: list((tmp_path / leader / "snapshots").glob("*-*-*[0-9]")), "the leader has a snapshot"
        )
        cluster.start(away)
        cluster.wait_until_equal()
        assert cluster.words(away) == cluster.words(leader)
        assert "installed remote snapshot" in cluster.nodes[away].log.read_text()


def test_without_a_quorum_writes_fail_and_with_it_they_work_again(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        leader = cluster.leader()
        others = [name for name in cluster.nodes if name != leader]
        for name in others:
            cluster.kill(name)
        with pytest.raises(grpc.RpcError) as lost:
            add_word(cluster, leader, "lost leader")
        assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
        assert lost.value.details() in ("leadership lost while committing log", "node is not the leader")
        cluster.wait_for(lambda: cluster.state(leader) is not State.LEADER, "the leader has stepped down")
        with pytest.raises(grpc.RpcError) as refused:
            add_word(cluster, leader, "no leader")
        assert refused.value.details() == "node is not the leader"
        assert list(get_words(cluster, leader).best_words) == ["", "", ""], "local reads go on"
        assert "Response: address" not in cluster.check_raftadmin(cluster.nodes[leader].address, "leader")
        cluster.start(others[0])
        add_word(cluster, cluster.leader(), "quorum")
        cluster.start(others[1])
        cluster.wait_until_equal()
