"""Clusters of the peers that are processes: ours, the Go peer's, etcd's."""

import contextlib
import json
import shutil
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc

from bench import processes
from bench.processes import ROOT, BenchError
from pyraft_lite.core.state import State
from pyraft_lite.rpc.pb import raft_admin_pb2
from raftexample.local_cluster import LocalCluster, LocalNode, applied_index, free_ports

GO_PEER = ROOT / "build" / "interop" / "bin" / "peer"

OPERATION_TIMEOUT = 60.0
HTTP_TIMEOUT = 1.0

PATIENCE = 120.0
"""Seconds to wait for what may take long."""


def node_names(count: int) -> list[str]:
    """The ids of a cluster's nodes."""
    return [f"node{number}" for number in range(1, count + 1)]


class BenchCluster(LocalCluster):
    """Nodes of ours, or of a program with the same services.

    Args:
        directory: Where data and logs go.
        nodes: How many.
        flags: For every node's program.
    """

    def __init__(self, directory: Path, nodes: int = 3, flags: Sequence[str] = ()) -> None:
        super().__init__(directory, node_names(nodes), flags)

    def form(self) -> None:
        """Starts all nodes and makes them one cluster, led by the first."""
        first, *others = self.nodes
        self.launch(first, self.bootstrap_flag)
        for name in others:
            self.launch(name)
        for name in self.nodes:
            self.wait_until_serving(name)
        self.wait_for(lambda: self.state(first) is State.LEADER, f"{first} leads")
        for name in others:
            self.operate(first, "AddVoter", id=name, address=self.nodes[name].address)
        self.wait_until_equal()

    def operate(self, node: str, method: str, /, **fields: Any) -> int:
        """Carries out an operation of RaftAdmin on this very node; returns its index.

        Raises:
            BenchError: it failed.
        """
        request = getattr(raft_admin_pb2, f"{method}Request")(**fields)
        try:
            token = self._ask(node, f"/RaftAdmin/{method}", request, raft_admin_pb2.Future)
            outcome = self._ask(node, "/RaftAdmin/Await", token, raft_admin_pb2.AwaitResponse, OPERATION_TIMEOUT)
        except grpc.RpcError as error:
            raise BenchError(f"{method} on {node}: {error}") from error
        if outcome.error:
            raise BenchError(f"{method} on {node}: {outcome.error}")
        return outcome.index

    def wait_until_applied(self, node: str, index: int, patience: float = PATIENCE) -> None:
        """Waits until a node, which serves already, has applied so much. It is asked over one channel: to make one for
        each question would take away some percent of two cores from what is measured.

        Raises:
            BenchError: it took longer.
        """
        with self.channel(node) as channel:
            wait_until(lambda: (applied_index(channel) or 0) >= index, f"{node} has applied {index}", patience)


class GoCluster(BenchCluster):
    """Nodes on hashicorp/raft and raft-boltdb."""

    def command(self, node: LocalNode) -> list[str]:
        if not GO_PEER.exists():
            raise BenchError(f"{GO_PEER} is not there: tests/interop/go/build builds it")
        return [
            str(GO_PEER),
            *("--raft_id", node.name, "--address", node.address, "--raft_data_dir", str(self.directory)),
        ]


class EtcdCluster(LocalCluster):
    """Members of etcd, with its default settings."""

    def __init__(self, directory: Path, nodes: int = 3) -> None:
        super().__init__(directory, node_names(nodes))
        self._peers = {
            name: f"http://127.0.0.1:{port}" for name, port in zip(self.nodes, free_ports(nodes), strict=True)
        }

    def command(self, node: LocalNode) -> list[str]:
        program = shutil.which("etcd")
        if program is None:
            raise BenchError("etcd is not there: Debian's etcd-server has it")
        peer, client = self._peers[node.name], f"http://{node.address}"
        return [
            # Whatever the environment has for etcd is for another one.
            *("env", "--ignore-environment", program, "--name", node.name),
            *("--data-dir", str(self.directory / node.name), "--logger", "zap", "--log-level", "warn"),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--initial-cluster", ",".join(f"{name}={url}" for name, url in self._peers.items())),
            *("--initial-cluster-state", "new", "--initial-cluster-token", self.directory.name),
        ]

    def form(self) -> None:
        """Starts all members, which then elect a leader."""
        for name in self.nodes:
            self.launch(name)
        for name in self.nodes:
            self.wait_until_serving(name)
        self.leader()

    def state(self, name: str) -> State | None:
        """What a member is, None if it does not answer."""
        url = f"http://{self.nodes[name].address}/v3/maintenance/status"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with contextlib.suppress(OSError, ValueError, KeyError):
            status = json.load(opener.open(url, data=b"{}", timeout=HTTP_TIMEOUT))
            leads = status["leader"] == status["header"]["member_id"]
            return State.LEADER if leads else State.FOLLOWER
        return None


def addresses(cluster: LocalCluster, first: str) -> list[str]:
    """Of all nodes, beginning with one."""
    return [cluster.nodes[name].address for name in sorted(cluster.nodes, key=first.__ne__)]


def pids(cluster: LocalCluster) -> dict[str, int]:
    """The running nodes' processes."""
    return {name: node.process.pid for name, node in cluster.nodes.items() if node.process and node.is_running}


def cpu(cluster: LocalCluster) -> dict[str, float]:
    """What each running node has used so far, in seconds."""
    return {name: processes.cpu_seconds(pid) for name, pid in pids(cluster).items()}


def wait_until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Waits for what may take long.

    Raises:
        BenchError: it took longer.
    """
    give_up = time.monotonic() + patience
    while not condition():
        if time.monotonic() > give_up:
            raise BenchError(f"waited {patience:g} s in vain until {what}")
        time.sleep(0.02)
