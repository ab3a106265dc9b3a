"""How long no write succeeds when the leader dies, stops or hands over, as four callers see it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench import processes
from bench.clusters import BenchCluster, addresses
from bench.load import LoadResult, loading
from bench.peers import GO, OURS
from bench.results import Curve, Key, Metric
from bench.session import Session

CALLERS = 4
TRIALS = 2
"""In each round."""

QUIET = 0.7
"""Seconds of calls before anything happens."""

AFTERMATH_MS = 1000.0
"""A gap that begins up to so long after the leader was taken away is put down to that."""

SECONDS = 5.0
"""How long callers call: longer than either peer's default timeouts let a cluster be without a leader."""

GAP = Metric("gap_ms", "ms without a write")
ELSEWHERE = Metric("elsewhere_ms", "longest such time otherwise, ms")
KILL, STOP, TRANSFER = "kill -9", "SIGTERM", "transfer"


@dataclass(frozen=True, slots=True)
class Failover:
    """A workload: the leader is taken away under load, and comes back for the next trial."""

    name: str = "failover"
    title: str = f"Failover: the longest time without a successful write, seen by {CALLERS} callers, default timeouts"
    columns: Sequence[Metric] = (GAP, ELSEWHERE)
    most_rounds: int = 10

    def run_round(self, session: Session) -> None:
        for peer in (OURS, GO):
            if peer not in session.options.peers:
                continue
            with session.trying(f"failover of {peer.title}"), session.cluster(peer) as cluster:
                assert isinstance(cluster, BenchCluster)
                for _ in range(TRIALS):
                    for case, take_away in WAYS.items():
                        with session.trying(f"{case} of {peer.title}"):
                            result, event_ms = under_load(cluster, take_away)
                            key = Key(self.name, case, peer.title)
                            session.add(key, gaps(result, event_ms))
                            session.results.curves.append(
                                Curve(key, "timeline", result.timeline, result.timeline_ms, event_ms)
                            )
                        restart(cluster)


def under_load(cluster: BenchCluster, take_away: Callable[[BenchCluster, str], object]) -> tuple[LoadResult, float]:
    """What callers of all nodes see while the leader is taken away, and when in milliseconds that began."""
    leader = cluster.leader()
    with loading(addresses(cluster, leader), "add_word", concurrency=CALLERS, seconds=SECONDS) as process:
        time.sleep(QUIET)
        at = time.time()
        take_away(cluster, leader)
        result = LoadResult.parse(processes.finish(process, SECONDS)).check("calls through a failover")
    return result, (at - result.began_unix_seconds) * 1e3


def gaps(result: LoadResult, event_ms: float) -> dict[Metric, float]:
    """The longest gap that can be put down to what happened then, and the longest of all others: the latter tells what
    the machine is like."""
    here, elsewhere = [0.0], [0.0]
    for began, length in result.gaps_ms:
        is_here = began + length >= event_ms and began <= event_ms + AFTERMATH_MS
        (here if is_here else elsewhere).append(length)
    return {GAP: max(here), ELSEWHERE: max(elsewhere)}


def restart(cluster: BenchCluster) -> None:
    """Brings the nodes that are down back, and all of them to the same state."""
    for name, node in cluster.nodes.items():
        if not node.is_running:
            cluster.start(name)
    cluster.leader()
    cluster.wait_until_equal()


def transfer(cluster: BenchCluster, leader: str) -> None:
    """To whichever node the leader chooses."""
    cluster.operate(leader, "LeadershipTransfer")


WAYS: Mapping[str, Callable[[BenchCluster, str], object]] = {
    KILL: BenchCluster.kill,
    STOP: BenchCluster.stop,
    TRANSFER: transfer,
}

FAILOVER = Failover()
