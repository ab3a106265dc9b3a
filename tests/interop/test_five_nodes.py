"""Five nodes of both kinds, of which now and then one or two die at once."""

import random
from pathlib import Path

import pytest
from mixed_cluster import MixedCluster
from writer import Writer

ROUNDS = 5


@pytest.mark.parametrize(
    "names", [("go1", "py1", "go2", "py2", "go3"), ("py1", "go1", "py2", "go2", "py3")], ids="-".join
)
@pytest.mark.timeout(240)
def test_no_acknowledged_write_is_lost_to_kills(tmp_path: Path, names: tuple[str, ...]) -> None:
    dice = random.Random("-".join(names))
    with MixedCluster(tmp_path, names) as cluster:
        cluster.form()
        with Writer(cluster) as writer:
            for _ in range(ROUNDS):
                writer.wait_for(30)
                leader = cluster.leader()
                follower = dice.choice([name for name in names if name != leader])
                cluster.kill(leader)
                cluster.kill(follower)
                writer.wait_for(30)  # The three that are left go on by themselves.
                for name in (leader, follower):
                    cluster.start(name)
        writer.check(cluster.wait_for_words())
