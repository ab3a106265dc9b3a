"""The simulations that scripts/simulate runs."""

import json
import secrets
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import click

from pyraft_lite.core.effects import Effect, Note
from pyraft_lite.core.events import Event
from pyraft_lite.sim import Report, Simulation, Violation

RANDOM_SEEDS = 2**32


@dataclass(frozen=True, slots=True)
class Found:
    """A violation, and the seed that shows it."""

    seed: int
    invariant: str
    text: str


def run_seed(seed: int) -> Report | Found:
    """One whole run."""
    try:
        return Simulation(seed).run()
    except Violation as violation:
        return Found(seed, violation.invariant, str(violation))


def show(time: float, node: str, event: Event, outcome: list[Effect]) -> None:
    """One step of a run, for people to read."""
    print(f"{time:10.4f} {node}  {event}")
    for effect in outcome:
        if isinstance(effect, Note):
            print(f"{'':14}# {effect.message} {effect.fields or ''}")
        else:
            print(f"{'':14}-> {effect}")


def replay(seed: int, *, verbose: bool) -> None:
    """Runs one seed again, and says how it went; exit code 1 if it found something."""
    try:
        report = Simulation(seed, observer=show if verbose else None).run()
    except Violation as violation:
        sys.exit(f"seed {seed}: {violation}")
    print(f"seed {seed}: {report.steps} steps, {report.acknowledged} writes acknowledged, trace {report.trace_hash}")


@click.command(context_settings={"show_default": True})
@click.option("--seeds", type=click.IntRange(min=1), default=60, help="How many runs.")
@click.option("--first-seed", type=click.IntRange(min=0), default=None, help="The first seed; fresh ones if left out.")
@click.option("--seed", type=click.IntRange(min=0), default=None, help="Run this one alone, once more.")
@click.option("--trace", is_flag=True, help="With --seed: show every step.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, help="How many runs at a time.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object, on the last line.")
def main(seeds: int, first_seed: int | None, seed: int | None, trace: bool, jobs: int, as_json: bool) -> None:
    """Runs clusters under a virtual clock: crashes, lost messages, cut links, slow disks, changes of membership.

    What is found is printed with its seed, and the exit code is 1.
    """
    if seed is not None:
        replay(seed, verbose=trace)
        return
    first = secrets.randbelow(RANDOM_SEEDS) if first_seed is None else first_seed
    began = time.monotonic()
    reports: list[Report] = []
    found: list[Found] = []
    with ProcessPoolExecutor(jobs) as pool:
        results = pool.map(run_seed, range(first, first + seeds), chunksize=4)
        with click.progressbar(results, length=seeds, file=sys.stderr, hidden=not sys.stderr.isatty()) as progress:
            for result in progress:
                if isinstance(result, Report):
                    reports.append(result)
                else:
                    found.append(result)
                    print(
                        f"seed {result.seed}: {result.text}\n  scripts/simulate --seed {result.seed} --trace",
                        flush=True,
                    )
    seconds = (time.monotonic() - began) * jobs
    steps = sum(report.steps for report in reports)
    stuck = sum(violation.invariant == "liveness" for violation in found)
    faults = Counter[str]()
    for report in reports:
        faults.update(report.faults)
    summary = {
        "seeds": seeds,
        "first_seed": first,
        "violations": len(found) - stuck,
        "stuck": stuck,
        "steps_per_second": round(steps / seconds),
        "node_hours_per_cpu_minute": round(sum(report.simulated for report in reports) / 3600 / (seconds / 60), 2),
        "faults": dict(sorted(faults.items())),
    }
    print(json.dumps(summary) if as_json else "\n".join(f"{name}: {value}" for name, value in summary.items()))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
