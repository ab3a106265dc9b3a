"""What the numbers must show, and whether they do."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from bench.calls import CONCURRENCIES, STREAMED, UNARY
from bench.echo import ECHO, STREAM, subject
from bench.failover import FAILOVER, GAP, KILL, STOP, TRANSFER
from bench.floors import FLOORS, ONE_COMMIT
from bench.hammering import HAMMERING, JOB, SECONDS
from bench.log_size import COMPACTION, LOG_SIZE, MEMORY, MILLION, START, WHILE, entries_case
from bench.overload import CASE, LATE_P99, OVERLOAD, REFUSED_P99
from bench.peers import ETCD, GO, OURS, Peer
from bench.results import OPERATIONS, P50, P99, Metric, Results
from bench.snapshot import RATE, SNAPSHOT

OVER_GO = 1.3
OVER_ETCD = 1.0
OVER_FLOOR = 1.25
HAMMER_OVER_GO = 0.8
STREAMED_OVER_GO = 4.0

TOO_LATE = 50
"""Milliseconds by which a client may be behind its schedule before that is said beside the verdict: it is overloaded
itself then, and what it measures is worse than the nodes are."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A target that needs no peer: a metric of ours, and what it must be at least or at most."""

    target: str
    workload: str
    case: str
    metric: Metric
    unit: str
    least: float = -inf
    most: float = inf


_LOG = entries_case(MILLION)
LIMITS = (
    Limit("kill -9 of the leader: ≤ 300 ms without a write", FAILOVER.name, KILL, GAP, "ms", most=300),
    Limit("SIGTERM to the leader: ≤ 50 ms without a write", FAILOVER.name, STOP, GAP, "ms", most=50),
    Limit("leadership transfer: ≤ 30 ms without a write", FAILOVER.name, TRANSFER, GAP, "ms", most=30),
    Limit(f"start with {_LOG}: ≤ 5 s", LOG_SIZE.name, _LOG, START, "s", most=5),
    Limit(f"memory with {_LOG}: ≤ 150 MiB resident", LOG_SIZE.name, _LOG, MEMORY, "MiB", most=150),
    Limit(f"compaction of {_LOG}: no pause over 100 ms", COMPACTION.name, _LOG, WHILE, "ms", most=100),
    Limit(
        "calls at twice the saturating rate: p99 ≤ 500 ms of what is answered", OVERLOAD.name, CASE, P99, "ms", most=500
    ),
    Limit("the same: p99 ≤ 250 ms of what is refused", OVERLOAD.name, CASE, REFUSED_P99, "ms", most=250),
    Limit("install of a snapshot of 1 GiB: ≥ 200 MB/s", SNAPSHOT.name, "1 GiB", RATE, "MB/s", least=200),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target.

    Attributes:
        target: What is wanted.
        measured: What there is; empty if it was not measured in this run.
        met: Whether that is enough; None if it was not measured, or is only stated.
    """

    target: str
    measured: str = ""
    met: bool | None = None


def judge(results: Results) -> list[Verdict]:
    """All targets."""
    return [
        *_unary(results),
        _one_caller(results),
        _hammer(results),
        _streamed(results),
        *(_limit(results, limit) for limit in LIMITS),
    ]


def floor_ms(results: Results) -> float | None:
    """The least a write of one caller can take: an echo, a commit and a peer's round trip. None if not measured."""
    echo = results.median(ECHO.name, "C=1", subject("asyncio"), P50)
    commit = results.median(FLOORS.name, ONE_COMMIT, "LMDB commit", P50)
    round_trip = results.median(ECHO.name, STREAM, subject("asyncio"), P50)
    if echo is None or commit is None or round_trip is None:
        return None
    return echo + commit + round_trip


def _unary(results: Results) -> Iterator[Verdict]:
    for peer, factor, demanded in ((GO, OVER_GO, CONCURRENCIES), (ETCD, OVER_ETCD, (1, 10))):
        for concurrency in CONCURRENCIES:
            case = f"C={concurrency}"
            is_demanded = concurrency in demanded
            target = f"unary writes, {case}: {'≥' if is_demanded else 'aim'} {factor} × {peer.title}"
            ours, theirs = _unary_rate(results, case, OURS), _unary_rate(results, case, peer)
            verdict = _ratio(target, ours, theirs, "ops/s", least=factor)
            yield verdict if is_demanded else Verdict(verdict.target, verdict.measured)


def _unary_rate(results: Results, case: str, peer: Peer) -> float | None:
    return results.median(UNARY.name, case, peer.title, OPERATIONS)


def _one_caller(results: Results) -> Verdict:
    target = f"unary writes, C=1: p50 ≤ {OVER_FLOOR} × its floor (echo, LMDB commit, peer's round trip)"
    ours = results.median(UNARY.name, "C=1", OURS.title, P50)
    return _ratio(target, ours, floor_ms(results), "ms", most=OVER_FLOOR, digits=2)


def _hammer(results: Results) -> Verdict:
    target = f"hammer's own job: ≤ {HAMMER_OVER_GO} × {GO.title}'s time, each with its own client"
    ours, theirs = (results.median(HAMMERING.name, JOB, peer.title, SECONDS) for peer in (OURS, GO))
    return _ratio(target, ours, theirs, "s", most=HAMMER_OVER_GO, digits=2)


def _streamed(results: Results) -> Verdict:
    target = f"streamed words: ≥ {STREAMED_OVER_GO:g} × {GO.title}'s best unary rate"
    words = [
        rate
        for key in results.keys(STREAMED.name)
        if key.subject == OURS.title and (rate := results.median(*key, OPERATIONS)) is not None
    ]
    calls = [rate for each in CONCURRENCIES if (rate := _unary_rate(results, f"C={each}", GO)) is not None]
    return _ratio(target, max(words, default=None), max(calls, default=None), "/s", least=STREAMED_OVER_GO)


def _ratio(
    target: str,
    ours: float | None,
    theirs: float | None,
    unit: str,
    *,
    least: float = -inf,
    most: float = inf,
    digits: int = 0,
) -> Verdict:
    if ours is None or not theirs:
        return Verdict(target)
    ratio = ours / theirs
    return Verdict(target, f"{ratio:.2f} × ({ours:.{digits}f} to {theirs:.{digits}f} {unit})", least <= ratio <= most)


def _limit(results: Results, limit: Limit) -> Verdict:
    value = results.median(limit.workload, limit.case, OURS.title, limit.metric)
    if value is None:
        return Verdict(limit.target)
    theirs = results.median(limit.workload, limit.case, GO.title, limit.metric)
    beside = "" if theirs is None else f" ({GO.title}: {theirs:.{limit.metric.digits}f} {limit.unit})"
    measured = f"{value:.{limit.metric.digits}f} {limit.unit}{beside}"
    late = results.median(limit.workload, limit.case, OURS.title, LATE_P99)
    if late is not None and late > TOO_LATE:
        measured += f"; the client was {late:.0f} ms late"
    return Verdict(limit.target, measured, limit.least <= value <= limit.most)
