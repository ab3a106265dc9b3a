"""All workloads, in the order in which a round does them."""

from bench.calls import NODES, READS, STREAMED, UNARY, VALUES
from bench.echo import ECHO, QUICK_ECHO
from bench.failover import FAILOVER
from bench.floors import FLOORS
from bench.hammering import HAMMERING, PYTHON_CLIENT
from bench.log_size import COMPACTION, LOG_SIZE
from bench.overload import OVERLOAD
from bench.pysyncobj_cluster import PYSYNCOBJ
from bench.session import Workload
from bench.snapshot import SNAPSHOT

ALL: tuple[Workload, ...] = (
    FLOORS,
    ECHO,
    UNARY,
    PYSYNCOBJ,
    STREAMED,
    READS,
    HAMMERING,
    PYTHON_CLIENT,
    FAILOVER,
    OVERLOAD,
    VALUES,
    NODES,
    LOG_SIZE,
    COMPACTION,
    SNAPSHOT,
)
QUICK: tuple[Workload, ...] = (FLOORS, QUICK_ECHO, UNARY)
