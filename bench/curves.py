"""Curves of several rounds made into one."""

import statistics
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from bench.failover import FAILOVER, GAP
from bench.results import Curve, Key, Results


def latencies(results: Results, workload: str) -> Iterator[Curve]:
    """The latencies of each key of a workload: the median of its rounds, quantile by quantile."""
    for key, rounds in _by_key(results, "quantiles", workload).items():
        points = zip(*(each.values for each in rounds), strict=True)
        yield Curve(key, "quantiles", [statistics.median(values) for values in points])


def failovers(results: Results) -> Iterator[Curve]:
    """Of each way to lose a leader the trial whose gap is the median one."""
    for key, trials in _by_key(results, "timeline", FAILOVER.name).items():
        gaps = [sample[GAP.key] for sample in results.samples[key]]
        yield trials[gaps.index(statistics.median_low(gaps))]


def as_json(results: Results, workloads: list[str]) -> list[dict[str, Any]]:
    """All of them."""
    curves = [curve for workload in workloads for curve in latencies(results, workload)]
    return [
        {
            **curve.key._asdict(),
            "kind": curve.kind,
            "values": [round(value, 3) for value in curve.values],
            **({"bin_ms": curve.bin_ms, "event_ms": round(curve.event_ms, 1)} if curve.bin_ms else {}),
        }
        for curve in [*curves, *failovers(results)]
    ]


def _by_key(results: Results, kind: str, workload: str) -> dict[Key, list[Curve]]:
    found: defaultdict[Key, list[Curve]] = defaultdict(list)
    for curve in results.curves:
        if curve.kind == kind and curve.key.workload == workload:
            found[curve.key].append(curve)
    return found
