"""The ceiling: servers on either engine that only echo. A stream's round trip is what a peer costs, too."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench import processes
from bench.calls import CONCURRENCIES, samples
from bench.load import LoadResult, run_load
from bench.processes import cpu_seconds, module
from bench.results import LEADER_CPU, LOAD_CPU, OPERATIONS, P50, P99, Key, Metric
from bench.session import Session
from pyraft_lite.rpc.engine import available_engines

STREAM = "1 stream"
SERVER_CPU = LEADER_CPU._replace(key="server_cpu_us", heading="server CPU µs/op")


@dataclass(frozen=True, slots=True)
class Echoes:
    """A workload: unary calls from Go, streams from the Python client that nodes call each other with."""

    name: str = "echo"
    title: str = "The ceiling: echo of 16 bytes, no Raft"
    columns: Sequence[Metric] = (OPERATIONS, P50, P99, SERVER_CPU, LOAD_CPU)
    most_rounds: int = 10
    concurrencies: Sequence[int] = CONCURRENCIES
    streams: Sequence[int] = (1, 64)

    def run_round(self, session: Session) -> None:
        seconds = session.options.seconds
        for engine in available_engines():
            with session.trying(f"echo on {engine}"), serving(engine) as (target, pid):
                for concurrency in self.concurrencies:
                    before = cpu_seconds(pid)
                    result = run_load([target], "echo", concurrency=concurrency, seconds=seconds)
                    self._add(session, f"C={concurrency}", engine, result, cpu_seconds(pid) - before)
                for streams in self.streams:
                    before = cpu_seconds(pid)
                    result = call_streams(target, streams, seconds)
                    case = STREAM if streams == 1 else f"{streams} streams"
                    self._add(session, case, engine, result, cpu_seconds(pid) - before)

    def _add(self, session: Session, case: str, engine: str, result: LoadResult, cpu: float) -> None:
        result.check(f"echo on {engine}, {case}")
        values = samples(result, cpu, 0)
        values[SERVER_CPU] = values[LEADER_CPU]
        key = Key(self.name, case, subject(engine))
        session.add(key, {metric: values[metric] for metric in self.columns})
        session.add_quantiles(key, result)


def subject(engine: str) -> str:
    """An engine's name in tables."""
    return f"echo ({engine})"


def call_streams(target: str, streams: int, seconds: float) -> LoadResult:
    """Ping-pong over so many streams, from one process."""
    command = [*module("python_load"), target, "/Echo/Stream", "--stream"]
    return LoadResult.parse(processes.run([*command, "--callers", str(streams), "--seconds", str(seconds)], seconds))


@contextmanager
def serving(engine: str) -> Iterator[tuple[str, int]]:
    """An echo server on an engine; yields its address and process id."""
    with processes.start([*module("echo_server"), engine]) as server:
        try:
            yield f"127.0.0.1:{processes.read_line(server).strip()}", server.pid
        finally:
            server.kill()


ECHO = Echoes()
QUICK_ECHO = Echoes(concurrencies=(1,), streams=(1,))
"""What the floor of a write is made of."""
