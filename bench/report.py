"""Tables in Markdown, and JSON."""

from collections.abc import Iterable, Sequence
from typing import Any

from bench.results import Metric, Results, Spread
from bench.session import Workload
from bench.targets import Verdict


def markdown(
    environment: dict[str, Any], results: Results, verdicts: Iterable[Verdict], workloads: Iterable[Workload]
) -> str:
    """The whole report."""
    parts = ["# Benchmark", "Medians over the rounds, with the lowest and the highest in brackets."]
    parts.append(_table(("this run", ""), [(name, str(value)) for name, value in environment.items()]))
    parts += ["## Targets", _table(("target", "measured", "met"), [_verdict_row(each) for each in verdicts])]
    for workload in workloads:
        if rows := _rows(results, workload):
            headings = ("", "", *(column.heading for column in workload.columns))
            parts += [f"## {workload.title}", _table(headings, rows)]
    if results.notes:
        parts += ["## What could not be measured", "\n".join(f"- {note}" for note in results.notes)]
    return "\n\n".join(parts) + "\n"


def as_json(environment: dict[str, Any], results: Results, verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """The same, for programs; without the curves. Values are [median, lowest, highest]."""
    return {
        "environment": environment,
        "targets": [{"target": each.target, "measured": each.measured, "met": each.met} for each in verdicts],
        "results": results.summary(),
        "notes": results.notes,
    }


def _verdict_row(verdict: Verdict) -> tuple[str, str, str]:
    met = {True: "yes", False: "**no**", None: "stated" if verdict.measured else ""}[verdict.met]
    return verdict.target, verdict.measured or "not in this run", met


def _rows(results: Results, workload: Workload) -> list[Sequence[str]]:
    return [
        (key.case, key.subject, *(_cell(results.spread(key, column), column) for column in workload.columns))
        for key in results.keys(workload.name)
    ]


def _cell(spread: Spread | None, metric: Metric) -> str:
    if spread is None:
        return ""
    median, low, high = (f"{value:.{metric.digits}f}" for value in spread[:3])
    return median if spread.rounds == 1 else f"{median} ({low}–{high})"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
