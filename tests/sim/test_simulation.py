"""The simulator finds nothing in the core as it is, and does the same again for the same seed."""

import pytest

from pyraft_lite.core import Core, Settings
from pyraft_lite.sim import Profile, Simulation, Violation


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_found_in_the_core(seed: int) -> None:
    report = Simulation(seed).run()
    assert report.acknowledged, "clients got something done"
    assert report.faults


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    first, again, other = (Simulation(seed).run() for seed in (7, 7, 8))
    assert first == again
    assert first.trace_hash != other.trace_hash


def test_an_observer_sees_every_step() -> None:
    seen: list[str] = []
    simulation = Simulation(3, observer=lambda time, node, event, outcome: seen.append(node))
    assert simulation.run().steps == len(seen)


def test_an_exception_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its seed is known, and its faults are shrunk."""

    def fail(core: Core, event: object) -> None:
        raise KeyError("no such peer")

    monkeypatch.setattr(Core, "_dispatch", fail)
    with pytest.raises(Violation, match="no exception: KeyError") as found:
        Simulation(1).run()
    assert found.value.at > 0
    assert isinstance(found.value.__cause__, KeyError)


def test_a_profile_is_what_happens() -> None:
    quiet = Profile(voters=3, spares=0, settings=Settings(), duration=5, settle=5, faults=1e-9)
    report = Simulation(1, quiet).run()
    assert sum(report.faults.values()) <= 1
    assert report.simulated == 33, "three nodes for ten seconds, and one more until the last write is acknowledged"
