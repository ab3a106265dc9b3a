"""Twice as many calls as a cluster can answer, whether it answers or not."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench import processes
from bench.clusters import pids
from bench.load import run_load
from bench.peers import Operation, Peer
from bench.results import P50, P99, Key, Metric
from bench.session import Session

SATURATING = 256
FACTOR = 2
CONNECTIONS = 16
"""Of many clients; on a single one, calls would wait in the client once there are too many."""

CASE = f"{FACTOR} ×"

MIB = 1024**2

OFFERED = Metric("offered_per_second", "offered/s")
ANSWERED = Metric("ops_per_second", "answered/s")
REFUSED = Metric("refused_percent", "RESOURCE_EXHAUSTED %", 1)
FAILED = Metric("failed_percent", "failed otherwise %", 1)
REFUSED_P99 = Metric("refused_p99_ms", "p99 ms of those not answered", 1)
LATE_P99 = Metric("late_p99_ms", "p99 ms that the client was late", 1)
MEMORY = Metric("leader_peak_mib", "leader's peak MiB")


@dataclass(frozen=True, slots=True)
class Overload:
    """A workload: first it is seen how much a cluster answers, then it is called at twice that rate.

    Nodes and client have cores of their own. Else, whoever of them gets less of a core that all share would be the one
    that is overloaded, and that would be the scheduler's choice.
    """

    name: str = "overload"
    title: str = f"Overload: an open loop at {FACTOR} × the rate of a closed loop with C={SATURATING}"
    columns: Sequence[Metric] = (OFFERED, ANSWERED, P50, P99, REFUSED, FAILED, REFUSED_P99, LATE_P99, MEMORY)
    most_rounds: int = 1

    def run_round(self, session: Session) -> None:
        for peer in session.options.peers:
            with session.trying(f"overload of {peer.title}"):
                self._measure(session, peer)

    def _measure(self, session: Session, peer: Peer) -> None:
        seconds = session.options.seconds
        for_nodes, for_client = processes.halves()
        with processes.on_cores(for_nodes), session.cluster(peer) as cluster:
            leader = cluster.leader()
            targets, request = [cluster.nodes[leader].address], peer.requests[Operation.WRITE]
            with processes.on_cores(for_client):
                closed = run_load(
                    targets, request, concurrency=SATURATING, seconds=seconds, connections=CONNECTIONS
                ).check(peer.title)
                rate = FACTOR * closed.per_second
                open_loop = run_load(
                    targets, request, concurrency=1, seconds=2 * seconds, rate=rate, connections=CONNECTIONS
                ).check(peer.title)
            if open_loop.failures:
                session.say(f"   failures: {open_loop.failures}")
            failures = open_loop.failures.copy()
            refused = failures.pop("ResourceExhausted", 0)
            calls = open_loop.values + refused + sum(failures.values())
            values = {
                OFFERED: rate,
                ANSWERED: open_loop.per_second,
                P50: open_loop.p50_ms,
                P99: open_loop.p99_ms,
                REFUSED: 100 * refused / calls,
                FAILED: 100 * sum(failures.values()) / calls,
                REFUSED_P99: open_loop.failed_p99_ms,
                LATE_P99: open_loop.late_p99_ms,
                MEMORY: processes.memory_bytes(pids(cluster)[leader], "VmHWM") / MIB,
            }
            session.add(Key(self.name, CASE, peer.title), values)


OVERLOAD = Overload()
