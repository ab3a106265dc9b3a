"""What a leader wrote that was never committed is cut off when it comes back to a leader of the other kind."""

from pathlib import Path

import pytest
from mixed_cluster import SLOW_TO_STEP_DOWN, MixedCluster
from writer import Writer

UNCOMMITTED = 40


@pytest.mark.parametrize("comes_back", ["thawed", "started again"])
@pytest.mark.parametrize("names", [("go1", "py1", "py2"), ("py1", "go1", "go2")], ids="-".join)
def test_entries_of_an_isolated_leader_are_replaced(tmp_path: Path, names: tuple[str, ...], comes_back: str) -> None:
    isolated, *others = names
    with MixedCluster(tmp_path, names, of={isolated: SLOW_TO_STEP_DOWN}) as cluster:
        cluster.form()
        with Writer(cluster) as writer:
            writer.wait_for(50)
        before = cluster.wait_for_words()
        for name in others:  # Not frozen: what the kernel has taken for them they would read when they thaw.
            cluster.kill(name)
        write_in_vain(cluster, isolated)
        if comes_back == "thawed":
            cluster.freeze(isolated)
        else:
            cluster.kill(isolated)
        for name in others:
            cluster.start(name)
        cluster.wait_for(lambda: cluster.leader_among(others), "the others have a leader")
        with Writer(cluster) as second:
            second.wait_for(UNCOMMITTED * 2)
            if comes_back == "thawed":
                cluster.thaw(isolated)
            else:
                cluster.start(isolated)
            second.wait_for(20)
        words = cluster.wait_for_words()
        assert words[: len(before)] == before
        assert not [word for word in words if word.startswith("in vain")]
        writer.check(words)
        second.check(words)


def write_in_vain(cluster: MixedCluster, leader: str) -> None:
    """Adds words that a leader without followers has in its log, and nobody else."""
    wanted = cluster.last_index(leader) + UNCOMMITTED
    for number in range(UNCOMMITTED):
        # It can't be acknowledged, so there is no answer to wait for.
        cluster.propose(leader, f"in vain {number}")
    cluster.wait_for(lambda: cluster.last_index(leader) >= wanted, f"{leader} has the entries")
