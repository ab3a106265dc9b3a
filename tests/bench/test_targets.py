from typing import NamedTuple

import pytest

from bench.echo import subject
from bench.failover import GAP, KILL
from bench.hammering import JOB, SECONDS
from bench.log_size import MEMORY, MILLION, START, WHILE, entries_case
from bench.overload import CASE, LATE_P99, REFUSED_P99
from bench.peers import ETCD, GO, OURS
from bench.results import OPERATIONS, P50, P99, Key, Metric, Results
from bench.snapshot import RATE
from bench.targets import Verdict, judge


class Sample(NamedTuple):
    key: Key
    metric: Metric
    value: float


def unary(who: str, case: str, rate: float) -> Sample:
    return Sample(Key("unary", case, who), OPERATIONS, rate)


def ours(workload: str, case: str, metric: Metric, value: float) -> Sample:
    return Sample(Key(workload, case, OURS.title), metric, value)


FLOOR = [
    Sample(Key("echo", "C=1", subject("asyncio")), P50, 0.4),
    Sample(Key("floors", "1 entry", "LMDB commit"), P50, 0.4),
    Sample(Key("echo", "1 stream", subject("asyncio")), P50, 0.2),
]
LOG = entries_case(MILLION)


def verdict(begins: str, *samples: Sample) -> Verdict:
    results = Results()
    for sample in samples:
        results.add(sample.key, {sample.metric: sample.value})
    (found,) = (each for each in judge(results) if each.target.startswith(begins))
    return found


@pytest.mark.parametrize(
    ("begins", "others", "enough", "too_little"),
    [
        ("unary writes, C=64: ≥ 1.3 × Go", [unary(GO.title, "C=64", 100)], ("unary", "C=64", OPERATIONS, 130), 129),
        ("unary writes, C=10: ≥ 1.0 × etcd", [unary(ETCD.title, "C=10", 100)], ("unary", "C=10", OPERATIONS, 100), 99),
        ("unary writes, C=1: p50", FLOOR, ("unary", "C=1", P50, 1.25), 1.26),
        (
            "hammer",
            [Sample(Key("hammer", JOB, GO.title), SECONDS, 1)],
            ("hammer", JOB, SECONDS, 0.8),
            0.81,
        ),
        (
            "streamed",
            [unary(GO.title, "C=1", 50), unary(GO.title, "C=256", 100)],
            ("streamed", "4 streams", OPERATIONS, 400),
            399,
        ),
        ("kill -9", [], ("failover", KILL, GAP, 300), 301),
        ("SIGTERM", [], ("failover", "SIGTERM", GAP, 50), 51),
        ("leadership transfer", [], ("failover", "transfer", GAP, 30), 31),
        ("start", [], ("log", LOG, START, 5), 5.1),
        ("memory", [], ("log", LOG, MEMORY, 150), 151),
        ("compaction", [], ("compaction", LOG, WHILE, 100), 101),
        ("calls at twice the saturating rate", [], ("overload", CASE, P99, 500), 501),
        ("the same: p99", [], ("overload", CASE, REFUSED_P99, 250), 251),
        ("install", [], ("snapshot", "1 GiB", RATE, 200), 199),
    ],
)
def test_each_target_has_its_limit(
    begins: str, others: list[Sample], enough: tuple[str, str, Metric, float], too_little: float
) -> None:
    assert verdict(begins, *others, ours(*enough)).met is True
    assert verdict(begins, *others, ours(*enough[:3], too_little)).met is False


def test_what_is_only_stated_is_not_judged() -> None:
    found = verdict("unary writes, C=256: aim 1.0 × etcd", unary(OURS.title, "C=256", 1), unary(ETCD.title, "C=256", 2))
    assert found.met is None
    assert found.measured == "0.50 × (1 to 2 ops/s)"


@pytest.mark.parametrize(("p99", "met"), [(500, True), (501, False)])
def test_a_client_that_was_late_itself_is_told_of_and_judged_as_any(p99: float, met: bool) -> None:
    measured = ours("overload", CASE, P99, p99)
    in_time = verdict("calls at twice", measured, ours("overload", CASE, LATE_P99, 50))
    late = verdict("calls at twice", measured, ours("overload", CASE, LATE_P99, 51))
    assert (in_time.measured, in_time.met) == (f"{p99:.1f} ms", met)
    assert (late.measured, late.met) == (f"{p99:.1f} ms; the client was 51 ms late", met)


def test_what_was_not_measured_is_not_judged() -> None:
    for each in judge(Results()):
        assert each.met is None
        assert not each.measured


def test_a_floor_that_lacks_a_part_is_none() -> None:
    assert verdict("unary writes, C=1: p50", *FLOOR[:2], ours("unary", "C=1", P50, 1)).met is None


def test_the_go_peer_stands_beside_a_limit() -> None:
    theirs = Sample(Key("failover", KILL, GO.title), GAP, 2000)
    assert verdict("kill -9", ours("failover", KILL, GAP, 200), theirs).measured == "200 ms (Go peer: 2000 ms)"
