"""PySyncObj beside the others: three nodes that keep their log in memory, and the leader called without any RPC."""

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench import processes
from bench.calls import CONCURRENCIES, UNARY
from bench.load import LoadResult
from bench.processes import PATIENCE, BenchError, module
from bench.results import OPERATIONS, P50, P99, Key, Metric
from bench.session import Session
from raftexample.local_cluster import free_ports

SUBJECT = "PySyncObj (in process, in memory)"
NODES = 3
POLL = 0.1


@dataclass(frozen=True, slots=True)
class InProcess:
    """A workload; its rows stand among those of unary writes."""

    name: str = "pysyncobj"
    title: str = "PySyncObj: unary writes of 16 bytes"
    columns: Sequence[Metric] = (OPERATIONS, P50, P99)
    most_rounds: int = 10

    def run_round(self, session: Session) -> None:
        seconds = session.options.seconds
        with running() as nodes:
            leader = wait_for_leader(nodes)
            for concurrency in CONCURRENCIES:
                result = LoadResult.parse(ask(leader, f"run {concurrency} {seconds}", seconds)).check(SUBJECT)
                key = Key(UNARY.name, f"C={concurrency}", SUBJECT)
                session.add(key, {OPERATIONS: result.per_second, P50: result.p50_ms, P99: result.p99_ms})
                session.add_quantiles(key, result)


@contextmanager
def running() -> Iterator[list["subprocess.Popen[str]"]]:
    """The nodes' processes."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(NODES)]
    with ExitStack() as at_the_end:
        nodes = []
        for address in addresses:
            others = [other for other in addresses if other != address]
            nodes.append(at_the_end.enter_context(processes.start([*module("pysyncobj_node"), address, *others])))
            at_the_end.callback(nodes[-1].kill)
        yield nodes


def wait_for_leader(nodes: Sequence["subprocess.Popen[str]"]) -> "subprocess.Popen[str]":
    """The node that leads, once there is one."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        for node in nodes:
            if json.loads(ask(node, "leads")):
                return node
        time.sleep(POLL)
    raise BenchError(f"PySyncObj has no leader after {PATIENCE:g} s")


def ask(node: "subprocess.Popen[str]", command: str, seconds: float = 0.0) -> str:
    """A node's answer to a command that should take so many seconds."""
    assert node.stdin is not None
    print(command, file=node.stdin, flush=True)
    return processes.read_line(node, seconds)


PYSYNCOBJ = InProcess()
