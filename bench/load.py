"""What load generators are told and what they tell: the one in Go, and those in Python that print the same."""

import json
import os
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench import processes
from bench.processes import ROOT, BenchError

PROGRAM = ROOT / "build" / "interop" / "bin" / "load"
QUANTILES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What came of a run; the names are those of the JSON that ``load`` prints.

    A gap is a time without an answer. ``gap_ms`` is the longest, ``gaps_ms`` has when the longest began, and their
    lengths.
    """

    seconds: float
    values: int
    per_second: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    cpu_seconds: float
    quantiles_ms: Sequence[float]
    gap_ms: float = 0.0
    gaps_ms: Sequence[tuple[float, float]] = ()
    timeline: Sequence[int] = ()
    timeline_ms: float = 0.0
    began_unix_seconds: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)
    failed_p50_ms: float = 0.0
    failed_p99_ms: float = 0.0
    late_p99_ms: float = 0.0

    @classmethod
    def parse(cls, output: str) -> "LoadResult":
        """What a load generator printed.

        Raises:
            BenchError: it is something else.
        """
        try:
            fields = json.loads(output)
            return cls(**{name: fields[name] for name in cls.__slots__ if name in fields})
        except (ValueError, TypeError) as error:
            raise BenchError(f"not what a load generator prints: {output!r}") from error

    @classmethod
    def of(cls, latencies: Sequence[float], seconds: float, cpu_seconds: float) -> "LoadResult":
        """Of calls that took so many seconds each, one value a call."""
        ordered = sorted(each * 1e3 for each in latencies) or [0.0]

        def quantile(part: float) -> float:
            return ordered[int(part * (len(ordered) - 1))]

        return cls(
            seconds=seconds,
            values=len(latencies),
            per_second=len(latencies) / seconds,
            p50_ms=statistics.median(ordered),
            p90_ms=quantile(0.9),
            p99_ms=quantile(0.99),
            max_ms=ordered[-1],
            cpu_seconds=cpu_seconds,
            quantiles_ms=[quantile(each / QUANTILES) for each in range(QUANTILES + 1)] if latencies else [],
        )

    def check(self, what: str) -> "LoadResult":
        """This, if there were answers.

        Raises:
            BenchError: there were none.
        """
        if not self.values:
            raise BenchError(f"{what}: no answer; failures: {self.failures or 'none'}")
        return self


def run_load(
    targets: Sequence[str],
    request: str,
    *,
    concurrency: int,
    seconds: float,
    size: int = 16,
    rate: float = 0.0,
    batch: int = 100,
    connections: int = 1,
) -> LoadResult:
    """Runs the load generator in Go to its end.

    Args:
        targets: The servers, ``host:port``; the next is called when one fails.
        request: What to call, one of the names it knows.
        concurrency: How many callers, or streams.
        seconds: How long.
        size: Bytes of each value.
        rate: Calls a second, whether answers come or not; 0: each caller calls again when it has its answer.
        batch: Values in one message of a stream.
        connections: To each server.
    """
    with loading(
        targets,
        request,
        concurrency=concurrency,
        seconds=seconds,
        size=size,
        rate=rate,
        batch=batch,
        connections=connections,
    ) as process:
        return LoadResult.parse(processes.finish(process, seconds))


@contextmanager
def loading(
    targets: Sequence[str],
    request: str,
    *,
    concurrency: int,
    seconds: float,
    size: int = 16,
    rate: float = 0.0,
    batch: int = 100,
    connections: int = 1,
) -> Iterator["subprocess.Popen[str]"]:
    """Runs it beside the block, which is to ``finish`` the process. Arguments as for :func:`run_load`."""
    if not PROGRAM.exists():
        raise BenchError(f"{PROGRAM} is not there: tests/interop/go/build builds it")
    # An open loop stands for many machines, which keep to their schedules however busy the nodes are.
    first = ("nice", "-n", "-15") if rate and os.geteuid() == 0 else ()
    process = processes.start(
        [
            *first,
            *(str(PROGRAM), "-targets", ",".join(targets), "-request", request, "-concurrency", str(concurrency)),
            *("-duration", f"{seconds}s", "-size", str(size), "-rate", str(rate), "-batch", str(batch)),
            *("-connections", str(connections)),
        ]
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
