import json

import pytest

from bench.failover import ELSEWHERE, GAP, gaps
from bench.load import LoadResult
from bench.processes import BenchError

PRINTED = {
    "request": "add_word",
    "seconds": 2,
    "values": 10,
    "per_second": 5,
    "p50_ms": 1,
    "p90_ms": 2,
    "p99_ms": 3,
    "max_ms": 4,
    "cpu_seconds": 0.1,
    "quantiles_ms": [1, 4],
    "gaps_ms": [[100, 50]],
    "failures": {"Unavailable": 3},
}


def test_what_load_prints_is_understood() -> None:
    result = LoadResult.parse(json.dumps(PRINTED))
    assert (result.values, result.p99_ms, result.failures) == (10, 3, {"Unavailable": 3})


@pytest.mark.parametrize("output", ["", "nonsense", "{}", "[]"])
def test_what_is_something_else_is_refused(output: str) -> None:
    with pytest.raises(BenchError, match="not what a load generator prints"):
        LoadResult.parse(output)


def test_latencies_become_quantiles() -> None:
    result = LoadResult.of([each / 1000 for each in range(101, 0, -1)], seconds=2, cpu_seconds=1)
    assert (result.values, result.per_second) == (101, 50.5)
    assert [result.p50_ms, result.p90_ms, result.p99_ms, result.max_ms] == pytest.approx([51, 91, 100, 101])
    assert (result.quantiles_ms[0], result.quantiles_ms[-1]) == (1, 101)


def test_no_answer_at_all_is_an_error_that_says_why() -> None:
    result = LoadResult.parse(json.dumps({**PRINTED, "values": 0}))
    with pytest.raises(BenchError, match=r"reads: no answer; failures: \{'Unavailable': 3\}"):
        result.check("reads")
    assert not LoadResult.of([], seconds=1, cpu_seconds=0).quantiles_ms


@pytest.mark.parametrize(
    ("began", "is_here"), [(100, False), (499, False), (500, True), (1000, True), (2000, True), (2001, False)]
)
def test_a_gap_is_put_down_to_an_event_that_it_contains_or_follows(began: float, is_here: bool) -> None:
    result = LoadResult.parse(json.dumps({**PRINTED, "gaps_ms": [[began, 500], [0, 1]]}))
    found = gaps(result, event_ms=1000)
    assert found[GAP if is_here else ELSEWHERE] == 500
