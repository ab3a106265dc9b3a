"""What a log costs as it grows: the start of a node, memory, disk; and writes while it is compacted."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.clusters import PATIENCE, BenchCluster, pids, wait_until
from bench.load import LoadResult, loading, run_load
from bench.peers import OURS
from bench.processes import BenchError, disk_bytes, memory_bytes
from bench.results import Key, Metric
from bench.session import Session
from pyraft_lite.core.configuration import Configuration, Server
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.runtime import bootstrap_cluster
from pyraft_lite.storage import FileSnapshotStore, LmdbStore

MILLION = 1_000_000
SIZES = (1_000, 10_000, 100_000, MILLION)
FULL_SIZES = (*SIZES, 10 * MILLION)
CHUNK = 10_000
BYTES_PER_ENTRY = 150
"""On disk, more than enough."""

MIB = 1024**2
SLOWEST_APPLYING = 20_000
"""Entries a second: a node that is slower is waited for in vain."""

CALLERS = 4

START = Metric("start_seconds", "s until it serves", 2)
APPLIED = Metric("applied_seconds", "s until all is applied", 2)
CPU = Metric("cpu_seconds", "CPU s", 2)
MEMORY = Metric("memory_mib", "resident MiB")
MAPPED = Metric("mapped_mib", "of it the mapped file")
PEAK = Metric("peak_mib", "peak MiB")
DISK = Metric("disk_mib", "disk MiB", 1)

BEFORE = Metric("before_ms", "longest pause before, ms")
WHILE = Metric("while_ms", "longest pause while compacting, ms")
RATE_BEFORE = Metric("before_per_second", "writes/s before")
RATE_WHILE = Metric("while_per_second", "writes/s while compacting")


def entries_case(entries: int) -> str:
    """The case of a log of so many entries."""
    return f"10^{len(str(entries)) - 1} entries"


@dataclass(frozen=True, slots=True)
class LogSize:
    """A workload: one node, which is its whole cluster, starts with logs of more and more entries of 16 bytes."""

    name: str = "log"
    title: str = "Growth: entries of 16 bytes in the log at the start of a node"
    columns: Sequence[Metric] = (START, APPLIED, CPU, MEMORY, MAPPED, PEAK, DISK)
    most_rounds: int = 1

    def run_round(self, session: Session) -> None:
        for entries in FULL_SIZES if session.options.full else SIZES:
            case = entries_case(entries)
            with (
                session.trying(f"a log of {case}"),
                session.directory(needed=entries * BYTES_PER_ENTRY) as directory,
                BenchCluster(directory, 1, ("--grpc_engine", "asyncio")) as cluster,
            ):
                fill(cluster, entries)
                session.add(Key(self.name, case, OURS.title), started(cluster, entries))


def started(cluster: BenchCluster, entries: int) -> dict[Metric, float]:
    """Starts the only node and looks at it when it has applied everything."""
    (name,) = cluster.nodes
    began = time.perf_counter()
    cluster.launch(name)
    wait_until(lambda: cluster.state(name) is not None, "the node serves")
    serves = time.perf_counter() - began
    cluster.wait_until_applied(name, entries + 1, PATIENCE + entries / SLOWEST_APPLYING)
    applied = time.perf_counter() - began
    pid = pids(cluster)[name]
    return {
        START: serves,
        APPLIED: applied,
        CPU: processes.cpu_seconds(pid),
        MEMORY: memory_bytes(pid) / MIB,
        MAPPED: memory_bytes(pid, "RssFile") / MIB,
        PEAK: memory_bytes(pid, "VmHWM") / MIB,
        DISK: disk_bytes(cluster.directory / name) / MIB,
    }


@dataclass(frozen=True, slots=True)
class Compaction:
    """A workload: three nodes with a million entries take snapshots, and drop most of them, while callers write."""

    name: str = "compaction"
    title: str = f"Compaction of 10^6 entries on each of three nodes, {CALLERS} callers meanwhile"
    columns: Sequence[Metric] = (BEFORE, WHILE, RATE_BEFORE, RATE_WHILE)
    most_rounds: int = 1
    seconds_before: float = 3.0
    seconds: float = 15.0

    def run_round(self, session: Session) -> None:
        with (
            session.directory(needed=3 * MILLION * BYTES_PER_ENTRY) as directory,
            BenchCluster(directory, 3, ("--grpc_engine", "asyncio")) as cluster,
        ):
            fill(cluster, MILLION)
            for name in cluster.nodes:
                cluster.launch(name)
            for name in cluster.nodes:
                cluster.wait_until_applied(name, MILLION + 1)
            leader = cluster.leader()
            address = cluster.nodes[leader].address
            before = run_load([address], "add_word", concurrency=CALLERS, seconds=self.seconds_before)
            with loading([address], "add_word", concurrency=CALLERS, seconds=self.seconds) as process:
                for name in sorted(cluster.nodes, key=leader.__ne__):
                    cluster.operate(name, "Snapshot")
                result = LoadResult.parse(processes.finish(process, self.seconds))
            for name in cluster.nodes:
                cluster.kill(name)
                check_compacted(directory / name)
            session.add(
                Key(self.name, entries_case(MILLION), OURS.title),
                {
                    BEFORE: before.gap_ms,
                    WHILE: result.gap_ms,
                    RATE_BEFORE: before.per_second,
                    RATE_WHILE: result.per_second,
                },
            )


def fill(cluster: BenchCluster, entries: int) -> None:
    """Gives each node a log of so many commands, behind a configuration of all nodes, before its first start."""
    first, *others = cluster.nodes
    directory = cluster.directory / first
    store, snapshots = LmdbStore(directory), FileSnapshotStore(directory)
    try:
        servers = tuple(Server(name, node.address) for name, node in cluster.nodes.items())
        bootstrap_cluster(store, store, snapshots, Configuration(servers))
        for low in range(2, entries + 2, CHUNK):
            high = min(low + CHUNK, entries + 2)
            store.append([Entry(index, 1, EntryType.COMMAND, b"%016d" % index) for index in range(low, high)])
    finally:
        store.close()
    for other in others:
        shutil.copytree(directory, cluster.directory / other)


def check_compacted(directory: Path) -> None:
    """That a node, which no longer runs, has dropped most of its million entries.

    Raises:
        BenchError: it has not.
    """
    store = LmdbStore(directory)
    try:
        first = store.first_index()
    finally:
        store.close()
    if first < MILLION // 2:
        raise BenchError(f"{directory.name} was not done with compacting: its log still begins at {first}")


LOG_SIZE = LogSize()
COMPACTION = Compaction()
