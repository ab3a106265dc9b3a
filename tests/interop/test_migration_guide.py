"""Every command of docs/migrating-from-go.md is run here, in order, on a Go cluster that is being written to."""

import subprocess
from pathlib import Path

import pytest
from mixed_cluster import GO_PEER, ROOT, MixedCluster
from writer import Writer

from raftexample.local_cluster import LocalNode
from walk_through import commands, kept_ports, kill_session

OLD = {"nodeA": 50061, "nodeB": 50062, "nodeC": 50063}
NEW = {"nodeD": 50064, "nodeE": 50065, "nodeF": 50066}


def go_nodes() -> list[str]:
    """How to start the Go cluster's nodes, as jobs 1 to 3 of a shell."""
    return [
        f"{GO_PEER} --raft_id {name} --address localhost:{port} --raft_data_dir old-cluster"
        + (" --raft_bootstrap" if name == "nodeA" else "")
        + f" 2>>{name}.log &"
        for name, port in OLD.items()
    ]


@pytest.mark.timeout(400)
@kept_ports([*OLD.values(), *NEW.values()])
def test_the_runbook_works_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    cluster = MixedCluster(tmp_path, (), every_word=False)
    for name, port in (OLD | NEW).items():
        cluster.nodes[name] = LocalNode(name, f"localhost:{port}", tmp_path / f"{name}.log")
    script = tmp_path / "walk-through"
    # Between the start of the Go cluster and the first command it waits for the go-ahead. Job control is for %1.
    script.write_text("\n".join(["set -me", *go_nodes(), "read -r", *commands("docs/migrating-from-go.md")]))
    shell = subprocess.Popen(
        ["bash", script],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=(tmp_path / "errors").open("w"),
        text=True,
        start_new_session=True,
    )
    try:
        for name in OLD:
            cluster.wait_until_up(name)
        cluster.wait_for(lambda: cluster.leader_among(["nodeA"]), "nodeA leads")
        for name in ("nodeB", "nodeC"):
            cluster.operate("nodeA", "AddVoter", id=name, address=cluster.nodes[name].address)
        with Writer(cluster) as writer:
            writer.wait_for(50)
            shell.communicate("go ahead\n", timeout=200)
            assert shell.returncode == 0, (tmp_path / "errors").read_text()
            writer.wait_for(50)
        assert not writer.failed
        leader = cluster.wait_for(lambda: cluster.leader_among(list(NEW)), "a new node leads")
        assert cluster.suffrages(leader) == dict.fromkeys(NEW, "VOTER")
        longest = sorted(writer.acknowledged, key=lambda word: (-len(word), word))[:3]
        for name in NEW:
            cluster.wait_until_has(name, longest)
    finally:
        kill_session(shell)
