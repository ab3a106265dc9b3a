"""All workloads, in the order in which a round does them."""

from bench.calls import NODES, READS, UNARY, VALUES
from bench.echo import ECHO, QUICK_ECHO
from bench.floors import FLOORS
from bench.session import Workload

ALL: tuple[Workload, ...] = (FLOORS, ECHO, UNARY, READS, VALUES, NODES)
QUICK: tuple[Workload, ...] = (FLOORS, QUICK_ECHO, UNARY)
