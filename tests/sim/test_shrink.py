"""Shrinking leaves only the faults that a violation takes."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutants import MUTANTS

from pyraft_lite.sim import PROFILES, Simulation, Violation
from pyraft_lite.sim.shrink import minimise, shrink
from pyraft_lite.sim.trace import Trace


@given(st.sets(st.integers(0, 40)))
def test_what_is_needed_is_found(needed: set[int]) -> None:
    assert set(minimise(range(41), lambda part: needed <= set(part), 10_000)) == needed


def test_so_many_tries_are_enough() -> None:
    tries: list[int] = []

    def is_enough(part: object) -> bool:
        tries.append(1)
        return False

    assert minimise(range(100), is_enough, 7) == list(range(100))
    assert len(tries) == 7


def test_a_violation_is_seen_again_with_fewer_faults_and_none_of_them_can_be_left_out() -> None:
    with MUTANTS["no_look_at_the_entry_before"].put_back():
        seed, found = next((seed, found) for seed in range(200) if (found := violation(seed)) is not None)
        faults, smaller = shrink(seed, found, SHORT)
        assert 0 < len(faults) < len(Simulation(seed, SHORT).plan)
        assert smaller.invariant == found.invariant
        for fault in faults:
            without = violation(seed, [other for other in faults if other != fault])
            assert without is None or without.invariant != found.invariant


def test_a_trace_keeps_the_last_steps_and_leaves_idle_ones_out() -> None:
    trace, everything = Trace(5), Trace()
    Simulation(3, observer=trace).run()
    report = Simulation(3, observer=everything).run()
    lines = list(everything.lines())
    assert lines[-len(list(trace.lines())) :] == list(trace.lines())
    assert sum(line[:1] != " " or line[:9].strip() != "" for line in lines) < report.steps


SHORT = replace(PROFILES["partitions"](Random(1)), voters=3, spares=0, duration=8.0, settle=7.0, changes=0.01)


def violation(seed: int, only: list[int] | None = None) -> Violation | None:
    try:
        Simulation(seed, SHORT, only=only).run()
    except Violation as found:
        return found
    return None


@pytest.mark.parametrize("number", range(3))
def test_without_faults_none_happen(number: int) -> None:
    assert Simulation(number, only=[]).run().faults == {}
