"""The simulations that scripts/simulate runs."""

import json
import secrets
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import TypeVar

import click
from rich.console import Console
from rich.progress import track

from pyraft_lite.sim import PROFILES, Profile, Report, Simulation, Violation
from pyraft_lite.sim.shrink import shrink
from pyraft_lite.sim.trace import Trace

T = TypeVar("T")
R = TypeVar("R")

RANDOM_SEEDS = 2**32
SERIES = 3
"""How often each mutant is looked for, from another first seed each time."""

TRACED_STEPS = 40
BATCH = 30
"""How many seeds each process runs before a look at the clock."""


@dataclass(frozen=True, slots=True)
class Found:
    """A violation, and how to see it again.

    Attributes:
        seed: Of the run.
        invariant, text: What was violated.
        replay: The command that shows it with as few faults as can be.
        plan: Those faults.
        trace: The last steps before it.
    """

    seed: int
    invariant: str
    text: str
    replay: str
    plan: tuple[str, ...]
    trace: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hunt:
    """How many seeds it took to find a mutant in each series; None where the budget was spent first."""

    mutant: str
    seeds: tuple[int | None, ...]

    @property
    def caught(self) -> bool:
        return None not in self.seeds

    @property
    def median(self) -> float | None:
        return statistics.median(taken for taken in self.seeds if taken is not None) if self.caught else None


def make_profile(name: str | None, seed: int) -> Profile | None:
    """The profile of this name, with this seed's dice; None lets the simulation choose."""
    return None if name is None else PROFILES[name](Random(seed))


def run_seed(name: str | None, seed: int) -> Report | Found:
    """One whole run; a violation is shrunk."""
    profile = make_profile(name, seed)
    try:
        return Simulation(seed, profile).run()
    except Violation as violation:
        return explain(name, seed, violation)


def explain(name: str | None, seed: int, violation: Violation) -> Found:
    """The shortest plan of faults that leads to the same, and what happens in the end."""
    profile = make_profile(name, seed)
    faults, shortest = shrink(seed, violation, profile)
    trace = Trace(TRACED_STEPS)
    simulation = Simulation(seed, profile, only=faults, observer=trace)
    try:
        simulation.run()
    except Violation as again:
        shortest = again
    chosen = f" --profile {name}" if name else ""
    replay = f"scripts/simulate --seed {seed}{chosen} --faults {','.join(map(str, faults)) or 'none'} --trace"
    return Found(
        seed, shortest.invariant, str(shortest), replay, tuple(map(str, simulation.plan)), tuple(trace.lines())
    )


def hunt(of: tuple[str, int]) -> int | None:
    """Puts a known bug back and looks for it from a first seed on; says how many seeds it took, None if not found."""
    from mutants import MUTANTS

    mutant, first = of
    bug = MUTANTS[mutant]
    with bug.put_back():
        seeds = range(first, first + bug.budget)
        return next(
            (
                number
                for number, seed in enumerate(seeds, 1)
                if bug.is_shown_by(Simulation(seed, make_profile(bug.profile, seed)).run)
            ),
            None,
        )


def in_parallel(jobs: int, work: Callable[[T], R], items: Sequence[T], what: str) -> Iterable[R]:
    """Does the work in several processes, with a progress bar for whoever looks at a terminal."""
    console = Console(stderr=True)
    with ProcessPoolExecutor(jobs) as pool:
        results = pool.map(work, items)
        yield from track(results, what, len(items), console=console, disable=not console.is_terminal)


def replay(seed: int, name: str | None, faults: str | None, *, show: bool) -> None:
    """Runs one seed again, and says how it went; exit code 1 if it found something."""
    only = None if faults is None else [int(number) for number in faults.split(",") if number != "none"]
    trace = Trace()
    simulation = Simulation(seed, make_profile(name, seed), only=only, observer=trace if show else None)
    try:
        report = simulation.run()
        outcome = f"{report.steps} steps, {report.acknowledged} writes acknowledged, trace {report.trace_hash}"
        failed = False
    except Violation as violation:
        outcome, failed = f"after {violation.at:.4f} s: {violation}", True
    for line in trace.lines():
        print(line)
    if show:
        print(*simulation.plan, sep="\n")
    print(f"seed {seed}: {outcome}")
    sys.exit(failed)


