"""Who is measured side by side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bench.clusters import BenchCluster, EtcdCluster, GoCluster
from raftexample.local_cluster import LocalCluster


class Operation(Enum):
    """What callers ask of a cluster; the values are for tables."""

    WRITE = "write"
    STREAM = "streamed writes"
    LOCAL_READ = "local read"
    LINEARIZABLE_READ = "linearizable read"


@dataclass(frozen=True, slots=True)
class Peer:
    """A kind of cluster.

    Attributes:
        key: Its name on the command line.
        title: Its name in tables.
        cluster: Makes one of so many nodes, to be formed.
        requests: The load generator's names of what it serves.
    """

    key: str
    title: str
    cluster: Callable[[Path, int], LocalCluster]
    requests: Mapping[Operation, str]


def _ours(engine: str) -> Callable[[Path, int], LocalCluster]:
    return lambda directory, nodes: BenchCluster(directory, nodes, ("--grpc_engine", engine))


_WORDS = {
    Operation.WRITE: "add_word",
    Operation.STREAM: "add_words",
    Operation.LOCAL_READ: "get_words",
    Operation.LINEARIZABLE_READ: "get_words_latest",
}

OURS = Peer("ours-asyncio", "ours (asyncio)", _ours("asyncio"), _WORDS)
OURS_H2CORN = Peer("ours-h2corn", "ours (h2corn)", _ours("h2corn"), _WORDS)
OURS_GRPCIO = Peer("ours-grpcio", "ours (grpcio)", _ours("grpcio"), _WORDS)
GO = Peer(
    "go",
    "Go peer",
    GoCluster,
    {Operation.WRITE: "add_word", Operation.LOCAL_READ: "get_words"},
)
ETCD = Peer(
    "etcd",
    "etcd",
    EtcdCluster,
    {
        Operation.WRITE: "etcd_put",
        Operation.LOCAL_READ: "etcd_range_serial",
        Operation.LINEARIZABLE_READ: "etcd_range",
    },
)

ALL = (OURS, OURS_H2CORN, OURS_GRPCIO, GO, ETCD)
