"""Calls made over and over in a closed loop: writes one by one and in streams, reads, of all sizes and to clusters of
all sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.clusters import cpu
from bench.load import LoadResult, run_load
from bench.peers import GO, OURS, Operation, Peer
from bench.results import CALLS, FOLLOWERS_CPU, LEADER_CPU, LOAD_CPU, OPERATIONS, P50, P99, Key, Metric
from bench.session import GIB, Session
from raftexample.local_cluster import LocalCluster

CONCURRENCIES = (1, 10, 64, 256)
SIZE = 16
BATCH = 100

MICROSECONDS = 1e6


@dataclass(frozen=True, slots=True)
class Case:
    """What is called, by how many callers or streams at once, and with how many bytes."""

    name: str
    operation: Operation
    concurrency: int
    size: int = SIZE


def measure(cluster: LocalCluster, peer: Peer, case: Case, seconds: float) -> tuple[LoadResult, dict[Metric, float]]:
    """Calls the leader for so long; returns the whole result, and the samples."""
    leader = cluster.leader()
    before = cpu(cluster)
    result = run_load(
        [cluster.nodes[leader].address],
        peer.requests[case.operation],
        concurrency=case.concurrency,
        seconds=seconds,
        size=case.size,
        batch=BATCH,
    ).check(f"{peer.title}, {case.name}")
    used = {name: after - before[name] for name, after in cpu(cluster).items()}
    return result, samples(result, used.pop(leader), sum(used.values()))


def samples(result: LoadResult, leader_cpu: float, followers_cpu: float) -> dict[Metric, float]:
    """What tables show of a run in which leader and followers used so many seconds of CPU."""
    per_value = MICROSECONDS / result.values
    return {
        OPERATIONS: result.per_second,
        P50: result.p50_ms,
        P99: result.p99_ms,
        LEADER_CPU: leader_cpu * per_value,
        FOLLOWERS_CPU: followers_cpu * per_value,
        LOAD_CPU: result.cpu_seconds * per_value,
    }


@dataclass(frozen=True, slots=True)
class Calls:
    """A workload: each peer's cluster is formed anew in each round, and called in each way that the peer knows."""

    name: str
    title: str
    cases: Sequence[Case]
    most_rounds: int = 10
    columns: Sequence[Metric] = CALLS
    needed: int = GIB

    def run_round(self, session: Session) -> None:
        asked = {case.operation for case in self.cases}
        for peer in session.options.peers:
            if asked.isdisjoint(peer.requests):
                continue
            with session.trying(f"{self.title} of {peer.title}"), session.cluster(peer, needed=self.needed) as cluster:
                for case in self.cases:
                    if case.operation in peer.requests:
                        result, values = measure(cluster, peer, case, session.options.seconds)
                        key = Key(self.name, case.name, peer.title)
                        session.add(key, values)
                        session.add_quantiles(key, result)


@dataclass(frozen=True, slots=True)
class Sizes:
    """A workload: clusters of more and more nodes, ours and the Go peer's."""

    name: str = "nodes"
    title: str = "Growth: nodes of the cluster"
    most_rounds: int = 1
    columns: Sequence[Metric] = CALLS
    counts: Sequence[int] = (1, 3, 5, 7)

    def run_round(self, session: Session) -> None:
        for count in self.counts:
            for peer in session.options.peers:
                if peer not in (OURS, GO):
                    continue
                with session.trying(f"{count} nodes of {peer.title}"), session.cluster(peer, count) as cluster:
                    for concurrency in (1, 64):
                        case = Case(f"{count} node{'s' * (count > 1)}, C={concurrency}", Operation.WRITE, concurrency)
                        _, values = measure(cluster, peer, case, session.options.seconds)
                        session.add(Key(self.name, case.name, peer.title), values)


UNARY = Calls(
    "unary",
    "Unary writes of 16 bytes",
    [Case(f"C={concurrency}", Operation.WRITE, concurrency) for concurrency in CONCURRENCIES],
)
STREAMED = Calls(
    "streamed",
    f"Streamed writes of 16 bytes, {BATCH} in a message; latencies are those of messages",
    [Case("1 stream", Operation.STREAM, 1), Case("4 streams", Operation.STREAM, 4)],
    columns=[each._replace(heading=each.heading.replace("op", "word")) for each in CALLS],
)
READS = Calls(
    "reads",
    "Reads",
    [
        Case(f"{operation.value}, C={concurrency}", operation, concurrency)
        for operation in (Operation.LOCAL_READ, Operation.LINEARIZABLE_READ)
        for concurrency in (1, 64)
    ],
)
VALUES = Calls(
    "values",
    "Growth: bytes of a value, C=10",
    [
        Case(name, Operation.WRITE, 10, size)
        for name, size in (("16 B", 16), ("256 B", 256), ("4 KiB", 4096), ("64 KiB", 65536), ("1 MiB", 1048576))
    ],
    most_rounds=1,
    needed=8 * GIB,
)
NODES = Sizes()
