"""A node that is new gets a large snapshot over the loopback, while the cluster takes writes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.clusters import BenchCluster, pids
from bench.load import LoadResult, loading
from bench.log_size import MIB
from bench.peers import OURS
from bench.processes import memory_bytes, module, reset_peak
from bench.results import Key, Metric
from bench.session import GIB, Session
from pyraft_lite.rpc.pb import example_pb2
from raftexample.local_cluster import LocalNode

SIZE = GIB
MEGABYTE = 1e6
NODES = 4
"""The last of them joins when the snapshot is there."""

WRITES = 200.0
"""A second, whether they are answered or not."""

QUIET = 0.5
"""Seconds of writes before the node joins."""

RATE = Metric("megabytes_per_second", "MB/s")
SECONDS = Metric("seconds", "s", 1)
LEADER_PEAK = Metric("leader_peak_mib", "leader's peak MiB")
JOINING_PEAK = Metric("joining_peak_mib", "new node's peak MiB")
ANSWERED = Metric("ops_per_second", "writes/s meanwhile")
GAP = Metric("gap_ms", "longest pause of writes, ms")


class BlobCluster(BenchCluster):
    """Nodes with a large state; the last is not started by :meth:`form`."""

    def __init__(self, directory: Path) -> None:
        flags = ("--grpc_engine", "asyncio", "--trailing_logs", "16")
        super().__init__(directory, NODES, flags)
        *_, self.joining = self.nodes

    def command(self, node: LocalNode) -> list[str]:
        return [
            *module("blob_node"),
            *("--raft_id", node.name, "--address", node.address, "--raft_data_dir", str(self.directory)),
        ]

    def form(self) -> None:
        joining = self.nodes.pop(self.joining)
        super().form()
        self.nodes[self.joining] = joining

    def set_size(self, leader: str, size: int) -> None:
        """Makes the state so large, and has the leader take a snapshot of it."""
        request = example_pb2.AddWordRequest(word=f"blob:{size}")
        self._ask(leader, "/Example/AddWord", request, example_pb2.AddWordResponse)
        self.operate(leader, "Snapshot")


@dataclass(frozen=True, slots=True)
class SnapshotInstall:
    """A workload: measured from the order to add the node until it has applied what the leader had."""

    name: str = "snapshot"
    title: str = "A snapshot of 1 GiB to a new node, from its being added until it has restored it"
    columns: Sequence[Metric] = (RATE, SECONDS, LEADER_PEAK, JOINING_PEAK, ANSWERED, GAP)
    most_rounds: int = 2
    seconds: float = 12.0

    def run_round(self, session: Session) -> None:
        with session.directory(needed=4 * SIZE) as directory, BlobCluster(directory) as cluster:
            cluster.form()
            leader = cluster.leader()
            cluster.set_size(leader, SIZE)
            cluster.start(cluster.joining)
            running, joining = pids(cluster), cluster.joining
            for name in (leader, joining):
                reset_peak(running[name])
            with loading(
                [cluster.nodes[leader].address], "add_word", concurrency=1, seconds=self.seconds, rate=WRITES
            ) as process:
                time.sleep(QUIET)
                wanted = cluster.applied_index(leader) or 0
                began = time.perf_counter()
                cluster.operate(leader, "AddNonvoter", id=joining, address=cluster.nodes[joining].address)
                cluster.wait_until_applied(joining, wanted)
                seconds = time.perf_counter() - began
                writes = LoadResult.parse(processes.finish(process, self.seconds))
            session.add(
                Key(self.name, "1 GiB", OURS.title),
                {
                    RATE: SIZE / MEGABYTE / seconds,
                    SECONDS: seconds,
                    LEADER_PEAK: memory_bytes(running[leader], "VmHWM") / MIB,
                    JOINING_PEAK: memory_bytes(running[joining], "VmHWM") / MIB,
                    ANSWERED: writes.per_second,
                    GAP: writes.gap_ms,
                },
            )


SNAPSHOT = SnapshotInstall()
