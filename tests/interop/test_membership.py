"""Members of one kind come and go under a leader of the other."""

from pathlib import Path

import pytest
from mixed_cluster import MixedCluster
from writer import Writer

from raftexample.local_cluster import LocalClusterError


@pytest.mark.parametrize("names", [("go1", "go2", "py1"), ("py1", "py2", "go1")], ids="-".join)
def test_a_node_becomes_a_nonvoter_a_voter_a_nonvoter_and_nothing(tmp_path: Path, names: tuple[str, ...]) -> None:
    leader, second, guest = names
    with MixedCluster(tmp_path, (leader, second)) as cluster:
        cluster.form()
        with Writer(cluster) as writer:
            address = cluster.plan(guest).address
            cluster.start(guest)
            cluster.operate(leader, "AddNonvoter", id=guest, address=address)
            writer.wait_for(20)
            cluster.wait_for(lambda: cluster.suffrages(guest).get(guest) == "NONVOTER", "the guest knows of itself")
            cluster.add_voter(guest)
            cluster.wait_for(lambda: cluster.suffrages(guest).get(guest) == "VOTER", "the guest is a voter")
            cluster.kill(second)  # Writes need the guest now.
            writer.wait_for(20)
            cluster.start(second)
            cluster.wait_until_at(second, cluster.last_index(leader))  # From now on writes need it again.
            index = cluster.operate(leader, "DemoteVoter", id=guest)
            cluster.wait_for(lambda: cluster.suffrages(guest).get(guest) == "NONVOTER", "the guest is demoted")
            with pytest.raises(LocalClusterError, match="onfiguration changed since"):
                cluster.operate(leader, "RemoveServer", id=guest, previous_index=index - 1)
            cluster.operate(leader, "RemoveServer", id=guest, previous_index=index)
            writer.wait_for(20)
        assert not writer.failed
        assert cluster.suffrages(leader) == {leader: "VOTER", second: "VOTER"}
        assert cluster.leader() == leader
        writer.check(cluster.wait_for_words(leader, second))


@pytest.mark.parametrize("names", [("go1", "py1", "py2"), ("py1", "go1", "go2")], ids="-".join)
def test_a_leader_that_is_removed_leaves_the_others_a_leader(tmp_path: Path, names: tuple[str, ...]) -> None:
    removed, *others = names
    with MixedCluster(tmp_path, names) as cluster:
        cluster.form()
        with Writer(cluster) as writer:
            writer.wait_for(20)
            cluster.remove(removed)
            cluster.wait_for(lambda: cluster.leader_among(others), "the others have a leader")
            writer.wait_for(50)
        assert cluster.suffrages(others[0]) == dict.fromkeys(others, "VOTER")
        writer.check(cluster.wait_for_words(*others))
