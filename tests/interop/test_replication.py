"""Followers of one kind under a leader of the other."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mixed_cluster import MixedCluster, is_go
from writer import Writer


@pytest.mark.parametrize(
    "names",
    [("go1", "py1", "py2"), ("py1", "go1", "go2"), ("go1", "py1", "go2"), ("py1", "go1", "py2")],
    ids="-".join,
)
def test_followers_have_every_word_of_the_leader(tmp_path: Path, names: tuple[str, ...]) -> None:
    leader, *followers = names
    with MixedCluster(tmp_path, names) as cluster:
        cluster.form()
        with Writer(cluster) as writer:
            writer.wait_for(500)
        assert not writer.failed
        assert cluster.leader() == leader
        words = cluster.wait_for_words(*followers)
        writer.check(words)
        assert sorted(words) == sorted(writer.acknowledged), "each word is there once, and no other"


@pytest.mark.parametrize("names", [("go1", "py1"), ("py1", "go1")], ids="-".join)
def test_a_leader_pipelines_to_a_follower_of_the_other_kind(tmp_path: Path, names: tuple[str, str]) -> None:
    with MixedCluster(tmp_path, names) as cluster:
        cluster.form()
        with Writer(cluster) as writer:
            writer.wait_for(200)
        writer.check(cluster.wait_for_words())
        go = next(name for name in names if is_go(name))
        log = cluster.nodes[go].log.read_text()
        assert ("pipelining replication" if is_go(names[0]) else "append stream begins") in log
        assert ("aborting pipeline replication" if is_go(names[0]) else "append stream ends") not in log


def test_our_leader_keeps_messages_as_small_as_a_go_follower_needs_them(tmp_path: Path) -> None:
    """Ten such words in one message are what stops a Go leader's replication for good."""
    with MixedCluster(tmp_path, ("py1", "go1", "go2")) as cluster:
        cluster.form()
        large = [f"{number} ".ljust(900_000, "x") for number in range(12)]
        with Writer(cluster) as writer, ThreadPoolExecutor(len(large)) as pool:
            assert len(set(pool.map(lambda word: cluster.add_word("py1", word), large))) == len(large)
            writer.wait_for(20)
        words = cluster.wait_for_words()
        writer.check(words)
        assert len([word for word in words if word.startswith("sha256:")]) == len(large)
