"""A follower that hears nothing any more stands for election again and again; when it hears again, all goes on."""

from pathlib import Path

import pytest
from mixed_cluster import MixedCluster
from proxy import Proxy
from writer import Writer

from raftexample.local_cluster import LocalNode, free_ports


@pytest.mark.parametrize(
    ("leader", "other", "deaf"),
    [("go1", "py1", "go2"), ("go1", "go2", "py1"), ("py1", "py2", "go1"), ("py1", "go1", "py2")],
)
def test_a_deaf_follower_costs_no_acknowledged_write(tmp_path: Path, leader: str, other: str, deaf: str) -> None:
    (port,) = free_ports(1)
    listens = f"127.0.0.1:{port}"
    with (
        Proxy(listens) as proxy,
        MixedCluster(tmp_path, (leader, other, deaf), of={deaf: ("--listen", listens)}) as cluster,
    ):
        cluster.nodes[deaf] = LocalNode(deaf, proxy.address, tmp_path / f"{deaf}.log")
        cluster.form()
        with Writer(cluster) as writer:
            writer.wait_for(50)
            proxy.hold()
            log = cluster.nodes[deaf].log
            cluster.wait_for(lambda: "entering candidate state" in log.read_text(), f"{deaf} stands")
            writer.wait_for(50)
            proxy.let_go()
            writer.wait_for(50)
        writer.check(cluster.wait_for_words())
