"""Finds out which of a run's faults it takes to see a violation (Zeller's ddmin)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from pyraft_lite.sim.profile import Profile
from pyraft_lite.sim.simulation import Simulation
from pyraft_lite.sim.violation import Violation
from pyraft_lite.sim.workload import Workload

T = TypeVar("T")

MOST_RUNS = 80
"""After so many runs the shortest plan found is good enough."""


def shrink(
    seed: int, violation: Violation, profile: Profile | None = None, workload: Workload | None = None
) -> tuple[list[int], Violation]:
    """The numbers of the faults without which the same invariant would hold, and the violation that they lead to.

    Args:
        seed, profile, workload: Of the run that violated something, as given to :class:`Simulation`.
        violation: What it violated.
    """
    latest = violation

    def still_violates(faults: Sequence[int]) -> bool:
        nonlocal latest
        try:
            Simulation(seed, profile, workload, only=frozenset(faults)).run()
        except Violation as found:
            if found.invariant == violation.invariant:
                latest = found
                return True
        return False

    plan = Simulation(seed, profile, workload).plan
    minimal = minimise([fault.number for fault in plan if fault.at <= violation.at], still_violates, MOST_RUNS)
    return minimal, latest


def minimise(items: Sequence[T], is_enough: Callable[[Sequence[T]], bool], most_tries: int) -> list[T]:
    """A small part of ``items`` that is still enough, as all of them are; within so many tries none of it can be left
    out.

    Args:
        items: What is enough.
        is_enough: Whether a part is.
        most_tries: How often to ask that at most.
    """
    kept = list(items)
    tries = 0
    size = len(kept)
    while size >= 1 and tries < most_tries:
        at, smaller = 0, False
        while at < len(kept) and tries < most_tries:
            without = kept[:at] + kept[at + size :]
            tries += 1
            if is_enough(without):
                kept, smaller = without, True
            else:
                at += size
        if not smaller or size > len(kept):
            size = min(size // 2, len(kept))
    return kept
