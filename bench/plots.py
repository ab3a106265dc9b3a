"""The plots: latencies, throughput against concurrency, and what callers see through a failover."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.calls import CONCURRENCIES, UNARY
from bench.curves import failovers, latencies
from bench.echo import ECHO, subject
from bench.failover import KILL, STOP, TRANSFER
from bench.peers import ETCD, GO, OURS, OURS_GRPCIO, OURS_H2CORN
from bench.pysyncobj_cluster import SUBJECT as PYSYNCOBJ
from bench.results import OPERATIONS, Key, Results

COLORS = {
    OURS.title: "tab:blue",
    OURS_H2CORN.title: "tab:purple",
    OURS_GRPCIO.title: "tab:cyan",
    GO.title: "tab:orange",
    ETCD.title: "tab:green",
    PYSYNCOBJ: "tab:red",
    subject("asyncio"): "0.2",
    subject("h2corn"): "0.5",
    subject("grpcio"): "0.7",
}
BEFORE_MS, AFTER_MS = 200.0, 4000.0
"""What is shown of a failover."""


def draw(results: Results, directory: Path) -> None:
    """Draws what there is data for into PNG files."""
    _latencies(results, directory / "latency.png")
    _throughput(results, directory / "throughput.png")
    _failover(results, directory / "failover.png")


def _latencies(results: Results, file: Path) -> None:
    """How many of the writes had their answer after how long, by concurrency."""
    curves = list(latencies(results, UNARY.name))
    cases = list(dict.fromkeys(curve.key.case for curve in curves))
    if not curves:
        return
    figure, panels = _panels(len(cases), "Unary writes of 16 bytes: latency")
    for panel, case in zip(panels, cases, strict=True):
        for curve in curves:
            if curve.key.case == case:
                last = len(curve.values) - 1
                shares = [100 * each / last for each in range(last + 1)]
                panel.plot(curve.values, shares, label=curve.key.subject, color=COLORS[curve.key.subject])
        panel.set(title=case, xscale="log", xlabel="ms", ylabel="% answered")
    _save(figure, panels, file)


def _throughput(results: Results, file: Path) -> None:
    """Medians over the concurrency, with lowest and highest; the ceiling is dashed."""
    figure, panels = _panels(1, "Unary writes of 16 bytes: throughput; dashed: echo without Raft")
    drawn = False
    for name, style in ((UNARY.name, "-"), (ECHO.name, "--")):
        for who in COLORS:
            points = [
                (concurrency, spread)
                for concurrency in CONCURRENCIES
                if (spread := results.spread(Key(name, f"C={concurrency}", who), OPERATIONS))
            ]
            if len(points) < 2:
                continue
            drawn = True
            medians = [spread.median for _, spread in points]
            errors = [
                [spread.median - spread.low for _, spread in points],
                [spread.high - spread.median for _, spread in points],
            ]
            at = [concurrency for concurrency, _ in points]
            panels[0].errorbar(
                at, medians, errors, label=who, color=COLORS[who], linestyle=style, marker="o", capsize=3
            )
    if drawn:
        panels[0].set(xscale="log", yscale="log", xlabel="callers", ylabel="calls/s", xticks=CONCURRENCIES)
        panels[0].set_xticks(CONCURRENCIES, [str(each) for each in CONCURRENCIES])
        _save(figure, panels, file)
    pyplot.close(figure)


def _failover(results: Results, file: Path) -> None:
    """Writes over time, from a moment before the leader is taken away, in the trial whose gap is the median."""
    curves = list(failovers(results))
    cases = [case for case in (KILL, STOP, TRANSFER) if any(curve.key.case == case for curve in curves)]
    if not cases:
        return
    figure, panels = _panels(len(cases), "Writes through a failover, which begins at 0")
    for panel, case in zip(panels, cases, strict=True):
        for curve in curves:
            if curve.key.case == case:
                at = [each * curve.bin_ms - curve.event_ms for each in range(len(curve.values))]
                rates = [value * 1e3 / curve.bin_ms for value in curve.values]
                panel.step(at, rates, where="post", label=curve.key.subject, color=COLORS[curve.key.subject])
        panel.axvline(0, color="0.5", linewidth=0.8)
        panel.set(title=case, xlim=(-BEFORE_MS, AFTER_MS), xlabel="ms", ylabel="writes/s")
    _save(figure, panels, file)


def _panels(count: int, title: str) -> tuple[Figure, Sequence[Axes]]:
    columns = 2 if count == 4 else 1
    rows = -(-count // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(6 * columns + 2, 3 * rows + 2), squeeze=False)
    figure.suptitle(title)
    return figure, list(axes.flat)


def _save(figure: Figure, panels: Iterable[Axes], file: Path) -> None:
    for panel in panels:
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