def hunt_mutants(first: int, jobs: int, *, as_json: bool) -> None:
    """Looks for all known bugs; exit code 1 if one was not found within its budget."""
    from mutants import MUTANTS

    series = [first + number * RANDOM_SEEDS for number in range(SERIES)]
    # Those that may take long go first, so that no process is left with one of them at the end.
    names = sorted(MUTANTS, key=lambda name: -MUTANTS[name].budget)
    found = iter(in_parallel(jobs, hunt, [(name, seed) for name in names for seed in series], "mutants"))
    hunts: list[Hunt] = []
    for name in names:
        hunts.append(Hunt(name, tuple(next(found) for _ in series)))
        taken = ", ".join("not found" if seeds is None else str(seeds) for seeds in hunts[-1].seeds)
        print(f"{name}: {taken}", flush=True)
    caught = sum(each.caught for each in hunts)
    summary = {
        "caught": caught,
        "total": len(hunts),
        "first_seed": first,
        "seeds_needed": {each.mutant: each.median for each in hunts},
    }
    print(json.dumps(summary) if as_json else f"{caught} of {len(hunts)} found, first seed {first}")
    sys.exit(caught < len(hunts))


def run_seeds(first: int, seeds: int, minutes: float | None, name: str | None, jobs: int, *, as_json: bool) -> None:
    """Runs so many seeds, or for so long, and sums up; exit code 1 if something was found."""
    began = time.monotonic()
    reports: list[Report] = []
    found: list[Found] = []
    done = 0
    while done < seeds if minutes is None else time.monotonic() - began < minutes * 60:
        batch = range(first + done, first + done + (seeds if minutes is None else BATCH * jobs))
        for result in in_parallel(jobs, partial(run_seed, name), batch, "seeds"):
            if isinstance(result, Report):
                reports.append(result)
            elif isinstance(result, Found):
                found.append(result)
                print(*result.trace, "faults:", *result.plan, sep="\n")
                print(f"seed {result.seed}: {result.text}\n  {result.replay}", flush=True)
        done += len(batch)
    seconds = (time.monotonic() - began) * jobs
    faults = Counter[str]()
    for report in reports:
        faults.update(report.faults)
    stuck = sum(violation.invariant == "liveness" for violation in found)
    summary = {
        "seeds": done,
        "first_seed": first,
        "violations": len(found) - stuck,
        "stuck": stuck,
        "steps_per_second": round(sum(report.steps for report in reports) / seconds),
        "node_hours_per_cpu_minute": round(sum(report.simulated for report in reports) / 3600 / (seconds / 60), 2),
        "faults": dict(sorted(faults.items())),
    }
    print(json.dumps(summary) if as_json else "\n".join(f"{name}: {value}" for name, value in summary.items()))
    sys.exit(bool(found))


@click.command(context_settings={"show_default": True})
@click.option("--seeds", type=click.IntRange(min=1), default=60, help="How many runs.")
@click.option("--minutes", type=click.FloatRange(min=0), default=None, help="Run seeds for that long instead.")
@click.option("--first-seed", type=click.IntRange(min=0), default=None, help="The first seed; fresh ones if left out.")
@click.option(
    "--profile", type=click.Choice(sorted(PROFILES)), default=None, help="How rough; the seed's choice if left out."
)
@click.option("--seed", type=click.IntRange(min=0), default=None, help="Run this one alone, once more.")
@click.option("--faults", default=None, metavar="N,N,…|none", help="With --seed: only these of its faults.")
@click.option("--trace", is_flag=True, help="With --seed: show every step.")
@click.option("--mutants", is_flag=True, help="Put known bugs back, and see that each is found.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, help="How many runs at a time.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object, on the last line.")
def main(
    seeds: int,
    minutes: float | None,
    first_seed: int | None,
    profile: str | None,
    seed: int | None,
    faults: str | None,
    trace: bool,
    mutants: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Runs clusters under a virtual clock: crashes, lost messages, cut links, bad disks, changes of membership.

    What is found is shrunk and printed with the command that shows it again, and the exit code is 1.
    """
    if seed is None and (faults is not None or trace):
        raise click.UsageError("--faults and --trace go with --seed")
    if faults is not None and not all(number.isdecimal() for number in faults.split(",")) and faults != "none":
        raise click.UsageError(f"--faults is {faults!r}, should be numbers such as 1,5,9, or none")
    if seed is not None:
        replay(seed, profile, faults, show=trace)
    first = secrets.randbelow(RANDOM_SEEDS) if first_seed is None else first_seed
    if mutants:
        hunt_mutants(first, jobs, as_json=as_json)
    run_seeds(first, seeds, minutes, profile, jobs, as_json=as_json)


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "sim"))
    main()
