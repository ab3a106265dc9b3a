import json
from pathlib import Path

from bench import curves, plots, report
from bench.calls import UNARY
from bench.failover import GAP, KILL
from bench.peers import GO, OURS
from bench.results import OPERATIONS, P50, Curve, Key, Results
from bench.targets import Verdict

VERDICTS = [Verdict("fast", "2 × (4 to 2)", True), Verdict("small", "9 MiB", False), Verdict("round")]


def unary_results() -> Results:
    results = Results()
    for case in ("C=1", "C=10"):
        for rate in (10, 30, 20):
            key = Key(UNARY.name, case, OURS.title)
            results.add(key, {OPERATIONS: rate, P50: 1 / rate})
            results.curves.append(Curve(key, "quantiles", [rate, 2 * rate, 3 * rate]))
    return results


def failed_over(gaps: list[float]) -> Results:
    results = Results()
    key = Key("failover", KILL, GO.title)
    for gap in gaps:
        results.add(key, {GAP: gap})
        results.curves.append(Curve(key, "timeline", [gap, 0, 1], 10, 5))
    return results


def test_the_tables_show_targets_medians_and_what_is_missing() -> None:
    results = unary_results()
    results.notes.append("etcd: is not there")
    lines = report.markdown({"commit": "abc"}, results, VERDICTS, [UNARY]).splitlines()
    assert "| commit | abc |" in lines
    assert "| fast | 2 × (4 to 2) | yes |" in lines
    assert "| small | 9 MiB | **no** |" in lines
    assert "| round | not in this run |  |" in lines
    assert "| C=1 | ours (asyncio) | 20 (10–30) | 0.05 (0.03–0.10) |  |  |  |  |" in lines
    assert "- etcd: is not there" in lines


def test_json_has_the_same_and_is_json() -> None:
    found = json.loads(json.dumps(report.as_json({"commit": "abc"}, unary_results(), VERDICTS)))
    assert [each["met"] for each in found["targets"]] == [True, False, None]
    assert found["results"][0]["ops_per_second"] == [20, 10, 30]


def test_a_latency_curve_is_the_median_of_its_rounds() -> None:
    first, _ = curves.latencies(unary_results(), UNARY.name)
    assert first.values == [20, 40, 60]


def test_of_failovers_the_one_in_the_middle_is_shown() -> None:
    (shown,) = curves.failovers(failed_over([300, 100, 200]))
    assert shown.values[0] == 200
    (told,) = curves.as_json(failed_over([1]), [UNARY.name])
    assert (told["kind"], told["bin_ms"], told["event_ms"]) == ("timeline", 10, 5)


def test_plots_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    plots.draw(Results(), tmp_path)
    assert not list(tmp_path.iterdir())
    plots.draw(unary_results(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"latency.png", "throughput.png"}
    plots.draw(failed_over([1]), tmp_path)
    assert (tmp_path / "failover.png").read_bytes().startswith(b"\x89PNG")
