"""Elections that one kind can win only with the other's vote."""

from pathlib import Path

import pytest
from mixed_cluster import MixedCluster
from writer import Writer

from pyraft_lite.core.state import State


@pytest.mark.parametrize(
    ("leader", "winner", "behind"),
    [
        ("go1", "py1", "go2"),
        ("py1", "py2", "go1"),
        ("go1", "go2", "py1"),
        ("py1", "go1", "py2"),
    ],
)
def test_the_node_with_the_longer_log_wins_with_the_others_vote(
    tmp_path: Path, leader: str, winner: str, behind: str
) -> None:
    with MixedCluster(tmp_path, (leader, winner, behind)) as cluster:
        cluster.form()
        with Writer(cluster) as writer:
            writer.wait_for(50)
            cluster.kill(behind)
            writer.wait_for(50)
            cluster.kill(leader)
            cluster.start(behind)
            assert cluster.leader() == winner
            writer.wait_for(50)
            cluster.start(leader)
        writer.check(cluster.wait_for_words())


@pytest.mark.parametrize("names", [("go1", "py1", "py2"), ("py1", "go1", "go2")], ids="-".join)
def test_the_others_go_on_without_a_leader_that_is_frozen_and_it_follows_when_it_thaws(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    frozen, *others = names
    with MixedCluster(tmp_path, names) as cluster:
        cluster.form()
        with Writer(cluster) as writer:
            writer.wait_for(50)
            cluster.freeze(frozen)
            cluster.wait_for(lambda: cluster.leader_among(others), "another leads")
            with Writer(cluster) as second:  # The first may still wait for an answer of the frozen node.
                second.wait_for(50)
            cluster.thaw(frozen)
            cluster.wait_for(lambda: cluster.state(frozen) is State.FOLLOWER, f"{frozen} follows")
            writer.wait_for(50)
        words = cluster.wait_for_words()
        writer.check(words)
        second.check(words)
