from bench.results import OPERATIONS, P50, Key, Results, Spread


def sampled(*rates: float) -> tuple[Key, Results]:
    key, results = Key("unary", "C=1", "somebody"), Results()
    for rate in rates:
        results.add(key, {OPERATIONS: rate})
    return key, results


def test_a_spread_is_the_median_between_the_lowest_and_the_highest() -> None:
    key, results = sampled(30, 10, 20)
    assert results.spread(key, OPERATIONS) == Spread(20, 10, 30, 3)
    assert results.median(*key, OPERATIONS) == 20


def test_what_was_not_measured_has_none() -> None:
    key, results = sampled(1)
    assert results.spread(key, P50) is None
    assert results.median("unary", "C=10", "somebody", OPERATIONS) is None
    assert not results.samples.keys() - {key}


def test_keys_come_case_by_case() -> None:
    results = Results()
    for subject in "ab":
        for case in ("C=10", "C=1"):
            results.add(Key("unary", case, subject), {OPERATIONS: 1})
    results.add(Key("other", "C=1", "a"), {OPERATIONS: 1})
    assert [key[1:] for key in results.keys("unary")] == [("C=10", "a"), ("C=10", "b"), ("C=1", "a"), ("C=1", "b")]


def test_the_summary_has_median_lowest_and_highest_of_each_metric() -> None:
    key, results = sampled(1, 3)
    results.add(key, {OPERATIONS: 2, P50: 0.12345})
    assert results.summary() == [
        {
            "workload": "unary",
            "case": "C=1",
            "subject": "somebody",
            "ops_per_second": [2, 1, 3],
            "p50_ms": [0.1235, 0.1235, 0.1235],
        }
    ]
