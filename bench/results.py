"""What was measured: samples, one per round, and curves for the plots."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Metric(NamedTuple):
    """What a column of a table shows.

    Attributes:
        key: Its name in JSON, with the unit.
        heading: Its name in a table.
        digits: Behind the decimal point.
    """

    key: str
    heading: str
    digits: int = 0


OPERATIONS = Metric("ops_per_second", "ops/s")
P50 = Metric("p50_ms", "p50 ms", 2)
P99 = Metric("p99_ms", "p99 ms", 1)
LEADER_CPU = Metric("leader_cpu_us", "leader CPU µs/op")
FOLLOWERS_CPU = Metric("followers_cpu_us", "followers CPU µs/op")
LOAD_CPU = Metric("load_cpu_us", "load CPU µs/op")
CALLS = (OPERATIONS, P50, P99, LEADER_CPU, FOLLOWERS_CPU, LOAD_CPU)
"""What is known of calls that were made over and over."""


class Key(NamedTuple):
    """What was measured on whom: ``unary``, ``C=10``, ``etcd``."""

    workload: str
    case: str
    subject: str


class Spread(NamedTuple):
    """The samples of one metric."""

    median: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a plot.

    Attributes:
        key: What it is of.
        kind: ``quantiles`` (latencies in ms at equally spaced quantiles from 0 to 1) or ``timeline`` (answers in each
            bin of ``bin_ms``).
        values: Its points.
        bin_ms: The distance between points of a timeline.
        event_ms: When, on a timeline, something happened to the cluster.
    """

    key: Key
    kind: str
    values: Sequence[float]
    bin_ms: float = 0.0
    event_ms: float = 0.0


@dataclass(slots=True)
class Results:
    """All of a run, in the order in which it came.

    Attributes:
        samples: For each key, one set of values, by metric's key, a round.
        curves: For the plots.
        notes: What could not be measured, and why.
    """

    samples: defaultdict[Key, list[dict[str, float]]] = field(default_factory=lambda: defaultdict(list))
    curves: list[Curve] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, key: Key, values: dict[Metric, float]) -> None:
        """Takes one sample in."""
        self.samples[key].append({metric.key: value for metric, value in values.items()})

    def keys(self, workload: str) -> list[Key]:
        """What was measured in a workload: case by case, in the order in which each came first."""
        found = [key for key in self.samples if key.workload == workload]
        cases = list(dict.fromkeys(key.case for key in found))
        return sorted(found, key=lambda key: cases.index(key.case))

    def spread(self, key: Key, metric: Metric) -> Spread | None:
        """A metric over the rounds; None if it was not measured."""
        values = [sample[metric.key] for sample in self.samples.get(key, ()) if metric.key in sample]
        if not values:
            return None
        return Spread(statistics.median(values), min(values), max(values), len(values))

    def median(self, workload: str, case: str, subject: str, metric: Metric) -> float | None:
        """A metric's median over the rounds; None if it was not measured."""
        spread = self.spread(Key(workload, case, subject), metric)
        return None if spread is None else spread.median

    def summary(self) -> list[dict[str, Any]]:
        """A row for each key, with medians, lowest and highest values; for JSON."""
        rows: list[dict[str, Any]] = []
        for key, samples in self.samples.items():
            metrics = dict.fromkeys(name for sample in samples for name in sample)
            row: dict[str, Any] = key._asdict()
            for name in metrics:
                spread = self.spread(key, Metric(name, name))
                assert spread is not None
                row[name] = [round(value, 4) for value in spread[:3]]
            rows.append(row)
        return rows
