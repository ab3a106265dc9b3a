"""Streams of writes: AddWords with a hundred words in a message."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.calls import samples
from bench.clusters import cpu
from bench.load import run_load
from bench.peers import OURS, OURS_GRPCIO
from bench.results import FOLLOWERS_CPU, LEADER_CPU, LOAD_CPU, OPERATIONS, P50, P99, Key, Metric
from bench.session import Session

BATCH = 100
STREAMS = (1, 4)
WORDS = OPERATIONS._replace(heading="words/s")
PER_WORD = [
    each._replace(heading=each.heading.replace("/op", "/word")) for each in (LEADER_CPU, FOLLOWERS_CPU, LOAD_CPU)
]


@dataclass(frozen=True, slots=True)
class Streamed:
    """A workload: each stream has a few messages unanswered at any time. Only this project's nodes have AddWords."""

    name: str = "streamed"
    title: str = f"Streamed writes of 16 bytes, {BATCH} in a message; latencies are those of messages"
    columns: Sequence[Metric] = (WORDS, P50, P99, *PER_WORD)
    most_rounds: int = 10

    def run_round(self, session: Session) -> None:
        for peer in (OURS, OURS_GRPCIO):
            if peer not in session.options.peers:
                continue
            with session.trying(f"streamed writes of {peer.title}"), session.cluster(peer) as cluster:
                leader = cluster.leader()
                for streams in STREAMS:
                    before = cpu(cluster)
                    result = run_load(
                        [cluster.nodes[leader].address],
                        "add_words",
                        concurrency=streams,
                        seconds=session.options.seconds,
                        batch=BATCH,
                    ).check(peer.title)
                    used = {name: after - before[name] for name, after in cpu(cluster).items()}
                    key = Key(self.name, "1 stream" if streams == 1 else f"{streams} streams", peer.title)
                    session.add(key, samples(result, used.pop(leader), sum(used.values())))


STREAMED = Streamed()
